import { setImmediate as turn, setTimeout as passed } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Client } from '../../src/hub/client.ts'
import { connect, type Frame, type TestClient } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { type HubNode, startHubNode } from './node.ts'
import { RemoteJournal, type RemoteJournalOptions } from './remote-journal.ts'
import type { TestConfig } from '../support/daemon.ts'

const CONFIG: TestConfig = {
  ACTIONS: { chat: {}, short: {}, live: {} },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 1_000_000, maxAge: '1d' } },
    short: { access: 'public', history: { count: 50 } },
    live: { access: 'public' },
  },
}

/** One test on each listener. */
function onBoth(
  name: string,
  run: (t: Test, start: Start) => Promise<void>,
  journalOptions: RemoteJournalOptions = {},
): void {
  for (const kind of ['uws', 'node'] as const) {
    void t.test(`${kind}: ${name}`, async (t) => {
      const journal = new RemoteJournal(journalOptions)
      await run(t, async (config = {}) => {
        const node = await startHubNode(t, { listener: kind, ...CONFIG, ...config }, { journal })
        return { node, journal }
      })
    })
  }
}

type Start = (config?: TestConfig) => Promise<{ node: HubNode; journal: RemoteJournal }>

function clientOf(node: HubNode, client: TestClient): Client {
  return node.hub.get(client.welcome!['session'] as string)!
}

/** The messages in the order in which they came, those within `subscribed` included. */
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

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_value, index) => first + index)
}

/** Publishes some every millisecond until `stop`, on the channels in turn; resolves with how many. */
function traffic(
  node: HubNode,
  channels: readonly string[],
  from: number,
): { stop(): Promise<number>; count(): number } {
  const publisher = { running: true }
  let count = from
  const publishing = (async () => {
    while (publisher.running) {
      for (let n = 0; n < 3; n++) await node.publish(channels[count++ % channels.length]!, count)
      await passed(1)
    }
    return count
  })()
  return {
    stop: () => {
      publisher.running = false
      return publishing
    },
    count: () => count,
  }
}

onBoth(
  'answers of a far journal under steady traffic: no gap, nothing twice, and everybody gets to the live stream',
  async (t, start) => {
    const { node, journal } = await start({ limits: { recoveryMessages: 200 } })
    const first = await node.publish('chat:a', 0)
    for (let n = 1; n <= 3000; n++) await node.publish('chat:a', n)
    const steady = traffic(node, ['chat:a'], 3000)
    const clients: TestClient[] = []
    for (let index = 0; index < 8; index++) {
      const client = await connect(t, node)
      clients.push(client)
      t.match(await client.subscribe('chat:a', { since: first }), { recovered: true })
    }
    // While the traffic goes on: the answers are always behind it.
    for (const client of clients) {
      await until('it is live', () => clientOf(node, client).subscriptions.has('chat:a'))
    }
    const before = steady.count()
    await until('more comes', () => steady.count() > before + 100)
    const last = await steady.stop()
    t.ok(journal.asked > 8 * 5, `${journal.asked} pages were asked for`)
    for (const client of clients) {
      await client.next({ type: 'message', data: last })
      t.same(numbers(record(client)), range(1, last))
    }
  },
  { reach: 1000, delayMs: 10 },
)

onBoth(
  'several channels of the URL in one order, from a far journal under steady traffic',
  async (t, start) => {
    const { node } = await start({ limits: { recoveryMessages: 100 } })
    const first = await node.publish('chat:a', 0)
    const channels = ['chat:a', 'chat:b', 'chat:c']
    for (let n = 0; n < 3000; n++) await node.publish(channels[n % 3]!, n + 1)
    const steady = traffic(node, channels, 3000)
    const client = await connect(t, node, { query: { channel: channels, since: first } })
    await until('it is live', () => clientOf(node, client).subscriptions.size === 3)
    const last = await steady.stop()
    await client.next({ type: 'message', data: last })
    t.same(numbers(record(client)), range(1, last))
  },
  { reach: 1000, delayMs: 10 },
)

onBoth('who subscribes anew stays on the live stream until the first page is there', async (t, start) => {
  const { node, journal } = await start()
  const first = await node.publish('chat:a', 0)
  const client = await connect(t, node)
  await client.subscribe('chat:a')
  let open = (): void => undefined
  journal.gate = new Promise((resolve) => (open = resolve))
  client.send({ type: 'subscribe', id: 'again', channel: 'chat:a', since: first })
  await until('the page is asked for', () => journal.asked === 1)
  await node.publish('chat:a', 1)
  t.match(await client.next(), { type: 'message', data: 1 }, 'live meanwhile')
  open()
  t.match(await client.next({ id: 'again' }), { recovered: true })
  await node.publish('chat:a', 2)
  await client.next({ type: 'message', data: 2 })
  // What came between the question and the answer comes once more, behind the answer: it begins anew there.
  t.same(numbers(record(client)), [1, 1, 2])
  t.same(clientOf(node, client).recovering, [])
})

onBoth(
  'who subscribes anew under steady traffic: from the answer on each one once, in order',
  async (t, start) => {
    const { node } = await start({ limits: { recoveryMessages: 100 } })
    const first = await node.publish('chat:a', 0)
    for (let n = 1; n <= 2000; n++) await node.publish('chat:a', n)
    const steady = traffic(node, ['chat:a'], 2000)
    const client = await connect(t, node)
    await client.subscribe('chat:a')
    for (let round = 0; round < 5; round++) {
      await client.next({ type: 'message' })
      t.match(await client.subscribe('chat:a', { since: first }), { recovered: true })
      await until('it is live', () => clientOf(node, client).subscriptions.has('chat:a'))
    }
    const last = await steady.stop()
    await until('all', () => record(client).at(-1)?.['data'] === last)
    const answers = client.frames.flatMap((frame, index) => (frame.type === 'subscribed' ? [index] : []))
    for (const [round, from] of answers.entries()) {
      if (round === 0) continue
      const frames = client.frames.slice(from, answers[round + 1])
      const seen = frames.flatMap((frame) =>
        frame.type === 'subscribed' ? (frame['messages'] as Frame[]) : [frame],
      )
      t.same(numbers(seen), range(1, seen.length))
    }
  },
  { reach: 500, delayMs: 5 },
)

onBoth('a client that closes while its page is on the way leaves nothing behind', async (t, start) => {
  const { node, journal } = await start()
  const first = await node.publish('chat:a', 0)
  let open = (): void => undefined
  journal.gate = new Promise((resolve) => (open = resolve))
  const client = await connect(t, node)
  client.send({ type: 'subscribe', channel: 'chat:a', since: first })
  await until('the page is asked for', () => journal.asked === 1)
  await client.close()
  await until('it is gone', () => node.hub.size === 0)
  open()
  await turn()
  t.equal(node.hub.channels.size, 0)
})

onBoth(
  'what is ended while the page is on the way is answered with an error, and does not begin',
  async (t, start) => {
    const { node, journal } = await start()
    const first = await node.publish('chat:a', 0)
    const [ended, refused] = [await connect(t, node), await connect(t, node)]
    let open = (): void => undefined
    journal.gate = new Promise((resolve) => (open = resolve))
    for (const client of [ended, refused]) {
      client.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
    }
    await until('both pages are asked for', () => journal.asked === 2)
    clientOf(node, ended).unsubscribe('chat:a')
    open()
    t.match(await ended.next({ id: 1 }), { type: 'error', code: 'forbidden' })
    t.match(await refused.next({ id: 1 }), { type: 'subscribed', recovered: true })
    journal.gate = new Promise((resolve) => (open = resolve))
    refused.send({ type: 'subscribe', id: 2, channel: 'chat:b', since: first })
    await until('its page is asked for', () => journal.asked === 3)
    await node.reload({ ...CONFIG, channels: { ...CONFIG.channels, chat: { history: {} } } })
    open()
    t.match(await refused.next({ id: 2 }), { type: 'error', code: 'forbidden' })
    t.equal(node.hub.channels.size, 0)
    t.match(await refused.ask({ type: 'ping' }), { type: 'pong' })
  },
)

onBoth(
  'a new epoch: who is live is told once, who is recovering too, and both are live from there',
  async (t, start) => {
    const { node, journal } = await start({ limits: { recoveryMessages: 100 } })
    const first = await node.publish('chat:a', 0)
    for (let n = 1; n <= 1000; n++) await node.publish('chat:a', n)
    const [live, asking, fed] = [await connect(t, node), await connect(t, node), await connect(t, node)]
    await live.subscribe('chat:a')
    await live.subscribe('live:a')
    let open = (): void => undefined
    const shut = (): void => {
      journal.gate = new Promise((resolve) => (open = resolve))
    }
    fed.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
    t.match(await fed.next({ id: 1 }), { recovered: true })
    shut()
    asking.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
    // One waits for its first page, the other, perhaps, for one in the middle.
    await until('it is asked for', () => clientOf(node, asking).isRecovering('chat:a'))
    const held = clientOf(node, fed).isRecovering('chat:a')
    journal.startAnew()
    open()
    const cursor = `${journal.epoch}-0`
    t.match(await live.next({ type: 'subscribed' }), {
      channel: 'chat:a',
      cursor,
      recovered: false,
      messages: [],
      id: undefined,
    })
    t.match(await asking.next({ id: 1 }), { type: 'subscribed', cursor, recovered: false, messages: [] })
    const told = await fed.next({ type: 'subscribed' })
    t.match(told, { cursor, recovered: false, messages: [], id: undefined })
    t.ok(held)
    const { length } = fed.frames
    t.equal(fed.frames[length - 1], told, 'nothing of the old epoch after it')
    const id = await node.publish('chat:a', 'new')
    for (const client of [live, asking, fed]) {
      t.match(await client.next({ type: 'message', data: 'new' }), { id })
      t.match(await client.ask({ type: 'ping' }), { type: 'pong' })
      t.same(client.rest('subscribed'), [], 'told once')
    }
    const again = await asking.ask({ type: 'subscribe', channel: 'chat:a', since: first })
    t.match(again, { recovered: false, messages: [] }, 'an old cursor proves nothing')
  },
  { delayMs: 2 },
)

onBoth(
  'retention overtakes a recovering client: it is told, and goes on without a further gap',
  async (t, start) => {
    const { node } = await start({ limits: { recoveryMessages: 10 } })
    const first = await node.publish('short:a', 0)
    for (let n = 1; n <= 40; n++) await node.publish('short:a', n)
    const client = await connect(t, node)
    client.send({ type: 'subscribe', id: 1, channel: 'short:a', since: first })
    t.match(await client.next({ id: 1 }), { recovered: true })
    // Before its next page is asked for, all that it missed is gone.
    for (let n = 41; n <= 200; n++) await node.publish('short:a', n)
    const told = await client.next({ type: 'subscribed' })
    t.match(told, { channel: 'short:a', recovered: false, messages: [] })
    await until('it is live', () => clientOf(node, client).subscriptions.has('short:a'))
    await node.publish('short:a', 201)
    await client.next({ type: 'message', data: 201 })
    const from = Number(String(told['cursor']).split('-')[1])
    const after = numbers(record(client)).filter((n) => n >= from)
    t.same(after, range(from, 201), 'from the told cursor on everything')
    t.equal(node.counts.slowClients, 0)
  },
  { delayMs: 2 },
)

onBoth(
  'a journal that can not be read: refused at first, ended in the middle, and tried again by the client',
  async (t, start) => {
    const { node, journal } = await start({ limits: { recoveryMessages: 10 } })
    const first = await node.publish('chat:a', 0)
    for (let n = 1; n <= 100; n++) await node.publish('chat:a', n)
    const client = await connect(t, node)
    journal.failing = true
    t.match(await client.ask({ type: 'subscribe', channel: 'chat:a', since: first }), {
      type: 'error',
      code: 'unavailable',
    })
    t.match(await client.ask({ type: 'history', channel: 'chat:a', since: first }), { code: 'unavailable' })
    journal.failing = false
    client.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
    t.match(await client.next({ id: 1 }), { recovered: true })
    journal.failing = true
    t.match(await client.next({ type: 'unsubscribed' }), { channel: 'chat:a', code: 'unavailable' })
    t.equal(node.hub.channels.size, 0)
    t.same(clientOf(node, client).recovering, [])
    journal.failing = false
    const since = record(client).at(-1)!['id'] as string
    t.match(await client.subscribe('chat:a', { since }), { recovered: true })
    await until('all of it', () => record(client).length === 100)
    t.same(numbers(record(client)), range(1, 100))
  },
  { delayMs: 3 },
)

onBoth('before the journal was reached nothing of it is served, and the rest is', async (t, start) => {
  const { node, journal } = await start()
  journal.reached = false
  const client = await connect(t, node)
  for (const frame of [
    { type: 'subscribe', channel: 'chat:a' },
    { type: 'subscribe', channel: 'chat:a', last: 5 },
    { type: 'subscribe', channel: 'chat:a', since: 'abc-1' },
    { type: 'history', channel: 'chat:a' },
  ]) {
    t.match(await client.ask(frame), { type: 'error', code: 'unavailable' })
  }
  await t.rejects(clientOf(node, client).subscribe('chat:a'), { code: 'unavailable' })
  t.match(await client.subscribe('live:a'), { cursor: null })
  journal.reached = true
  t.match(await client.subscribe('chat:a'), { cursor: `${journal.epoch}-0` })
})
