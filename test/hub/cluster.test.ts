import { encodeFrame } from '../../src/protocol/encode.ts'
import type { ServerFrame } from '../../src/protocol/frames.ts'
import t, { type Test } from 'tap'
import { createBus } from '../../src/bus/create.ts'
import { createModuleLoader } from '../../src/config/modules.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import { buildRules } from '../../src/rules.ts'
import type { Bus } from '../../src/bus/bus.ts'
import { migrate } from '../../src/database/migrate.ts'
import { Notifications } from '../../src/database/notifications.ts'
import { Client } from '../../src/hub/client.ts'
import { Cluster } from '../../src/hub/cluster.ts'
import { Hub } from '../../src/hub/hub.ts'
import type { Link } from '../../src/hub/link.ts'
import { Counts } from '../../src/ops/counts.ts'
import { silent, startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

const server = await startPostgres(t)
await migrate(server.url)

const input = { ACTIONS: {}, channels: { chat: { access: 'public' as const } }, postgres: false as const }
const { config } = resolveConfig({ config: input }, { root: process.cwd(), file: null })
const registry = await loadRegistry(config, createModuleLoader({ root: process.cwd() }))
const rules = buildRules(config, registry, silent())

/** A client that keeps what it is sent. */
class Recorder implements Link {
  readonly bufferedBytes = 0
  readonly frames: string[] = []
  readonly closes: { code: number; reason: string }[] = []
  readonly #topics: Map<string, Set<Recorder>>

  constructor(topics: Map<string, Set<Recorder>>) {
    this.#topics = topics
  }

  send(frame: ServerFrame): boolean {
    this.frames.push(encodeFrame(frame))
    return true
  }

  cork(write: () => void): void {
    write()
  }

  join(channel: string): void {
    this.#topics.set(channel, (this.#topics.get(channel) ?? new Set()).add(this))
  }

  leave(channel: string): void {
    this.#topics.get(channel)?.delete(this)
  }

  close(code: number, reason: string): void {
    this.closes.push({ code, reason })
  }

  terminate(): void {}

  get events(): unknown[] {
    return this.frames.map((frame) => JSON.parse(frame) as unknown)
  }
}

/** A node with everything that the server API needs, and no transports. */
class TestNode {
  readonly bus: Bus
  readonly hub: Hub
  readonly cluster: Cluster
  readonly counts = new Counts()
  readonly topics = new Map<string, Set<Recorder>>()

  constructor(bus: Bus, deadlineMs: number) {
    this.bus = bus
    this.hub = new Hub({
      live: { rules },
      fanouts: [
        {
          publish: (channel, frame, except) => {
            for (const link of this.topics.get(channel) ?? []) if (link !== except) link.send(frame)
          },
        },
      ],
      counts: this.counts,
      bufferBytes: 1e6,
      hardBufferBytes: 1e7,
      cursorOf: () => null,
      openMailbox: () => Promise.resolve(),
    })
    const journal = { kind: 'memory', head: 7, ready: true }
    this.cluster = new Cluster({
      bus,
      hub: this.hub,
      counts: this.counts,
      log: silent(),
      journal,
      deadlineMs,
    })
  }

  client(user: string | null, channels: readonly string[] = [], info?: unknown): [Client, Recorder] {
    const link = new Recorder(this.topics)
    const client = new Client(this.hub, link, { address: '127.0.0.1', transport: 'websocket' })
    this.hub.add(client)
    if (user !== null) this.hub.identify(client, { id: user, info })
    for (const channel of channels) this.hub.join(client, channel, 'policy')
    return [client, link]
  }
}

async function nodes(t: Test, count: number, deadlineMs = 10_000): Promise<TestNode[]> {
  const made: TestNode[] = []
  for (let i = 0; i < count; i++) {
    const notifications = new Notifications({ url: server.url })
    t.teardown(() => notifications.stop())
    const bus = await createBus({ kind: 'postgres', notifications, url: server.url, log: silent() })
    t.teardown(() => bus.stop())
    const node = new TestNode(bus, deadlineMs)
    const started = bus.start({
      onParcel() {},
      onMemo: (memo, from) => node.cluster.onMemo(memo, from),
      onPeer: (name, here) => node.cluster.onPeer(name, here),
      onGap() {},
    })
    await Promise.all([started, notifications.start()])
    made.push(node)
  }
  await until('they know one another', () => made.every(({ bus }) => bus.peers.size === count - 1))
  return made
}

/** A node that is there and never answers. */
async function mute(t: Test, url: string): Promise<Bus> {
  const notifications = new Notifications({ url })
  t.teardown(() => notifications.stop())
  const bus = await createBus({ kind: 'postgres', notifications, url, log: silent() })
  t.teardown(() => bus.stop())
  const started = bus.start({ onParcel() {}, onMemo() {}, onPeer() {}, onGap() {} })
  await Promise.all([started, notifications.start()])
  return bus
}

t.test('emit reaches a session, a user, a channel or all, wherever they are, and counts them', async (t) => {
  const [one, two, three] = (await nodes(t, 3)) as [TestNode, TestNode, TestNode]
  const [, a1] = one.client('alice', ['chat:a'])
  const [, a2] = two.client('alice', ['chat:b'])
  const [bob, b] = three.client('bob', ['chat:a'])
  const [, guest] = three.client(null)

  t.same(await one.cluster.emit({ user: 'alice' }, 'notice', '[1,"!"]'), { count: 2, missing: [] })
  t.same(a1.events, [{ type: 'event', event: 'notice', args: [1, '!'] }])
  t.same(a2.events, a1.events)
  t.same(b.events, [])

  t.same(await one.cluster.emit({ session: bob.session }, 'you', '[]'), { count: 1, missing: [] })
  t.same(b.events, [{ type: 'event', event: 'you', args: [] }])
  t.same(await three.cluster.emit({ session: bob.session }, 'here', '[]'), { count: 1, missing: [] })

  t.same(await two.cluster.emit({ channel: 'chat:a' }, 'room', '[]'), { count: 2, missing: [] })
  t.match(a1.events.at(-1), { event: 'room' })
  t.match(b.events.at(-1), { event: 'room' })

  t.same(await two.cluster.emit({ all: true }, 'all', '[]'), { count: 4, missing: [] })
  t.match(guest.events, [{ event: 'all' }])

  t.same(await one.cluster.emit({ user: 'nobody' }, 'x', '[]'), { count: 0, missing: [] })
  t.same(await one.cluster.emit({ session: 'nowhere' }, 'x', '[]'), { count: 0, missing: [] })
  t.same(await one.cluster.emit({ channel: 'chat:empty' }, 'x', '[]'), { count: 0, missing: [] })
})

t.test('emit leaves out whom it is to leave out, and keeps every digit', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [TestNode, TestNode]
  const [left, quiet] = two.client('alice', ['chat:a'])
  const [, loud] = two.client('alice', ['chat:a'])
  const exclude = left.session
  const targets = [{ user: 'alice' }, { channel: 'chat:a' }, { all: true as const }]
  for (const target of targets) {
    t.same(await one.cluster.emit(target, 'n', '[12345678901234567890]', { exclude }), {
      count: 1,
      missing: [],
    })
  }
  t.same(quiet.frames, [])
  t.equal(loud.frames.length, 3)
  t.match(loud.frames[0], '[12345678901234567890]')
})

t.test('emit to very many goes out in slices, to each once', async (t) => {
  const [one] = (await nodes(t, 1)) as [TestNode]
  const links = Array.from({ length: 2_500 }, () => one.client(null)[1])
  let turns = 0
  let counting = setImmediate(function count() {
    turns++
    counting = setImmediate(count)
  })
  t.same(await one.cluster.emit({ all: true }, 'e', '[]'), { count: 2_500, missing: [] })
  clearImmediate(counting)
  t.ok(turns >= 2, `${turns} turns`)
  t.ok(links.every(({ frames }) => frames.length === 1))
})

t.test(
  'disconnect closes all connections of a user on every node, with the code and reason given',
  async (t) => {
    const [one, two] = (await nodes(t, 2)) as [TestNode, TestNode]
    const [, a1] = one.client('alice')
    const [, a2] = two.client('alice')
    const [bob, b] = two.client('bob')
    t.same(await one.cluster.disconnect({ user: 'alice' }, 'banned', 4403), { count: 2, missing: [] })
    t.same(
      [a1.closes, a2.closes],
      [1, 2].map(() => [{ code: 4403, reason: 'banned' }]),
    )
    t.same(b.closes, [])
    t.same(await one.cluster.disconnect({ session: bob.session }), { count: 1, missing: [] })
    t.same(b.closes, [{ code: 4405, reason: 'disconnected' }])
  },
)

t.test('connections are listed from all nodes, filtered, bounded and counted', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [TestNode, TestNode]
  const [alice] = one.client('alice', ['chat:a', 'chat:b'], { name: 'Alice' })
  two.client('alice', ['chat:b'])
  const [bob] = two.client('bob', ['chat:a'])
  two.client(null)

  const all = await one.cluster.connections()
  t.equal(all.count, 4)
  t.equal(all.connections.length, 4)
  t.match(all.connections[0], {
    node: one.bus.node,
    session: alice.session,
    user: 'alice',
    info: { name: 'Alice' },
    address: '127.0.0.1',
    transport: 'websocket',
    since: Number,
    channels: ['chat:a', 'chat:b'],
    channelCount: 2,
  })
  const sessions = async (filter: object, limit?: number): Promise<unknown> => {
    const answer = await one.cluster.connections(filter, limit)
    return [answer.connections.length, answer.count]
  }
  t.same(await sessions({ user: 'alice' }), [2, 2])
  t.same(await sessions({ user: 'alice', channel: 'chat:a' }), [1, 1])
  t.same(await sessions({ channel: 'chat:a' }), [2, 2])
  t.same(await sessions({ session: bob.session }), [1, 1])
  t.same(await sessions({ session: bob.session, user: 'alice' }), [0, 0])
  t.same(await sessions({}, 2), [2, 4])
})

t.test('answers are bounded, whatever hooks have put into info', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [TestNode, TestNode]
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  for (const info of [cycle, 10n, () => 1, undefined]) two.client('odd', ['chat:a'], info)
  t.same(
    (await one.cluster.presence('chat:a')).clients.map(({ info }) => info),
    [null, null, null, null],
  )
  for (let i = 0; i < 100; i++) two.client('big', ['chat:big'], 'x'.repeat(50_000))
  const { clients, count, missing } = await one.cluster.presence('chat:big')
  t.equal(count, 100)
  t.ok(clients.length > 5 && clients.length < 20, String(clients.length))
  t.same(missing, [])
  two.client(
    'many',
    Array.from({ length: 128 }, (_, i) => `chat:${i}`),
  )
  const [many] = (await one.cluster.connections({ user: 'many' })).connections
  t.equal(many!.channels.length, 100)
  t.equal(many!.channelCount, 128)
})

t.test('presence tells who is on a channel, on all nodes', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [TestNode, TestNode]
  const [alice] = one.client('alice', ['chat:a'], { name: 'A' })
  const [guest] = two.client(null, ['chat:a'])
  two.client('bob', ['chat:b'])
  const answer = await two.cluster.presence('chat:a')
  t.equal(answer.count, 2)
  t.same(new Set(answer.clients.map(({ session }) => session)), new Set([alice.session, guest.session]))
  t.same(answer.clients.find(({ user }) => user === 'alice')?.info, { name: 'A' })
})

t.test('channels are summed over all nodes, and the first by name are exact', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [TestNode, TestNode]
  const name = (i: number): string => `chat:${String(i).padStart(5, '0')}`
  // In no order, and more of them than are kept while looking.
  for (let i = 0; i < 4_000; i++) one.client(null, [name((i * 7) % 4_000)])
  for (let i = 0; i < 4_000; i += 2) two.client(null, [name(i)])
  two.client(null, ['other:z'])
  const answer = await one.cluster.channels('chat:', 5)
  t.same(answer.channels, [
    { channel: name(0), subscribers: 2 },
    { channel: name(1), subscribers: 1 },
    { channel: name(2), subscribers: 2 },
    { channel: name(3), subscribers: 1 },
    { channel: name(4), subscribers: 2 },
  ])
  t.equal(answer.more, true)
  t.same((await one.cluster.channels('other:')).channels, [{ channel: 'other:z', subscribers: 1 }])
  t.equal((await one.cluster.channels('other:')).more, false)
  t.equal((await one.cluster.channels('', 5_000)).channels.length, 1_000)
})

t.test('stats has one entry a node', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [TestNode, TestNode]
  two.client('alice', ['chat:a'])
  const { nodes: told, missing } = await one.cluster.stats()
  t.same(missing, [])
  t.match(told, [
    { node: one.bus.node, connections: 0, journal: { kind: 'memory', position: 7 } },
    { node: two.bus.node, connections: 1, channels: 1, bus: { kind: 'postgres', peers: 1 } },
  ])
})

t.test('a node that does not answer is named, and waited for no longer than the deadline', async (t) => {
  const [one, two] = (await nodes(t, 2, 300)) as [TestNode, TestNode]
  const silentOne = await mute(t, server.url)
  await until('it is known', () => one.bus.peers.size === 2 && silentOne.peers.size === 2)
  two.client('alice')
  const before = performance.now()
  t.same(await one.cluster.emit({ user: 'alice' }, 'e', '[]'), { count: 1, missing: [silentOne.node] })
  t.ok(performance.now() - before >= 290)
  t.same((await one.cluster.stats()).missing, [silentOne.node])
  t.same((await one.cluster.channels()).missing, [silentOne.node])
})

t.test('a node that goes while it is asked is not waited for', async (t) => {
  const [one] = (await nodes(t, 1, 60_000)) as [TestNode]
  const leaver = await mute(t, server.url)
  await until('it is known', () => one.bus.peers.size === 1)
  const asked = one.cluster.stats()
  await leaver.stop()
  t.same((await asked).missing, [leaver.node])
})

t.test('who waits when the node stops is answered', async (t) => {
  const [one] = (await nodes(t, 1, 60_000)) as [TestNode]
  const other = await mute(t, server.url)
  await until('it is known', () => one.bus.peers.size === 1)
  const asked = one.cluster.stats()
  one.cluster.stop()
  t.same((await asked).missing, [other.node])
})

t.test('what another node makes up is refused, counted, and changes nothing', async (t) => {
  const [one, two] = (await nodes(t, 2, 300)) as [TestNode, TestNode]
  const [alice, link] = two.client('alice', ['chat:a'])
  const liar = await mute(t, server.url)
  await until('it is known', () => two.bus.peers.size === 2 && liar.peers.size === 2)
  const asks: unknown[] = [
    null,
    'emit',
    { op: 'format' },
    { op: '__proto__' },
    { op: 'emit', target: { user: 'alice' }, event: 'e', args: 'not json', exclude: null },
    { op: 'emit', target: { user: 'alice' }, event: 'e', args: '{"no":"list"}', exclude: null },
    { op: 'emit', target: { user: 'alice' }, event: { toString: 'x' }, args: '[]', exclude: null },
    { op: 'emit', target: { channel: 'no channel' }, event: 'e', args: '[]', exclude: null },
    { op: 'emit', target: null, event: 'e', args: '[]', exclude: null },
    { op: 'disconnect', person: { user: 'alice' }, reason: 'x', code: 1005 },
    { op: 'disconnect', person: { user: 'alice' }, reason: 'x', code: '4405' },
    { op: 'disconnect', person: { user: 7 }, reason: 'x', code: 4405 },
    { op: 'connections', filter: {}, limit: 1e9 },
    { op: 'connections', filter: { user: {} }, limit: 1 },
    { op: 'presence', channel: 'x', limit: 1 },
    { op: 'channels', prefix: 1, limit: 1 },
  ]
  for (const ask of asks)
    liar.send({ kind: 'memo', topic: 'cluster', to: two.bus.node, body: { id: 1, ask } })
  const bodies: unknown[] = [null, 1, 'x', [], {}, { id: 'x', ask: {} }, { id: 1.5 }, { id: 99, answer: 1 }]
  for (const body of bodies) liar.send({ kind: 'memo', topic: 'cluster', to: two.bus.node, body })
  await until('all was refused', () => {
    const { errors } = two.counts
    return errors.get('bus.invalid_input') === asks.length && errors.get('bus.bad_memo') === 7
  })
  t.same([link.frames, link.closes], [[], []])
  t.ok(alice.open)

  // Answers are looked at too: what is not what was asked for is none.
  const asked = one.cluster.emit({ user: 'alice' }, 'e', '[]')
  for (const answer of [-1, 1e300, '5', null]) {
    liar.send({ kind: 'memo', topic: 'cluster', to: one.bus.node, body: { id: 1, answer } })
  }
  t.same(await asked, { count: 1, missing: [liar.node] })
})
