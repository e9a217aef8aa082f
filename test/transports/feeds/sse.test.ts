import type { TestDaemon } from '../../support/daemon.ts'
import { until } from '../../support/wait.ts'
import { CHANNELS, onBoth, positionOf } from '../both.ts'
import { dataOf, listen, read, untilBlock, untilData } from './reader.ts'

function idOf({ body }: { body: unknown }): string {
  return (body as { id: string }).id
}

function clients(daemon: TestDaemon): number {
  return daemon.daemon.hub!.size
}

onBoth(
  'the first event is welcome; messages of all channels follow, journaled ones with their cursor',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    const { events } = listen(t, `${daemon.url}/sse?channel=chat:a&channel=live:b`)
    await until('the welcome', () => events.length === 1)
    t.equal(events[0]!.type, 'welcome')
    t.match(JSON.parse(events[0]!.data), { session: String, user: null, ping: 25_000, version: String })
    const id = idOf(await daemon.publish('chat:a', { text: 'line\nbreak \u2028 ü' }))
    await daemon.publish('live:b', 2)
    await until('both', () => events.length === 3)
    t.match(JSON.parse(events[1]!.data), {
      channel: 'chat:a',
      id,
      data: { text: 'line\nbreak \u2028 ü' },
      time: Number,
    })
    t.equal(events[1]!.id, id)
    t.same(JSON.parse(events[2]!.data).data, 2)
    t.notOk('id' in JSON.parse(events[2]!.data), 'a transient message has no id')
  },
)

onBoth(
  'EventSource comes back with one Last-Event-ID for all channels, while they go on',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    const { events } = listen(t, `${daemon.url}/sse?channel=chat:a&channel=chat:b&channel=chat:c`)
    await until('the welcome', () => events.length === 1)
    const count = (type: string): number => events.filter((event) => event.type === type).length
    let next = 0
    const publish = async (): Promise<void> => {
      await daemon.publish(`chat:${'abc'[next % 3]}`, next)
      next++
    }
    await until('some', async () => (await publish(), count('message') > 30))
    for (const client of daemon.daemon.hub!) client.link.terminate()
    await until('it is back', async () => (await publish(), count('welcome') === 2))
    const missed = next
    await until('some more', async () => (await publish(), count('message') > missed + 10))
    await until('all', () => count('message') >= next)
    const numbers = events
      .filter(({ type }) => type === 'message')
      .map(({ data }) => JSON.parse(data).data as number)
    t.same(
      numbers,
      Array.from({ length: next }, (_value, index) => index),
    )
    t.equal(count('lost'), 0)
  },
)

onBoth('whenever the connection breaks, each message comes once and in order', async (t, start) => {
  const daemon = await start(CHANNELS)
  const total = 400
  const publishing = (async () => {
    for (let number = 0; number < total; number++) await daemon.publish(`chat:${number % 5}`, number)
  })()
  const url = `${daemon.url}/sse?${[0, 1, 2, 3, 4].map((number) => `channel=chat:${number}`).join('&')}&last=1000`
  const seen: unknown[] = []
  let place: string | undefined
  let breaks = 0
  while (seen.length < total) {
    const reader = await read(t, url, { headers: place === undefined ? {} : { 'Last-Event-ID': place } })
    // Now early, now late: a break may fall into what is missed as well as into what is live.
    const wanted = Math.min(1 + ((breaks * 17) % 60), total - seen.length)
    await untilData(reader, wanted)
    reader.close()
    // What a browser keeps: the messages, and the last id that came.
    const blocks = reader.blocks
    seen.push(
      ...blocks
        .filter(({ event }) => event === 'message')
        .map(({ data }) => (data as { data: unknown }).data),
    )
    place = blocks.filter(({ id }) => id !== undefined).at(-1)?.id ?? place
    breaks++
  }
  await publishing
  t.same(
    seen,
    Array.from({ length: total }, (_value, index) => index),
  )
  t.ok(breaks > 4, `${breaks} times`)
})

onBoth('who breaks off before anything came has a cursor all the same', async (t, start) => {
  const daemon = await start(CHANNELS)
  await daemon.publish('chat:a', 'before')
  const first = await read(t, `${daemon.url}/sse?channel=chat:a`)
  const { id } = await untilBlock(first, ({ id }) => id !== undefined)
  t.equal(positionOf(id), 1)
  t.match(first.blocks[0], { retry: Number })
  t.match(first.blocks[1], { event: 'welcome' })
  first.close()
  await daemon.publish('chat:a', 'between')
  const second = await read(t, `${daemon.url}/sse?channel=chat:a`, { headers: { 'Last-Event-ID': id! } })
  await untilData(second, 1)
  t.same(dataOf(second), ['between'])
})

onBoth('since, last, lastEventId: the past that is asked for comes first', async (t, start) => {
  const daemon = await start(CHANNELS)
  const ids: string[] = []
  for (const number of [1, 2, 3, 4]) ids.push(idOf(await daemon.publish('chat:a', number)))
  const ask = async (query: string, headers = {}): Promise<unknown[]> => {
    const reader = await read(t, `${daemon.url}/sse?channel=chat:a&${query}`, { headers })
    await untilData(reader, 1)
    reader.close()
    return dataOf(reader)
  }
  t.same(await ask(`since=${ids[1]}`), [3, 4])
  t.same(await ask('last=3'), [2, 3, 4])
  t.same(await ask(`lastEventId=${ids[2]}&last=1`), [4], 'who was here before does not begin anew')
  t.same(await ask(`since=${ids[0]}`, { 'Last-Event-ID': ids[2] }), [4], 'the header wins')
  const both = await read(t, `${daemon.url}/sse?channel=chat:a&since=${ids[0]}&last=1`)
  t.equal(both.status, 400)
})

onBoth(
  'lost is said of each channel that cannot be completed; the others and what comes go on',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    await daemon.publish('chat:a', 'gone')
    for (const place of ['0123456789ab-5', 'none of ours', '-1', '"><script>']) {
      const reader = await read(t, `${daemon.url}/sse?channel=chat:a&channel=chat:b&channel=live:c`, {
        headers: { 'Last-Event-ID': place },
      })
      t.equal(reader.status, 200, 'a refusal would stop EventSource for good')
      const id = idOf(await daemon.publish('chat:b', place))
      await untilData(reader, 1)
      const lost = reader.blocks.filter(({ event }) => event === 'lost').map(({ data }) => data)
      t.same(lost, [{ channel: 'chat:a' }, { channel: 'chat:b' }])
      t.same(dataOf(reader), [place])
      t.equal(reader.blocks.find(({ event }) => event === 'message')!.id, id, 'with a place in the new order')
      reader.close()
    }
  },
)

onBoth('a cursor from the future is answered: what it promised is lost', async (t, start) => {
  const daemon = await start(CHANNELS)
  const epoch = idOf(await daemon.publish('chat:a', 1)).split('-')[0]
  const reader = await read(t, `${daemon.url}/sse?channel=chat:a&since=${epoch}-1000`)
  t.equal(reader.status, 200)
  await untilBlock(reader, ({ event }) => event === 'lost')
  await daemon.publish('chat:a', 2)
  await untilData(reader, 1)
  t.same(dataOf(reader), [2])
})

onBoth(
  'what a module puts a client on at its coming is resumed too, and no cursor runs ahead',
  async (t, start) => {
    const daemon = await start({
      ...CHANNELS,
      hooks: {
        connect: (connection: { subscribe(channel: string): Promise<void> }) =>
          connection.subscribe('chat:served'),
      },
    })
    const url = `${daemon.url}/sse?channel=chat:asked`
    const first = await read(t, url)
    const { id } = await untilBlock(first, (block) => block.id !== undefined)
    first.close()
    await until('it has gone', () => clients(daemon) === 0)
    for (const number of [1, 2, 3]) {
      await daemon.publish('chat:served', [number, 'served'])
      await daemon.publish('chat:asked', [number, 'asked'])
    }
    const second = await read(t, url, { headers: { 'Last-Event-ID': id! } })
    await untilData(second, 6)
    const of = (name: string): unknown =>
      (dataOf(second) as [number, string][]).filter(([, which]) => which === name)
    t.same(
      of('served'),
      [1, 2, 3].map((number) => [number, 'served']),
    )
    t.same(
      of('asked'),
      [1, 2, 3].map((number) => [number, 'asked']),
    )
    await untilBlock(second, (block) => block.id !== undefined)
    // No id before everything was given.
    const given = second.blocks.findIndex((block) => block.id !== undefined)
    t.equal(second.blocks.slice(0, given).filter(({ event }) => event === 'message').length, 6)
    t.equal(positionOf(second.blocks[given]!.id), 6)
  },
)
