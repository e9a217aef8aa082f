import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Memo } from '../../src/bus/bus.ts'
import type { Client } from '../../src/hub/client.ts'
import { Conflated } from '../../src/hub/conflated.ts'
import { Forgetting } from '../../src/hub/forgetting.ts'
import { Laggards } from '../../src/hub/laggards.ts'
import type { Forget } from '../../src/journal/journal.ts'
import { Counts } from '../../src/ops/counts.ts'
import type { Live } from '../../src/rules.ts'
import { silent } from '../support/postgres.ts'

const LIVE = {
  rules: {
    config: {
      limits: { bufferBytes: 4000 },
      channels: new Map([
        ['chat', { history: {}, conflate: null }],
        ['quotes', { history: null, conflate: 'symbol' }],
      ]),
    },
  },
} as unknown as Live

/** Two nodes on a bus that loses nothing, each with a journal that stands where it is put. */
function nodes() {
  const parts = new Map<string, Forgetting>()
  const make = (node: string, other: string) => {
    const journal = {
      epoch: 'e',
      head: 0,
      caughtUp: (): Promise<void> => Promise.resolve(),
      forget: ({ positions }: Forget) => ({ count: positions?.length ?? 1, position: (journal.head = 10) }),
    }
    const hub = {
      told: [] as unknown[],
      dropped: [] as unknown[],
      forget: (channel: string, key: unknown) => hub.dropped.push([channel, key]) > 0,
      announceForgotten: (frame: unknown) => void hub.told.push(frame),
    }
    const bus = {
      node,
      peers: new Set([other]),
      send: (memo: Memo) => setImmediate(() => parts.get(other)?.onMemo(memo, node)),
    }
    const forgetting = new Forgetting({
      live: LIVE,
      bus: bus as never,
      hub,
      journal: journal as never,
      user: { forgetLetters: () => Promise.resolve(0) } as never,
      outboxes: { forget: () => Promise.resolve({ count: 0, missing: [] }) },
      counts: new Counts(),
      log: silent(),
      deadlineMs: 1_000,
    })
    parts.set(node, forgetting)
    return { journal, hub, forgetting }
  }
  return { one: make('one', 'two'), two: make('two', 'one') }
}

t.test('it is answered when the other nodes have come so far in the journal, and not before', async (t) => {
  const { one, two } = nodes()
  let release = (): void => undefined
  two.journal.caughtUp = () =>
    new Promise((resolve) => {
      release = () => {
        two.journal.head = 10
        resolve()
      }
    })
  let answered = false
  const asked = one.forgetting.publications('chat:a', [3, 4]).then((counts) => {
    answered = true
    return counts
  })
  await delay(50)
  t.equal(answered, false)
  release()
  t.same(await asked, { forgotten: 2, letters: 0, missing: [] })
})

t.test('a node that does not come so far in time is named, and so is one that fails', async (t) => {
  const { one, two } = nodes()
  two.journal.caughtUp = () => new Promise(() => undefined)
  t.same(await one.forgetting.publications('chat:a', [3]), { forgotten: 1, letters: 0, missing: ['two'] })
  two.journal.caughtUp = () => Promise.reject(new Error('away'))
  t.same((await one.forgetting.channel('chat:a')).missing, ['two'])
  two.journal.caughtUp = () => Promise.resolve()
  t.same((await one.forgetting.channel('chat:a')).missing, ['two'], 'it says it is, and has not come so far')
})

t.test('values of conflated channels go on all nodes; an order that is none does nothing', async (t) => {
  const { one, two } = nodes()
  t.same(await one.forgetting.channel('quotes:x', 'A'), { forgotten: 1, letters: 0, missing: [] })
  t.same(two.hub.dropped, [['quotes:x', 'A']])
  for (const ask of [
    null,
    {},
    { channels: ['none'], key: null, conflated: true, epoch: 'e', position: 1 },
    { channels: ['quotes:x'], key: {}, conflated: true, epoch: 'e', position: 1 },
    { channels: ['quotes:x'], key: null, conflated: true, epoch: 'e', position: 'x' },
  ]) {
    two.forgetting.onMemo({ kind: 'memo', topic: 'forget', body: { id: 1, ask } }, 'one')
  }
  t.equal(two.hub.dropped.length, 1)
})

t.test('subscribers are told once, however many parts a channel is forgotten in', (t) => {
  const { one } = nodes()
  one.forgetting.onForget({ channel: 'chat:a', positions: null, upTo: 5, more: true })
  one.forgetting.onForget({ channel: 'chat:a', positions: null, upTo: 9, more: false })
  one.forgetting.onForget({ channel: 'chat:a', positions: [3], upTo: 0, more: false })
  t.same(one.hub.told, [
    { type: 'forgotten', channel: 'chat:a' },
    { type: 'forgotten', channel: 'chat:a', ids: ['e-3'] },
  ])
  t.end()
})

t.test('a client that is behind is not thought too slow for a key that was forgotten', (t) => {
  const conflated = new Conflated({ maxKeys: () => 100 })
  const link = {
    bufferedBytes: 5000,
    leave: () => undefined,
    join: () => undefined,
    cork: (run: () => void) => run(),
  }
  const sent: string[] = []
  let closed = 0
  const client = {
    open: true,
    session: 's',
    link,
    subscriptions: new Map([['quotes:a', 'client']]),
    send: ({ message }: { message: string }) => {
      link.bufferedBytes += 5000
      return sent.push(message) > 0
    },
  } as unknown as Client
  const laggards = new Laggards({
    live: LIVE,
    conflated,
    counts: new Counts(),
    close: () => closed++,
    released: () => undefined,
  })
  laggards.setAside(client)
  const text = 'x'.repeat(2000)
  for (const symbol of ['A', 'B', 'C']) {
    conflated.put('quotes:a', 'symbol', JSON.stringify({ data: { symbol, text } }), undefined)
  }
  link.bufferedBytes = 0
  laggards.resume(client)
  t.equal(sent.length, 1, 'the others are due')
  conflated.forget('quotes:a', 'B')
  laggards.spare('quotes:a', 'B')
  link.bufferedBytes = 0
  laggards.resume(client)
  t.match(sent, [/"A"/, /"C"/])
  conflated.put('quotes:a', 'symbol', JSON.stringify({ data: { symbol: 'D', text } }), undefined)
  conflated.forget('quotes:a', null)
  laggards.spare('quotes:a', null)
  link.bufferedBytes = 0
  laggards.resume(client)
  t.same([closed, laggards.size, conflated.all('quotes:a')], [0, 0, []])
  t.end()
})
