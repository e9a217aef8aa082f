import t, { type Test } from 'tap'
import { createBus } from '../../src/bus/create.ts'
import { MemoryBus } from '../../src/bus/memory.ts'
import { migrate } from '../../src/database/migrate.ts'
import { Notifications } from '../../src/database/notifications.ts'
import { Events } from '../../src/hub/events.ts'
import type { Client } from '../../src/hub/client.ts'
import { silent, startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import {
  acquainted,
  PresenceNode,
  type PresenceNodeOptions,
  type Recorder,
  rulesOf,
  startPresenceNode,
} from './presence-node.ts'

const server = await startPostgres(t)
await migrate(server.url)

async function alone(limits: Readonly<Record<string, number>> = {}): Promise<PresenceNode> {
  return new PresenceNode(new MemoryBus(), await rulesOf({ limits }), {})
}

async function pair(t: Test, options: PresenceNodeOptions = {}): Promise<[PresenceNode, PresenceNode]> {
  const [one, two] = await Promise.all([
    startPresenceNode(t, server.url, options),
    startPresenceNode(t, server.url, options),
  ])
  await acquainted(one, two)
  return [one, two]
}

/** The client answers each event with these arguments. */
function answering([client, link]: [Client, Recorder], ...args: unknown[]): [Client, Recorder] {
  link.answer = (frame) => queueMicrotask(() => client.acknowledge(frame['id'] as number, args))
  return [client, link]
}

void t.test('an event can ask its client for an answer, and resolves with its arguments', async (t) => {
  const node = await alone()
  const [client, link] = node.client('alice')
  const first = client.emitWithAck('question', [1, 'two'])
  const second = client.emitWithAck('another')
  t.same(link.frames, [
    { type: 'event', event: 'question', args: [1, 'two'], id: 1 },
    { type: 'event', event: 'another', args: [], id: 2 },
  ])
  const events = new Events(node.counts)
  events.acknowledge(client, 2, ['b'])
  events.acknowledge(client, 1)
  t.same(await Promise.all([first, second]), [[], ['b']])
  t.same([node.counts.acksWanted, node.counts.acks, node.counts.acksMissed], [2, 2, 0])
})

void t.test(
  'an answer counts once: what is unknown, late, double or another connection’s is refused',
  async (t) => {
    const node = await alone()
    const events = new Events(node.counts)
    const [alice] = node.client('alice')
    const [bob] = node.client('bob')
    const refused = { code: 'invalid_input', id: undefined, fatal: false }
    const asked = alice.emitWithAck('q')
    t.throws(() => events.acknowledge(bob, 1, []), refused, 'of another connection')
    t.throws(() => events.acknowledge(alice, '1', []), refused, 'a text is another id')
    events.acknowledge(alice, 1, ['yes'])
    t.throws(() => events.acknowledge(alice, 1, ['no']), refused, 'twice')
    t.same(await asked, ['yes'])
    const late = alice.emitWithAck('q', [], { timeoutMs: 5 })
    await t.rejects(late, { name: 'ClientError', code: 'timeout' })
    t.throws(() => events.acknowledge(alice, 2, []), refused, 'late')
    const next = alice.emitWithAck('q')
    t.throws(() => events.acknowledge(alice, 2, []), refused, 'an id is never used again')
    events.acknowledge(alice, 3, [])
    t.same(await next, [])
    t.same([node.counts.acksWanted, node.counts.acks, node.counts.acksMissed], [3, 2, 1])
  },
)

void t.test('who waits is told when the client goes; one that has gone is not asked', async (t) => {
  const node = await alone()
  const [client] = node.client('alice')
  const asked = [client.emitWithAck('a'), client.emitWithAck('b')]
  node.go(client)
  for (const one of asked) await t.rejects(one, { code: 'unavailable' })
  await t.rejects(client.emitWithAck('c'), { code: 'unavailable' })
  t.equal(client.acknowledge(1, []), false)
})

void t.test('answers that are waited for are bounded, of each connection', async (t) => {
  const node = await alone({ pendingAcks: 2 })
  const [client] = node.client('alice')
  const [other] = answering(node.client('bob'), 1)
  const asked = [client.emitWithAck('a'), client.emitWithAck('b')]
  await t.rejects(client.emitWithAck('c'), { code: 'limit_exceeded' })
  t.same(await other.emitWithAck('a'), [1])
  const { count, answered } = await node.emitter.emit({ all: true }, 'e', [], { ack: { timeoutMs: 10 } })
  t.same([count, answered], [1, 1], 'it is left out of others too')
  client.acknowledge(1, [])
  await asked[0]
  const again = client.emitWithAck('c')
  node.go(client)
  await t.rejects(asked[1]!, { code: 'unavailable' })
  await t.rejects(again, { code: 'unavailable' })
})

void t.test('what can’t be sent is refused, and leaves nothing behind', async (t) => {
  const node = await alone()
  const [client, link] = node.client('alice', ['plain:a'])
  const cycle: unknown[] = []
  cycle.push(cycle)
  await t.rejects(client.emitWithAck('e', [cycle]), TypeError)
  for (const timeoutMs of [0, -1, Number.NaN, Infinity, 1e9]) {
    await t.rejects(client.emitWithAck('e', [], { timeoutMs }), RangeError)
    await t.rejects(node.emitter.emit({ all: true }, 'e', [], { ack: { timeoutMs } }), RangeError)
  }
  const targets: unknown[] = [{}, { all: false }, { user: 'a', all: true }, { channel: 'x' }, { session: 1 }]
  for (const target of targets)
    await t.rejects(node.emitter.emit(target as { all: true }, 'e', [], {}), TypeError)
  t.same(link.frames, [])
  t.equal(client.acknowledge(1, []), false)
})

void t.test('a text is the event message; a broadcast goes to all others, of all nodes', async (t) => {
  const [one, two] = await pair(t)
  const [alice, a] = one.client('alice')
  const [, b] = one.client('alice')
  const [, c] = two.client('bob')
  t.equal(alice.send('hello'), true)
  t.same(a.frames, [{ type: 'event', event: 'message', args: ['hello'] }])
  alice.broadcast('notice', 1, '!')
  await until('both have it', () => b.frames.length === 1 && c.frames.length === 1)
  t.same(b.frames, [{ type: 'event', event: 'notice', args: [1, '!'] }])
  t.same(c.frames, b.frames)
  t.equal(a.frames.length, 1)
  t.throws(() => alice.broadcast('notice', 10n), TypeError)
})

void t.test('an event to many waits for the answers of all nodes', async (t) => {
  const [one, two] = await pair(t)
  const [alice, a] = answering(one.client('alice', ['plain:a']), 'from alice')
  const [tab] = answering(two.client('alice', ['plain:a']), 'from her tab', { n: 1 })
  const [bob] = answering(two.client('bob', ['plain:a']))
  const [silentOne, s] = two.client('silent', ['plain:a'])
  const [goer, g] = two.client('goer', ['plain:a'])
  g.answer = () => queueMicrotask(() => two.go(goer))

  const user = await one.emitter.emit({ user: 'alice' }, 'q', [7], { ack: true })
  t.same(user, {
    count: 2,
    answered: 2,
    acks: [
      { session: alice.session, user: 'alice', args: ['from alice'] },
      { session: tab.session, user: 'alice', args: ['from her tab', { n: 1 }] },
    ],
    missing: [],
  })
  t.match(a.frames.at(-1), { type: 'event', event: 'q', args: [7], id: 1 })

  const options = { exclude: alice.session, ack: { timeoutMs: 200 } }
  const room = await one.emitter.emit({ channel: 'plain:a' }, 'q', [], options)
  t.same([room.count, room.answered, room.missing], [4, 2, []])
  t.same(
    room.acks.map(({ session }) => session),
    [tab.session, bob.session],
  )
  t.equal(silentOne.acknowledge(s.frames.at(-1)?.['id'] as number, []), false, 'too late')

  const session = await one.emitter.emit({ session: bob.session }, 'q', [], { ack: true })
  t.same([session.count, session.answered], [1, 1])
  const own = await one.emitter.emit({ session: alice.session }, 'q', [], { ack: true })
  t.same([own.count, own.answered], [1, 1])
  const nobody = await one.emitter.emit({ user: 'nobody' }, 'q', [], { ack: true })
  t.same(nobody, { count: 0, answered: 0, acks: [], missing: [] })
})

void t.test('without ack nothing is waited for', async (t) => {
  const node = await alone()
  const [, link] = node.client('alice')
  t.same(await node.emitter.emit({ user: 'alice' }, 'e', [1], {}), {
    count: 1,
    answered: 0,
    acks: [],
    missing: [],
  })
  t.same(link.frames, [{ type: 'event', event: 'e', args: [1] }])
  t.equal(node.counts.acksWanted, 0)
})

void t.test('a node that does not tell what its clients answered is named, in time', async (t) => {
  const one = await startPresenceNode(t, server.url, { deadlineMs: 200 })
  const notifications = new Notifications({ url: server.url })
  t.teardown(() => notifications.stop())
  const mute = await createBus({
    kind: 'postgres',
    notifications,
    url: server.url,
    log: silent(),
    helloMs: 150,
  })
  t.teardown(() => mute.stop())
  await Promise.all([
    mute.start({ onParcel() {}, onMemo() {}, onPeer() {}, onGap() {} }),
    notifications.start(),
  ])
  await until('it is known', () => one.bus.peers.has(mute.node))
  answering(one.client('alice'), 'here')
  const began = performance.now()
  const { count, answered, missing } = await one.emitter.emit({ all: true }, 'q', [], {
    ack: { timeoutMs: 100 },
  })
  t.same([count, answered, missing], [1, 1, [mute.node]])
  const ms = performance.now() - began
  t.ok(ms >= 290 && ms < 2_000, `${ms} ms`)
})

void t.test('very many answers are counted all, and told as far as there is room', async (t) => {
  const [one, two] = await pair(t)
  for (let i = 0; i < 1_500; i++) answering(two.client(null, ['quiet:a']), i)
  const { count, answered, acks } = await one.emitter.emit({ channel: 'quiet:a' }, 'q', [], { ack: true })
  t.same([count, answered, acks.length], [1_500, 1_500, 1_000])
  for (let i = 0; i < 20; i++) answering(two.client('big'), 'x'.repeat(50_000))
  const big = await one.emitter.emit({ user: 'big' }, 'q', [], { ack: true })
  t.same([big.count, big.answered], [20, 20])
  t.ok(big.acks.length > 5 && big.acks.length < 20, `${big.acks.length}`)
})

void t.test('orders to ask that are made up are refused', async (t) => {
  const [one, two] = await pair(t)
  const [, link] = one.client('alice')
  const good = {
    op: 'ask',
    target: { all: true },
    event: 'e',
    args: '[]',
    exclude: null,
    timeoutMs: 5,
    limit: 5,
  }
  const bad = [{ timeoutMs: -1 }, { timeoutMs: 1e9 }, { timeoutMs: '5' }, { limit: 1e9 }, { args: '{}' }]
  for (const part of bad) {
    const body = { id: 1, ask: { ...good, ...part } }
    two.bus.send({ kind: 'memo', topic: 'cluster', to: one.bus.node, body })
  }
  await until('all are refused', () => one.counts.errors.get('bus.invalid_input') === bad.length)
  t.same(link.frames, [])
  // What a node says that its clients answered is looked at too.
  const asked = two.emitter.emit({ all: true }, 'q', [], { ack: { timeoutMs: 10 } })
  for (const answer of [1, { items: [], count: 0 }, { items: [{ session: 's' }], count: 1, sent: 1 }]) {
    one.bus.send({ kind: 'memo', topic: 'cluster', to: two.bus.node, body: { id: 1, answer } })
  }
  t.same((await asked).acks, [])
})
