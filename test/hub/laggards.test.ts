import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Client } from '../../src/hub/client.ts'
import { Args } from '../../src/protocol/args.ts'
import { MemoryJournal } from '../../src/journal/memory.ts'
import { connect, type Frame, type TestClient } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { type HubNode, startHubNode } from './node.ts'

const CONFIG: TestConfig = {
  ACTIONS: { quotes: {}, live: {}, chat: {} },
  channels: {
    quotes: { access: 'public', conflate: 'symbol' },
    live: { access: 'public' },
    chat: { access: 'public', history: { count: 100_000 } },
  },
  limits: { bufferBytes: '256kb', framesPerSecond: 100_000, subscriptions: 1000 },
}

type Start = (config?: TestConfig) => Promise<HubNode>

function onBoth(name: string, run: (t: Test, start: Start) => Promise<void>): void {
  for (const kind of ['uws', 'node'] as const) {
    void t.test(`${kind}: ${name}`, (t) =>
      run(t, (config = {}) => {
        const limits = { ...CONFIG.limits, ...config.limits }
        const journal = new MemoryJournal({ windowBytes: 1e8 })
        return startHubNode(t, { listener: kind, ...CONFIG, ...config, limits }, { journal })
      }),
    )
  }
}

interface Quote {
  readonly symbol: string
  readonly n: number
}

function clientOf(node: HubNode, client: TestClient): Client {
  return node.hub.get(client.welcome!['session'] as string)!
}

function quotes(client: TestClient, channel = 'quotes:a'): Quote[] {
  return client.frames
    .flatMap((frame) => (frame.type === 'subscribed' ? (frame['messages'] as Frame[]) : [frame]))
    .filter((message) => message['channel'] === channel && typeof message['data'] === 'object')
    .map((message) => message['data'] as Quote)
}

/** The newest of each symbol that a client has; fails where one of a symbol is older than the one before it. */
function newest(t: Test, seen: readonly Quote[]): Map<string, number> {
  const found = new Map<string, number>()
  for (const { symbol, n } of seen) {
    if ((found.get(symbol) ?? 0) > n) t.fail(`${symbol}: ${n} after ${found.get(symbol)}`)
    found.set(symbol, n)
  }
  return found
}

const TEXT = 'x'.repeat(1000)

onBoth('who subscribes gets the newest of each key, however many, and is live then', async (t, start) => {
  const node = await start({ limits: { recoveryMessages: 10 } })
  let n = 0
  const put = (symbol: string): Promise<string> => node.publish('quotes:a', { symbol, n: ++n })
  for (let round = 0; round < 3; round++) for (const symbol of ['A', 'B', 'C']) await put(symbol)
  const client = await connect(t, node)
  const answer = await client.subscribe('quotes:a')
  t.match(answer, { cursor: null, recovered: false })
  t.same(
    (answer['messages'] as Frame[]).map((message) => (message['data'] as Quote).n),
    [7, 8, 9],
  )
  await put('A')
  t.match(await client.next({ type: 'message' }), { data: { symbol: 'A', n: 10 } })
  for (let key = 0; key < 500; key++) await put(`key ${key}`)
  const late = await connect(t, node)
  t.equal(((await late.subscribe('quotes:a'))['messages'] as Frame[]).length, 10)
  await put('last')
  await late.next({ type: 'message', data: { symbol: 'last', n } })
  t.equal(newest(t, quotes(late)).size, 504)
  t.equal(quotes(late).length, 504)
  t.equal(node.hub.laggards, 0)
  await clientOf(node, late).subscribe('quotes:b')
  t.match(await late.next({ type: 'subscribed' }), { channel: 'quotes:b', messages: [], id: undefined })
})

onBoth(
  'a client that falls behind is set aside, gets the latest of each key, and is live again',
  async (t, start) => {
    const node = await start()
    const [slow, fast] = [await connect(t, node), await connect(t, node)]
    for (const client of [slow, fast]) await client.subscribe('quotes:a')
    let n = 0
    for (let round = 0; round < 2; round++) {
      const { setAside, conflated } = node.counts
      slow.pause()
      await until('it is set aside', async () => {
        for (let count = 0; count < 200; count++) {
          void node.publish('quotes:a', { symbol: `S${++n % 50}`, n, text: TEXT })
        }
        await turn()
        return node.counts.setAside > setAside
      })
      // Much more than may ever wait for anyone.
      for (let count = 0; count < 8000; count++) {
        void node.publish('quotes:a', { symbol: `S${++n % 50}`, n, text: TEXT })
        if (count % 200 === 0) await turn()
      }
      t.ok(node.counts.conflated >= conflated)
      slow.resume()
      await until('it is live again', () => node.hub.laggards === 0)
      await node.publish('quotes:a', { symbol: 'end', n: ++n })
      for (const client of [slow, fast]) await client.next((frame) => (frame['data'] as Quote)?.n === n)
      t.same(newest(t, quotes(slow)), newest(t, quotes(fast)))
      t.ok(quotes(slow).length < quotes(fast).length - 4000 * (round + 1))
    }
    t.equal(quotes(fast).length, n, 'the others got every one')
    t.equal(quotes(slow).length + node.counts.conflated, n, 'what it did not get was counted')
    t.equal(node.counts.slowClients, 0)
    t.equal(node.counts.droppedFrames, 0)
  },
)

onBoth(
  'set aside while the first messages are still on their way, it loses none of them',
  async (t, start) => {
    const node = await start()
    for (let key = 0; key < 300; key++)
      await node.publish('quotes:a', { symbol: `S${key}`, n: 1, text: TEXT })
    const client = await connect(t, node)
    await client.subscribe('live:a')
    const { link } = clientOf(node, client)
    client.pause()
    const fill = async (bytes: number): Promise<void> => {
      while (link.bufferedBytes < bytes) {
        void node.publish('live:a', TEXT)
        await turn()
      }
    }
    // More than may wait for one who is being fed, less than for one who is on conflated channels.
    await fill(80 * 1024)
    client.send({ type: 'subscribe', channel: 'quotes:a' })
    client.resume()
    client.pause()
    await until('it is fed', async () => {
      client.resume()
      await turn()
      client.pause()
      return node.hub.laggards === 1
    })
    await until('it is set aside', async () => {
      await fill(160 * 1024)
      return node.counts.setAside === 1
    })
    t.equal(node.hub.laggards, 1)
    client.resume()
    await until('it is live', () => node.hub.laggards === 0)
    await node.publish('quotes:a', { symbol: 'end', n: 1 })
    await client.next((frame) => (frame['data'] as Quote)?.symbol === 'end')
    t.equal(newest(t, quotes(client)).size, 301)
    t.equal(node.counts.slowClients, 0)
  },
)

onBoth(
  'a slow reader gets every key in its turn, though all of them change all the time',
  async (t, start) => {
    const node = await start({ limits: { bufferBytes: '64kb' } })
    const client = await connect(t, node)
    await client.subscribe('quotes:a')
    const one = clientOf(node, client)
    client.pause()
    let n = 0
    const all = async (): Promise<void> => {
      for (let key = 0; key < 400; key++) {
        void node.publish('quotes:a', { symbol: `S${key}`, n: ++n, text: TEXT })
      }
      await turn()
    }
    await until('it is set aside', async () => {
      await all()
      return node.hub.laggards === 1
    })
    const start0 = n
    // It reads a little now and then; all keys change in between.
    const fresh = (): Set<string> =>
      new Set(quotes(client).flatMap((quote) => (quote.n > start0 ? [quote.symbol] : [])))
    await until('each was there', async () => {
      await all()
      client.resume()
      await turn()
      client.pause()
      return fresh().size === 400
    })
    client.resume()
    await until('it is live again', () => node.hub.laggards === 0)
    await node.publish('quotes:a', { symbol: 'end', n: ++n })
    await client.next((frame) => (frame['data'] as Quote)?.symbol === 'end')
    const found = newest(t, quotes(client))
    for (let key = 0; key < 400; key++) {
      if (found.get(`S${key}`) !== n - 400 + key) t.fail(`S${key}: ${found.get(`S${key}`)}`)
    }
    t.ok(one.open)
    t.equal(node.counts.droppedFrames, 0)
  },
)

onBoth('other traffic closes it as it closes anyone', async (t, start) => {
  const node = await start()
  const client = await connect(t, node)
  await client.subscribe('quotes:a')
  await client.subscribe('live:a')
  client.pause()
  let n = 0
  await until('it is set aside', async () => {
    for (let count = 0; count < 200; count++) {
      void node.publish('quotes:a', { symbol: `S${++n % 50}`, n, text: TEXT })
    }
    await turn()
    return node.counts.setAside === 1
  })
  t.equal(node.counts.slowClients, 0)
  let others = 0
  await until('it is closed', async () => {
    for (let count = 0; count < 50; count++) void node.publish('live:a', [++others, TEXT])
    await turn()
    return node.counts.slowClients === 1
  })
  t.ok(others * 1000 > 200_000, 'not before as much waits as for others')
  client.resume()
  t.equal((await client.closed).code, 4450)
  await until('it is gone', () => node.hub.size === 0)
  t.equal(node.hub.laggards, 0)
  t.equal(node.counts.droppedFrames, 0)
})

onBoth('an excluded session: on the topic, set aside, and alone on it', async (t, start) => {
  const node = await start()
  const [mine, other] = [await connect(t, node), await connect(t, node)]
  const exclude = mine.welcome!['session'] as string
  for (const client of [mine, other]) await client.subscribe('quotes:a')
  let n = 0
  await node.publish('quotes:a', { symbol: 'A', n: ++n }, { exclude })
  await other.next({ type: 'message', data: { symbol: 'A', n } })
  mine.pause()
  await until('it is set aside', async () => {
    for (let count = 0; count < 200; count++) {
      void node.publish('quotes:a', { symbol: `S${++n % 50}`, n, text: TEXT })
    }
    await turn()
    return node.hub.laggards === 1
  })
  // It is on no topic at all now: the others must get it all the same.
  await node.publish('quotes:a', { symbol: 'mine', n: ++n }, { exclude })
  await other.next({ type: 'message', data: { symbol: 'mine', n } })
  mine.resume()
  await until('it is live again', () => node.hub.laggards === 0)
  await node.publish('quotes:a', { symbol: 'B', n: ++n })
  await mine.next((frame) => (frame['data'] as Quote)?.symbol === 'B')
  t.notOk(quotes(mine).some(({ symbol }) => symbol === 'mine' || symbol === 'A'))
  const again = await mine.subscribe('quotes:a')
  t.notOk((again['messages'] as Frame[]).some((message) => (message['data'] as Quote).symbol === 'mine'))
})

onBoth(
  'what has no key is delivered; who was behind while one came is closed, for it has a gap',
  async (t, start) => {
    const node = await start()
    const [slow, fast] = [await connect(t, node), await connect(t, node)]
    for (const client of [slow, fast]) await client.subscribe('quotes:a')
    await node.publish('quotes:a', 'no key')
    await slow.next({ type: 'message', data: 'no key' })
    const late = await connect(t, node)
    t.match(await late.subscribe('quotes:a'), { messages: [] }, 'it is not kept')
    slow.pause()
    let n = 0
    await until('it is set aside', async () => {
      for (let count = 0; count < 200; count++) {
        void node.publish('quotes:a', { symbol: `S${++n % 50}`, n, text: TEXT })
      }
      await turn()
      return node.hub.laggards === 1
    })
    await node.publish('quotes:a', 'another')
    await fast.next({ type: 'message', data: 'another' })
    slow.resume()
    t.equal((await slow.closed).code, 4450)
    t.equal(node.counts.slowClients, 1)
  },
)

onBoth(
  'while it is behind it may leave, come back, and be put there by a module; a reload may end it',
  async (t, start) => {
    const node = await start()
    const client = await connect(t, node)
    await client.subscribe('quotes:a')
    await client.subscribe('quotes:b')
    const one = clientOf(node, client)
    let n = 0
    const behind = async (): Promise<void> => {
      client.pause()
      await until('it is set aside', async () => {
        for (let count = 0; count < 200; count++) {
          void node.publish('quotes:a', { symbol: `S${++n % 50}`, n, text: TEXT })
        }
        await turn()
        return node.hub.laggards === 1
      })
    }
    await behind()
    one.unsubscribe('quotes:a')
    await node.publish('quotes:a', { symbol: 'gone', n: ++n })
    client.resume()
    await client.next({ type: 'unsubscribed' })
    await until('it is live again', () => node.hub.laggards === 0)
    await node.publish('quotes:b', { symbol: 'b', n: ++n })
    await client.next((frame) => (frame['data'] as Quote)?.symbol === 'b')
    t.notOk(quotes(client).some(({ symbol }) => symbol === 'gone'))
    await one.subscribe('quotes:a')
    await client.next({ type: 'subscribed', id: undefined })
    await behind()
    await one.subscribe('quotes:a')
    client.resume()
    await until('it is live again', () => node.hub.laggards === 0)
    await node.publish('quotes:a', { symbol: 'c', n: ++n })
    await client.next((frame) => (frame['data'] as Quote)?.symbol === 'c')
    newest(t, quotes(client))
    await behind()
    await node.reload({ ...CONFIG, channels: { ...CONFIG.channels, quotes: { access: 'public' } } })
    client.resume()
    t.equal((await client.closed).code, 4450, 'what it missed meanwhile is not known any more')
    await until('it is gone', () => node.hub.size === 0)
    t.equal(node.hub.laggards, 0)
  },
)

onBoth('a burst within one turn drops nothing, whatever the sizes', async (t, start) => {
  const node = await start({ limits: { publicationBytes: '4mb', bufferBytes: '1mb' } })
  for (const size of [10, 900, 15_000, 17_000, 300_000, 3_000_000]) {
    const client = await connect(t, node)
    await client.subscribe('quotes:a')
    await client.subscribe('live:a')
    client.pause()
    const [one] = [...node.hub]
    const frame = { type: 'event' as const, event: 'fill', args: Args.of(['x'.repeat(64 * 1024)]) }
    while (one!.link.bufferedBytes < 400 * 1024) one!.send(frame)
    const text = '水'.repeat(size / 3)
    const count = Math.min(20_000, Math.ceil((40 * 1024 * 1024) / Math.max(100, size) / 4))
    for (let n = 0; n < count; n++) void node.publish('quotes:a', { symbol: `S${n % 5}`, n, text })
    await turn()
    for (let n = 0; n < count; n++) void node.publish(n % 2 ? 'quotes:a' : 'live:a', { symbol: 'T', n, text })
    await turn()
    t.equal(node.counts.droppedFrames, 0, `${count} of ${size} bytes`)
    client.resume()
    await client.close()
    await until('it is gone', () => node.hub.size === 0)
  }
})
