import t, { type Test } from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { acquainted, CHANNELS, PresenceNode, rulesOf, startPresenceNode } from './presence-node.ts'
import { MemoryBus } from '../../src/bus/memory.ts'
import type { ConfigInput } from '../../src/config/input.ts'

const server = await startPostgres(t)
await migrate(server.url)

async function nodes(t: Test, count: number): Promise<PresenceNode[]> {
  const made = await Promise.all(Array.from({ length: count }, () => startPresenceNode(t, server.url)))
  await acquainted(...made)
  return made
}

async function alone(limits: NonNullable<ConfigInput['limits']> = {}): Promise<PresenceNode> {
  return new PresenceNode(new MemoryBus(), await rulesOf({ limits: { ...limits } as never }), {})
}

/** Waits until each of the nodes says so. */
async function allSay(
  them: readonly PresenceNode[],
  channel: string,
  expected: readonly (string | number)[],
): Promise<void> {
  const wanted = JSON.stringify(expected)
  await until(
    `${channel} has ${wanted}`,
    () => them.every((node) => JSON.stringify(node.on(channel)) === wanted),
    8_000,
  )
}

void t.test(
  'who is on a channel is known on every node, and those there are told who comes and leaves',
  async (t) => {
    const [one, two, three] = (await nodes(t, 3)) as [PresenceNode, PresenceNode, PresenceNode]
    const [alice, a] = one.client('alice', ['chat:a'], { name: 'Alice' })
    const [bob, b] = two.client('bob', ['chat:a'])
    await allSay([one, two, three], 'chat:a', ['alice', 'bob', 2])
    const guest = three.client(null, ['chat:a'])[0]
    await until('alice knows', () => a.moves.length === 2)
    t.same(a.moves, ['join bob', `join ${guest.session}`])
    t.match(
      a.frames.find(({ type }) => type === 'presence'),
      {
        channel: 'chat:a',
        event: 'join',
        client: { session: bob.session, user: 'bob', info: null },
        count: 2,
      },
    )
    const { clients, count }: { clients: unknown[]; count: number } = JSON.parse(
      three.presence.read('chat:a'),
    )
    t.equal(count, 3)
    t.strictSame(
      clients.find((client) => (client as { user: unknown }).user === 'alice'),
      { session: alice.session, user: 'alice', info: { name: 'Alice' } },
    )
    one.go(alice)
    three.hub.leave(guest, 'chat:a')
    await allSay([one, two, three], 'chat:a', ['bob', 1])
    t.same(b.moves.slice(-2).toSorted(), ['leave alice', `leave ${guest.session}`].toSorted())
    t.same(await three.emitter.presence('chat:a'), {
      clients: [{ session: bob.session, user: 'bob', info: null }],
      count: 1,
    })
  },
)

void t.test('by user there is one entry for all tabs, on whichever nodes they are', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [PresenceNode, PresenceNode]
  const [, watcher] = one.client('watcher', ['team:a'])
  const [tab1] = one.client('alice', ['team:a'])
  const [tab2] = one.client('alice', ['team:a'])
  const [tab3] = two.client('alice', ['team:a'])
  await allSay([one, two], 'team:a', ['alice', 'watcher', 2])
  await until('both are there', () => two.presence.channels === 1)
  one.go(tab1)
  one.go(tab2)
  const [last, l] = two.client('bob', ['team:a'])
  await allSay([one, two], 'team:a', ['alice', 'bob', 'watcher', 3])
  two.go(tab3)
  await allSay([one, two], 'team:a', ['bob', 'watcher', 2])
  two.go(last)
  await allSay([one, two], 'team:a', ['watcher', 1])
  t.same(watcher.moves, ['join alice', 'join bob', 'leave alice', 'leave bob'])
  t.same(l.moves, ['leave alice'])
})

void t.test('without a user each connection stands for itself, by user too', async (t) => {
  const node = await alone()
  const [first] = node.client(null, ['team:a'])
  const [second] = node.client(null, ['team:a'])
  t.same(node.on('team:a'), [...[first.session, second.session].toSorted(), 2])
})

void t.test('who reloads the page within leaveAfter has not left', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [PresenceNode, PresenceNode]
  const [, watcher] = two.client('watcher', ['slow:a'])
  const [before] = one.client('alice', ['slow:a'])
  await allSay([one, two], 'slow:a', ['alice', 'watcher', 2])
  one.go(before)
  t.same(one.on('slow:a'), ['alice', 'watcher', 2], 'thought to come back')
  const [after] = two.client('alice', ['slow:a'])
  await new Promise((resolve) => setTimeout(resolve, 400))
  await allSay([one, two], 'slow:a', ['alice', 'watcher', 2])
  t.same(watcher.moves, ['join alice'])
  two.go(after)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const [again] = one.client('alice', ['slow:a'])
  await new Promise((resolve) => setTimeout(resolve, 400))
  t.same(watcher.moves, ['join alice'], 'told as gone to all, and back')
  one.go(again)
  await allSay([one, two], 'slow:a', ['watcher', 1])
  t.same(watcher.moves, ['join alice', 'leave alice'])
})

void t.test('who authenticates while on a channel becomes another entry, the connection stays', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [PresenceNode, PresenceNode]
  const [, watcher] = two.client('watcher', ['chat:a', 'team:a'])
  const [client, own] = one.client(null, ['chat:a', 'team:a'])
  const { session } = client
  await until('it is known', () => two.on('team:a').includes(session) && two.on('chat:a').includes(session))
  one.hub.identify(client, { id: 'alice', info: 1 })
  await allSay([one, two], 'chat:a', ['alice', 'watcher', 2])
  await allSay([one, two], 'team:a', ['alice', 'watcher', 2])
  const ofEach = [`join ${session}`, `leave ${session}`, 'join alice']
  t.same(watcher.moves.toSorted(), [...ofEach, ...ofEach].toSorted())
  t.notOk(
    own.moves.some((move) => move !== 'join watcher'),
    'nobody is told of itself',
  )
  // The same user with other data: by user nothing has changed.
  const told = watcher.moves.length
  one.hub.identify(client, { id: 'alice', info: 2 })
  await until('its data are known', () => two.presence.read('chat:a').includes('"info":2'))
  t.same(watcher.moves.slice(told), ['leave alice', 'join alice'], 'by session')
  t.match(two.presence.read('team:a'), '"info":2')
})

void t.test('a node that comes later is told who was there before, several pages of them', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [PresenceNode, PresenceNode]
  for (let i = 0; i < 1_000; i++) one.client(`u${i}`, [`chat:${i % 7}`, 'quiet:all'])
  two.client('other', ['quiet:all'])
  const three = await startPresenceNode(t, server.url)
  // Some come and go while the pages are under way.
  const leavers = [...one.hub].slice(300, 350)
  await until('it has begun', () => three.on('quiet:all').at(-1) !== 0)
  for (const client of leavers) one.go(client)
  for (let i = 0; i < 50; i++) one.client(`late${i}`, ['quiet:all'])
  const told = (node: PresenceNode): string =>
    JSON.stringify([
      node.on('quiet:all').at(-1),
      ...Array.from({ length: 7 }, (_, i) => node.on(`chat:${i}`)),
    ])
  await until('three knows all', () => told(three) === told(one))
  t.equal(three.on('quiet:all').at(-1), 1_001)
  t.ok(three.on('chat:3').includes('u500'))
  t.equal(three.presence.resyncs, 2, 'once of each')
})

void t.test('what was missed in a gap is found out and corrected, with the events', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [PresenceNode, PresenceNode]
  const [, watcher] = two.client('watcher', ['chat:a'])
  const [goer] = one.client('goer', ['chat:a'])
  await allSay([two], 'chat:a', ['goer', 'watcher', 2])
  two.deaf = true
  one.go(goer)
  one.client('comer', ['chat:a'])
  await allSay([one], 'chat:a', ['comer', 'watcher', 2])
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.same(two.on('chat:a'), ['goer', 'watcher', 2], 'it does not know')
  two.deaf = false
  await allSay([two], 'chat:a', ['comer', 'watcher', 2])
  t.same(watcher.moves.toSorted(), ['join comer', 'join goer', 'leave goer'])
})

void t.test('whoever misses a change sees it by the number of the next one', async (t) => {
  const options = { digestMs: 3_600_000 }
  const [one, two] = await Promise.all([1, 2].map(() => startPresenceNode(t, server.url, options)))
  await acquainted(one!, two!)
  const [goer] = one!.client('goer', ['chat:a'])
  await allSay([two!], 'chat:a', ['goer', 1])
  two!.deaf = true
  one!.go(goer)
  await new Promise((resolve) => setTimeout(resolve, 100))
  two!.deaf = false
  one!.client('comer', ['chat:a'])
  await allSay([two!], 'chat:a', ['comer', 1])
})

void t.test(
  'a node whose network is cut has no clients for the others, and has them again when it is back',
  async (t) => {
    const proxy = await startProxy(t, server.url)
    const one = await startPresenceNode(t, server.url)
    const two = await startPresenceNode(t, proxy.url(server.url))
    await acquainted(one, two)
    const [, left] = one.client('left', ['chat:a'])
    const [, right] = two.client('right', ['chat:a'])
    const [goer] = two.client('goer', ['chat:a'])
    await allSay([one, two], 'chat:a', ['goer', 'left', 'right', 3])
    proxy.refuse()
    proxy.cut()
    await allSay([one], 'chat:a', ['left', 1])
    t.same(left.moves.slice(-2).toSorted(), ['leave goer', 'leave right'])
    await allSay([two], 'chat:a', ['goer', 'right', 2])
    two.go(goer)
    proxy.accept()
    await allSay([one, two], 'chat:a', ['left', 'right', 2])
    t.same(left.moves.slice(-1), ['join right'])
    t.same(right.moves.filter((move) => move.endsWith('left')).slice(-2), ['leave left', 'join left'])
  },
)

void t.test('of a short cut nobody is told: who is there still has not left', async (t) => {
  const proxy = await startProxy(t, server.url)
  const one = await startPresenceNode(t, server.url)
  const two = await startPresenceNode(t, proxy.url(server.url))
  await acquainted(one, two)
  const [, left] = one.client('left', ['chat:a'])
  two.client('right', ['chat:a'])
  await allSay([one, two], 'chat:a', ['left', 'right', 2])
  proxy.cut()
  two.client('third', ['chat:a'])
  one.client('fourth', ['chat:a'])
  await allSay([one, two], 'chat:a', ['fourth', 'left', 'right', 'third', 4])
  t.same(left.moves.toSorted(), ['join fourth', 'join right', 'join third'])
})

void t.test(
  'channels without presence cost nothing and are refused; with a great many there nobody is told',
  async (t) => {
    const node = await alone({ presenceEvents: 2 })
    const [, first] = node.client('a', ['plain:x', 'chat:a'])
    t.throws(() => node.presence.read('plain:x'), { code: 'forbidden' })
    t.same([node.presence.channels, node.presence.entries], [1, 1])
    t.same(node.on('chat:nobody'), [0])
    node.client('b', ['chat:a', 'quiet:a'])
    const [c] = node.client('c', ['chat:a', 'quiet:a'])
    t.same(first.moves, ['join b'])
    t.same(node.on('chat:a'), ['a', 'b', 'c', 3])
    node.go(c)
    t.same(first.moves, ['join b', 'leave c'], 'its count shows that something was not told')
    t.equal(first.frames.at(-1)?.['count'], 2)
    t.same(node.on('quiet:a'), ['b', 1])
  },
)

void t.test('lists are bounded, counts are true, and data that is too much is not shown', async (t) => {
  const node = await alone()
  for (let i = 0; i < 1_200; i++) node.client(null, ['quiet:a'])
  const { clients, count }: { clients: unknown[]; count: number } = JSON.parse(node.presence.read('quiet:a'))
  t.same([clients.length, count], [1_000, 1_200])
  for (const info of ['x'.repeat(5_000), 10n, () => 1]) node.client('odd', ['quiet:b'], info)
  t.match(JSON.parse(node.presence.read('quiet:b')), {
    clients: [{ info: null }, { info: null }, { info: null }],
  })
})

void t.test(
  'a reload turns presence on and off: nobody is told that who was there came or left',
  async (t) => {
    const [one, two] = (await nodes(t, 2)) as [PresenceNode, PresenceNode]
    const [alice, a] = one.client('alice', ['plain:a', 'chat:a'])
    one.client('alice', ['chat:a'])
    two.client('bob', ['plain:a', 'chat:a'])
    await allSay([one], 'chat:a', ['alice', 'alice', 'bob', 3])
    const told = a.moves.length
    const channels = {
      ...CHANNELS,
      plain: { access: 'public' as const, presence: true },
      chat: { access: 'public' as const, presence: { by: 'user' as const, leaveAfter: 1 } },
    }
    for (const node of [one, two]) {
      node.live.rules = await rulesOf({ channels })
      node.presence.apply()
    }
    await allSay([one, two], 'plain:a', ['alice', 'bob', 2])
    await allSay([one, two], 'chat:a', ['alice', 'bob', 2])
    t.same(a.moves.slice(told), ['join bob'], 'what the other node told of after this one had it')
    one.live.rules = await rulesOf({})
    one.presence.apply()
    t.throws(() => one.presence.read('plain:a'), { code: 'forbidden' })
    await allSay([two], 'plain:a', ['bob', 1])
    one.go(alice)
    await allSay([two], 'chat:a', ['alice', 'bob', 2])
  },
)

void t.test('what anybody makes up is counted and changes nothing for long', async (t) => {
  const [one, two] = (await nodes(t, 2)) as [PresenceNode, PresenceNode]
  const [alice, link] = one.client('alice', ['chat:a'])
  const [bob] = two.client('bob', ['chat:a'])
  await allSay([one, two], 'chat:a', ['alice', 'bob', 2])
  const from = two.bus.node
  const say = (body: unknown): void => one.presence.onMemo({ kind: 'memo', topic: 'presence', body }, from)
  const rubbish: unknown[] = [
    null,
    1,
    [],
    {},
    { n: -1, c: [] },
    { n: 1, c: {} },
    { n: 1, c: [1] },
    { n: 1, c: [['nochannel', 'x']] },
    { n: 1, c: [['chat:a', 'not a session"']] },
    { n: 1, c: [['chat:a', 's', 7, 'null']] },
    { n: 1, c: [['chat:a', 's', null, '{broken']] },
    { n: 1, c: [['chat:a', 's', null, `"${'x'.repeat(5000)}"`]] },
    { n: 1, d: 'x' },
    { ask: 'x' },
    { s: 1, p: -1, n: 1, c: [] },
  ]
  for (const body of rubbish) say(body)
  t.equal(one.counts.errors.get('bus.bad_memo'), rubbish.length)
  // Another node's client it can neither take over nor remove; its own it can, until the node is heard itself.
  say({
    n: 900,
    c: [
      ['chat:a', alice.session, 'mallory', 'null'],
      ['chat:a', alice.session],
    ],
  })
  t.equal(one.counts.errors.get('bus.bad_memo'), rubbish.length + 1)
  say({
    n: 901,
    c: [
      ['chat:a', 'forged', 'mallory', 'null'],
      ['chat:a', bob.session],
    ],
  })
  await allSay([one, two], 'chat:a', ['alice', 'bob', 2])
  t.same(link.moves.slice(-4).toSorted(), ['join bob', 'join mallory', 'leave bob', 'leave mallory'])
  for (let i = 0; i < 100; i++) say({ ask: i })
  t.ok((one.counts.errors.get('bus.bad_memo') ?? 0) >= 99, 'who asks again and again is not answered')
})

void t.test('entries of another node are bounded', async (t) => {
  const node = await alone({ presenceEntries: 10 })
  const lines = Array.from({ length: 50 }, (_, i) => ['quiet:a', `s${i}`, null, 'null'])
  const memo = { kind: 'memo', topic: 'presence', body: { n: 1, c: lines } } as const
  node.presence.onMemo(memo, 'abcdefghijkl')
  t.equal(node.on('quiet:a').at(-1), 10)
  t.equal(node.counts.errors.get('bus.bad_memo'), 40)
  node.presence.onPeer('abcdefghijkl', false)
  await until('they are gone', () => node.presence.channels === 0)
  node.presence.stop()
})

void t.test(
  'many changes at once are told together, the first of them at once; nobody is told of itself',
  async (t) => {
    const node = new PresenceNode(new MemoryBus(), await rulesOf({}), { windowMs: 30 })
    const [, watcher] = node.client('watcher', ['chat:a'])
    await new Promise((resolve) => setTimeout(resolve, 60))
    const links = Array.from({ length: 20 }, (_, i) => node.client(`u${i}`, ['chat:a'])[1])
    t.same(watcher.moves, ['join u0'])
    await until('the others are told', () => watcher.moves.length === 20)
    t.equal(watcher.moves.at(-1), 'join u19')
    for (const [i, link] of links.entries()) t.notOk(link.moves.includes(`join u${i}`))
    node.presence.stop()
  },
)

void t.test('who leaves and is back in the same moment has not left, here and on other nodes', async (t) => {
  const options = { windowMs: 30 }
  const [one, two] = await Promise.all([1, 2].map(() => startPresenceNode(t, server.url, options)))
  await acquainted(one!, two!)
  const [, near] = one!.client('near', ['chat:a'])
  const [, far] = two!.client('far', ['chat:a'])
  const [client] = one!.client('alice', ['chat:a'])
  await until('all are told', () => near.moves.includes('join alice') && far.moves.includes('join alice'))
  await new Promise((resolve) => setTimeout(resolve, 60))
  const [a, b] = [near.moves.length, far.moves.length]
  one!.hub.leave(client, 'chat:a')
  one!.hub.join(client, 'chat:a', 'policy')
  const [goer] = one!.client('goer', ['chat:a'])
  one!.go(goer)
  one!.client('last', ['chat:a'])
  await until('the last is told', () => near.moves.length > a && far.moves.length > b)
  t.same(
    [near.moves.slice(a), far.moves.slice(b).filter((move) => !move.endsWith('goer'))],
    [['join last'], ['join last']],
  )
  t.equal(
    far.moves.filter((move) => move === 'join goer').length,
    far.moves.filter((move) => move === 'leave goer').length,
  )
})
