import { setImmediate as turn } from 'node:timers/promises'
import type { Client } from '../../src/hub/client.ts'
import { connect, type Frame, type TestClient } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth, positionOf } from './both.ts'

/** Publishes through a module's own way: without HTTP in between. */
function publishers(): {
  actions: object
  publish: (channel: string, data: unknown, options?: object) => Promise<string>
} {
  let context: {
    publish(channel: string, data: unknown, options?: object): Promise<{ id: string | null }>
  } | null = null
  return {
    actions: {
      hooks: {
        start: (given: typeof context) => {
          context = given
        },
      },
    },
    publish: async (channel, data, options) => (await context!.publish(channel, data, options)).id!,
  }
}

/** All messages in the order in which they came, those within `subscribed` included. */
function record(client: TestClient, channel?: string): Frame[] {
  const all = client.frames.flatMap((frame) => {
    if (frame.type === 'message') return [frame]
    return frame.type === 'subscribed' ? (frame['messages'] as Frame[]) : []
  })
  return channel === undefined ? all : all.filter((message) => message['channel'] === channel)
}

function numbers(messages: readonly Frame[]): number[] {
  return messages.map((message) => message['data'] as number)
}

/** Of messages `[number, text]`. */
function numbersOfPairs(messages: readonly Frame[]): number[] {
  return messages.map((message) => (message['data'] as [number])[0])
}

function same(found: readonly number[], expected: readonly number[]): boolean {
  return found.join() === expected.join()
}

/** 1, 2, 3 … up to `last`, from `first`. */
function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_value, index) => first + index)
}

onBoth('without a past asked for, a subscription is complete from its cursor on', async (t, start) => {
  const daemon = await start(CHANNELS)
  await daemon.publish('chat:a', 'old')
  const client = await connect(t, daemon)
  const answer = await client.subscribe('chat:a')
  t.match(answer, { recovered: false, messages: [], cursor: /-1$/ })
  t.match(await client.subscribe('live:a'), { recovered: false, messages: [], cursor: null })
  const { body } = await daemon.publish('chat:a', 'new')
  t.match(await client.next({ type: 'message' }), {
    data: 'new',
    id: (body as { id: string }).id,
    time: Number,
  })
})

onBoth('last gives the newest, oldest first', async (t, start) => {
  const daemon = await start(CHANNELS)
  for (const data of [1, 2, 3]) await daemon.publish('chat:a', data)
  await daemon.publish('chat:b', 4)
  const client = await connect(t, daemon)
  const answer = await client.subscribe('chat:a', { last: 2 })
  t.match(answer, { recovered: false, cursor: /-4$/ })
  t.same(numbers(record(client)), [2, 3])
  t.match(await client.subscribe('chat:b', { last: 0 }), { messages: [], cursor: /-4$/ })
  t.match(await client.subscribe('live:a', { last: 5 }), { messages: [], cursor: null })
})

onBoth('since gives what was missed, with recovered as the proof', async (t, start) => {
  const daemon = await start(CHANNELS)
  const ids: string[] = []
  for (const data of range(1, 5)) ids.push(((await daemon.publish('chat:a', data)).body as { id: string }).id)
  const client = await connect(t, daemon)
  t.match(await client.subscribe('chat:a', { since: ids[1]! }), { recovered: true, cursor: ids[4] })
  t.same(numbers(record(client)), [3, 4, 5])
  t.match(await client.subscribe('chat:a', { since: ids[4]! }), {
    recovered: true,
    messages: [],
    cursor: ids[4],
  })
  t.match(await client.subscribe('chat:other', { since: ids[0]! }), { recovered: true, messages: [] })
})

onBoth(
  'recovered is false for another epoch, a cursor from the future, and a transient channel',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    const { body } = await daemon.publish('chat:a', 1)
    const { id } = body as { id: string }
    const client = await connect(t, daemon)
    for (const since of [
      '0123456789ab-0',
      'x-1',
      id.replace(/1$/, '2'),
      id.replace(/1$/, '9007199254740991'),
    ]) {
      t.match(
        await client.subscribe('chat:a', { since }),
        { recovered: false, messages: [], cursor: id },
        since,
      )
    }
    t.match(await client.subscribe('live:a', { since: id }), { recovered: false, messages: [], cursor: null })
  },
)

onBoth(
  'recovered is false once retention has passed the cursor, and true for what is kept',
  async (t, start) => {
    const daemon = await start({
      ...CHANNELS,
      channels: { chat: { access: 'public', history: { count: 3 } } },
    })
    const ids: string[] = []
    for (const data of range(1, 5))
      ids.push(((await daemon.publish('chat:a', data)).body as { id: string }).id)
    const client = await connect(t, daemon)
    t.match(await client.subscribe('chat:a', { since: ids[0]! }), {
      recovered: false,
      messages: [],
      cursor: ids[4],
    })
    t.match(await client.subscribe('chat:a', { since: ids[1]! }), { recovered: true })
    t.same(numbers(record(client)), [3, 4, 5])
  },
)

onBoth('more than fits the answer follows as messages, before anything live', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { recoveryMessages: 7, recoveryBytes: 2000 } })
  const first = ((await daemon.publish('chat:a', 0)).body as { id: string }).id
  for (const data of range(1, 100)) await daemon.publish('chat:a', data)
  const client = await connect(t, daemon)
  client.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
  client.send({ type: 'ping', id: 2 })
  const answer = await client.next({ id: 1 })
  t.match(answer, { recovered: true })
  const within = answer['messages'] as Frame[]
  t.equal(within.length, 7)
  t.equal(answer['cursor'], within.at(-1)!['id'], 'never ahead of what was given')
  await client.next({ type: 'pong' })
  t.same(numbers(record(client)), range(1, 100), 'all of it before the next answer')
  await daemon.publish('chat:a', 101)
  await client.next({ type: 'message', data: 101 })
  t.same(numbers(record(client)), range(1, 101))
})

onBoth(
  'a publisher at full speed: who comes, recovers, subscribes again, has no gap and nothing twice',
  async (t, start) => {
    const { actions, publish } = publishers()
    const daemon = await start({
      ...CHANNELS,
      ...actions,
      limits: { recoveryMessages: 50, framesPerSecond: 100_000 },
    })
    const first = await publish('chat:a', 0)
    let last = 0
    const publisher = { running: true }
    const publishing = (async () => {
      while (publisher.running) {
        for (let count = 0; count < 20; count++) void publish(last % 3 === 0 ? 'chat:a' : 'chat:b', ++last)
        await turn()
      }
    })()
    const clients: TestClient[] = []
    for (let index = 0; index < 10; index++) {
      const client = await connect(t, daemon)
      clients.push(client)
      void client.subscribe('chat:a', { since: first })
      void client.subscribe('chat:b', { since: first })
      await turn()
    }
    const again = await connect(t, daemon)
    for (let index = 0; index < 20; index++) {
      const seen = record(again).at(-1)?.['id'] as string | undefined
      const answer = await again.subscribe('chat:a', { since: seen ?? first })
      t.equal(answer['recovered'], true)
    }
    await until('enough', () => last > 5000)
    publisher.running = false
    await publishing
    const end = [await publish('chat:a', 'end'), await publish('chat:b', 'end')]
    for (const client of clients) {
      for (const id of end) await client.next({ type: 'message', id })
      for (const [channel, rest] of [
        ['chat:a', [0]],
        ['chat:b', [1, 2]],
      ] as const) {
        const expected = range(1, last).filter((data) => rest.includes(((data - 1) % 3) as never))
        t.same(numbers(record(client, channel)).slice(0, -1), expected)
      }
    }
    await again.next({ type: 'message', id: end[0] })
    // A second subscribe starts anew at its cursor: what was on its way then comes once more, behind the answer.
    let seen: Frame[] = []
    for (const frame of again.frames) {
      if (frame.type === 'message') seen.push(frame)
      if (frame.type !== 'subscribed') continue
      const messages = frame['messages'] as Frame[]
      const from = positionOf(messages[0]?.['id'] ?? frame['cursor'])
      seen = [...seen.filter((message) => positionOf(message['id']) < from), ...messages]
    }
    t.same(
      numbers(seen).slice(0, -1),
      range(1, last).filter((data) => (data - 1) % 3 === 0),
    )
  },
)

onBoth('a slow reader gets everything, paced, where only little may be buffered for it', async (t, start) => {
  const { actions, publish } = publishers()
  const daemon = await start({ ...CHANNELS, ...actions, limits: { bufferBytes: 64 * 1024 } })
  const first = await publish('chat:a', 0)
  const text = 'x'.repeat(2000)
  const count = 5000
  for (const n of range(1, count)) await publish('chat:a', [n, text])
  const client = await connect(t, daemon)
  client.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
  let most = 0
  const [link] = [...daemon.daemon.hub!].map((one) => one.link)
  const watching = setInterval(() => (most = Math.max(most, link!.bufferedBytes)), 1)
  t.teardown(() => clearInterval(watching))
  const answer = await client.next({ id: 1 })
  t.ok(JSON.stringify(answer).length < 16 * 1024, 'the answer alone makes nobody too slow')
  while (record(client).length < count) {
    client.pause()
    await new Promise((resolve) => setTimeout(resolve, 2))
    client.resume()
    await turn()
  }
  t.same(
    record(client).map((message) => (message['data'] as unknown[])[0]),
    range(1, count),
  )
  t.equal(daemon.daemon.counts.slowClients, 0)
  t.ok(most <= 64 * 1024, `buffered ${most}`)
})

onBoth('many subscriptions that each missed a little: who reads on is never too slow', async (t, start) => {
  const { actions, publish } = publishers()
  const limits = { bufferBytes: 128 * 1024, subscriptions: 1000 }
  const daemon = await start({ ...CHANNELS, ...actions, limits })
  const first = await publish('chat:x', 0)
  const text = 'x'.repeat(1000)
  const channels = range(1, 700).map((n) => `chat:${n}`)
  for (const channel of channels) for (const n of range(1, 25)) await publish(channel, [n, text])
  const client = await connect(t, daemon)
  const [one] = [...daemon.daemon.hub!]
  let most = 0
  const watching = setInterval(() => (most = Math.max(most, one!.link.bufferedBytes)), 1)
  t.teardown(() => clearInterval(watching))
  client.pause()
  for (const channel of channels) client.send({ type: 'subscribe', channel, since: first })
  for (const id of range(1, 20)) client.send({ type: 'history', id, channel: 'chat:1' })
  await until('more waits than the system takes', () => one!.link.bufferedBytes > 32 * 1024)
  client.resume()
  await client.next({ id: 20 })
  for (const channel of channels) {
    if (!same(numbersOfPairs(record(client, channel)), range(1, 25))) t.fail(`${channel} is not whole`)
  }
  t.ok(most <= 128 * 1024, `buffered ${most}`)
  t.equal(daemon.daemon.counts.slowClients, 0)
})

onBoth('several channels in the URL: what was missed comes in one order', async (t, start) => {
  const daemon = await start(CHANNELS)
  const first = ((await daemon.publish('chat:z', 0)).body as { id: string }).id
  for (const data of range(1, 30)) await daemon.publish(`chat:${'abc'[data % 3]}`, data)
  const query = { channel: ['chat:a', 'chat:b', 'chat:c', 'live:x'], since: first }
  const client = await connect(t, daemon, { query })
  await client.next({ type: 'message', data: 30 })
  t.same(numbers(record(client)), range(1, 30))
  const answers = client.frames.filter((frame) => frame.type === 'subscribed')
  t.same(
    new Map(answers.map((frame) => [frame['channel'], frame['recovered']])),
    new Map([
      ['chat:a', true],
      ['chat:b', true],
      ['chat:c', true],
      ['live:x', false],
    ]),
  )
  const newest = await connect(t, daemon, { query: { channel: ['chat:a', 'chat:b'], last: 2 } })
  await newest.next({ type: 'message', data: 30 })
  t.same(numbers(record(newest)), [25, 27, 28, 30])
  await daemon.publish('chat:a', 31)
  await daemon.publish('live:x', 32)
  await client.next({ type: 'message', data: 31 })
  await client.next({ type: 'message', data: 32 })
})

onBoth(
  'a lost channel does not run ahead of the others: the newest id is a cursor for all',
  async (t, start) => {
    const { actions, publish } = publishers()
    const channels = {
      chat: { access: 'public' as const, history: { count: 100_000 } },
      short: { access: 'public' as const, history: { count: 3 } },
    }
    const daemon = await start({
      ...actions,
      ACTIONS: { chat: {}, short: {} },
      channels,
      limits: { recoveryMessages: 10, bufferBytes: 32 * 1024 },
    })
    const first = await publish('chat:a', 0)
    for (const n of range(1, 5)) await publish('short:a', n)
    const text = 'x'.repeat(4000)
    for (const n of range(1, 3000)) await publish('chat:a', [n, text])
    const client = await connect(t, daemon, {
      query: { channel: ['chat:a', 'short:a'], since: first },
      paused: true,
    })
    await until('it is fed', () => daemon.daemon.hub!.size === 1)
    for (const n of range(6, 8)) await publish('short:a', n)
    client.resume()
    await client.next({ type: 'message', channel: 'short:a' })
    const positions = record(client).map((message) => positionOf(message['id']))
    t.same(
      positions,
      [...positions].sort((a, b) => a - b),
    )
    t.match(
      client.frames.find((frame) => frame['channel'] === 'short:a'),
      { type: 'subscribed', recovered: false },
    )
  },
)

onBoth('a wrong or refused URL gets an error and a close that says not to come back', async (t, start) => {
  const channels = { ...CHANNELS.channels, shut: {}, mine: { access: 'user' as const } }
  const daemon = await start({ ...CHANNELS, channels, ACTIONS: { chat: {}, live: {}, shut: {}, mine: {} } })
  const cases: [string, string, number][] = [
    ['channel=shut:a', 'forbidden', 4403],
    ['channel=chat:a&channel=shut:a', 'forbidden', 4403],
    ['channel=none:a', 'unknown_channel', 4403],
    ['channel=nonsense', 'unknown_channel', 4403],
    ['channel=', 'unknown_channel', 4403],
    ['channel=%00%ff', 'unknown_channel', 4403],
    ['channel=mine:1', 'unauthenticated', 4401],
    ['channel=chat:a&since=nonsense', 'invalid_input', 4400],
    ['channel=chat:a&since=x-1&last=1', 'invalid_input', 4400],
    ['channel=chat:a&last=-1', 'invalid_input', 4400],
    ['channel=chat:a&last=', 'invalid_input', 4400],
    ['channel=chat:a&last=1e3', 'invalid_input', 4400],
  ]
  for (const [query, code, close] of cases) {
    const client = await connect(t, daemon, { query })
    t.match(await client.next({ type: 'error' }), { code }, query)
    t.match(await client.closed, { code: close }, query)
    t.same(client.rest(), [], query)
  }
  t.equal(daemon.daemon.hub!.channels.size, 0)
})

onBoth(
  'after the answer to unsubscribe nothing comes any more, however much is published',
  async (t, start) => {
    const { actions, publish } = publishers()
    const daemon = await start({ ...CHANNELS, ...actions, limits: { framesPerSecond: 100_000 } })
    const client = await connect(t, daemon)
    const publisher = { running: true }
    let last = 0
    const publishing = (async () => {
      while (publisher.running) {
        for (let count = 0; count < 50; count++) void publish('chat:a', ++last)
        await turn()
      }
    })()
    for (let index = 0; index < 20; index++) {
      await client.subscribe('chat:a')
      await client.next({ type: 'message' })
      await client.ask({ type: 'unsubscribe', channel: 'chat:a' })
      const count = client.frames.length
      await client.ask({ type: 'ping' })
      t.equal(client.frames.length, count + 1)
    }
    publisher.running = false
    await publishing
    t.match(
      await client.ask({ type: 'unsubscribe', channel: 'chat:a' }),
      { type: 'reply' },
      'twice is no fault',
    )
  },
)

onBoth('exclude leaves one session out, live and in what it recovers', async (t, start) => {
  const { actions, publish } = publishers()
  const daemon = await start({ ...CHANNELS, ...actions })
  const [mine, other] = [await connect(t, daemon), await connect(t, daemon)]
  const exclude = mine.welcome!['session'] as string
  const cursor = await publish('chat:a', 0)
  for (const client of [mine, other]) await client.subscribe('chat:a')
  for (const n of range(1, 20)) await publish('chat:a', n, n % 2 === 0 ? { exclude } : {})
  await publish('live:a', 'nobody there', { exclude })
  await other.next({ type: 'message', data: 20 })
  await mine.next({ type: 'message', data: 19 })
  t.same(numbers(record(other)), range(1, 20))
  t.same(
    numbers(record(mine)),
    range(1, 20).filter((n) => n % 2 === 1),
  )
  const again = await mine.subscribe('chat:a', { since: cursor })
  t.same(
    numbers(again['messages'] as Frame[]),
    range(1, 20).filter((n) => n % 2 === 1),
  )
  t.equal(again['recovered'], true)
})

onBoth('publications of all sizes to one and to many come in the order of the journal', async (t, start) => {
  const { actions, publish } = publishers()
  const daemon = await start({ ...CHANNELS, ...actions })
  const clients = [await connect(t, daemon), await connect(t, daemon), await connect(t, daemon)]
  for (const client of clients) await client.subscribe('chat:a')
  const exclude = clients[0]!.welcome!['session'] as string
  const sizes = [1, 20_000, 10, 60_000, 100, 17_000, 5, 16_300, 16_400, 300]
  for (const n of range(1, 300)) {
    void publish('chat:a', [n, 'x'.repeat(sizes[n % sizes.length]!)], n % 7 === 0 ? { exclude } : {})
    if (n % 50 === 0) await turn()
  }
  await publish('chat:a', ['end'])
  for (const client of clients) {
    await client.next((frame) => (frame['data'] as unknown[] | undefined)?.[0] === 'end')
    const expected = client === clients[0] ? range(1, 300).filter((n) => n % 7 !== 0) : range(1, 300)
    t.same(
      record(client)
        .slice(0, -1)
        .map((message) => (message['data'] as unknown[])[0]),
      expected,
    )
  }
})

onBoth(
  'a reload while a client recovers drops nobody; what the new policy refuses ends',
  async (t, start) => {
    const { actions, publish } = publishers()
    const config = { ...CHANNELS, ...actions, limits: { bufferBytes: 32 * 1024 } }
    const daemon = await start(config)
    const first = await publish('chat:a', 0)
    for (const n of range(1, 3000)) await publish('chat:a', [n, 'x'.repeat(3000)])
    const [stays, refused] = [await connect(t, daemon), await connect(t, daemon)]
    const recovering = async (client: TestClient): Promise<void> => {
      client.pause()
      client.send({ type: 'subscribe', channel: 'chat:a', since: first })
      const one = daemon.daemon.hub!.get(client.welcome!['session'] as string)
      await until('it is fed', () => one!.recovering.length > 0)
    }
    await recovering(stays)
    await daemon.reload(config)
    stays.resume()
    await until('all of it', () => record(stays).length === 3000)
    await recovering(refused)
    await daemon.reload({ ...config, channels: { chat: { access: 'none', history: {} } } })
    refused.resume()
    t.match(await refused.next({ type: 'unsubscribed' }), { channel: 'chat:a', code: 'forbidden' })
    t.match(await stays.next({ type: 'unsubscribed' }), { channel: 'chat:a', code: 'forbidden' })
    t.match(await stays.ask({ type: 'ping' }), { type: 'pong' })
    t.match(await refused.ask({ type: 'ping' }), { type: 'pong' })
    t.equal(daemon.daemon.hub!.channels.size, 0)
  },
)

onBoth(
  'a module may subscribe and unsubscribe a client that is recovering: nothing comes twice',
  async (t, start) => {
    const { actions, publish } = publishers()
    const daemon = await start({ ...CHANNELS, ...actions, limits: { bufferBytes: 32 * 1024 } })
    const first = await publish('chat:a', 0)
    for (const n of range(1, 2000)) await publish('chat:a', [n, 'x'.repeat(3000)])
    const [joined, left] = [await connect(t, daemon), await connect(t, daemon)]
    const side = async (client: TestClient): Promise<Client> => {
      client.pause()
      client.send({ type: 'subscribe', channel: 'chat:a', since: first })
      const one = daemon.daemon.hub!.get(client.welcome!['session'] as string)!
      await until('it is fed', () => one.recovering.length > 0)
      return one
    }
    await (await side(joined)).subscribe('chat:a')
    const one = await side(left)
    one.unsubscribe('chat:a')
    joined.resume()
    left.resume()
    await publish('chat:a', [2001])
    await until('all of it', () => record(joined).length === 2001)
    t.same(
      record(joined).map((message) => (message['data'] as unknown[])[0]),
      range(1, 2001),
    )
    await left.next({ type: 'unsubscribed' })
    await left.ask({ type: 'ping' })
    t.equal(left.frames.at(-2)!.type, 'unsubscribed')
    t.ok(record(left).length < 2000)
    t.equal(daemon.daemon.hub!.channels.get('chat:a'), 1)
  },
)
