import type { Test } from 'tap'
import type { Bus, Memo, Parcel } from '../../src/bus/bus.ts'
import type { RemoteBusOptions } from '../../src/bus/remote.ts'
import type { Rabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'

export type Tuning = Partial<Omit<RemoteBusOptions, 'log'>>

/** A bus, and a way to take its network away. */
export interface BusUnderTest {
  readonly bus: Bus
  /** From now on it reaches nobody, without a word: as if its process was killed. Undone by `mend`. */
  cut(): void
  mend(): void
}

/** Where buses of one kind meet. */
export interface Place {
  open(t: Test, tuning: Tuning): BusUnderTest | Promise<BusUnderTest>
  /** What one can say there that is no letter, and a way to say it. */
  say(texts: readonly string[]): Promise<void>
  readonly server: Pick<Rabbit, 'kill' | 'restart'>
}

/** A node as the tests see it. */
export class Node {
  readonly parcels: Parcel[] = []
  readonly memos: { readonly memo: Memo; readonly from: string }[] = []
  readonly comings: string[] = []
  readonly gaps: string[] = []
  gapTimes = 0
  readonly bus: Bus
  readonly under: BusUnderTest

  constructor(under: BusUnderTest) {
    this.under = under
    this.bus = under.bus
  }

  async start(): Promise<this> {
    await this.bus.start({
      onParcel: (parcel) => this.parcels.push(parcel),
      onMemo: (memo, from) => this.memos.push({ memo, from }),
      onPeer: (node, here) => this.comings.push(`${here ? '+' : '-'}${node}`),
      onGap: (reason, times) => {
        this.gaps.push(reason)
        this.gapTimes += times
      },
    })
    return this
  }

  publish(data: unknown, options: { channel?: string; exclude?: string } = {}): void {
    const { channel = 'chat:a', exclude } = options
    const message = JSON.stringify({ channel, data, time: 1 })
    this.bus.send({
      kind: 'publication',
      channel,
      message,
      ...(exclude === undefined ? {} : { exclude }),
    })
  }

  get data(): unknown[] {
    return this.parcels.map(({ message }) => (JSON.parse(message) as { data: unknown }).data)
  }

  async heard(count: number): Promise<unknown[]> {
    await until(`${count} parcels; there are ${this.parcels.length}`, () => this.parcels.length >= count)
    return this.data
  }
}

/** Fast, but not so fast that a busy machine looks like a lost peer. */
const TUNING: Tuning = { helloMs: 200, peerMs: 2_000, retry: { minMs: 10, maxMs: 100 } }

/** What a bus promises to its own node. */
export function busContract(t: Test, name: string, open: Place['open']): void {
  const started = async (t: Test): Promise<Node> => {
    const node = new Node(await open(t, TUNING))
    t.teardown(() => node.bus.stop())
    return node.start()
  }

  t.test(`${name}: a parcel comes to its own node within send, a memo does not`, async (t) => {
    const node = await started(t)
    t.match(node.bus.node, /^[a-z0-9]{12}$/)
    t.equal(node.bus.ready, true, node.bus.reason ?? '')
    node.publish('one', { exclude: 'someSession' })
    node.bus.send({ kind: 'memo', topic: 'cluster', body: { for: 'others' } })
    t.same(node.data, ['one'])
    t.equal(node.parcels[0]!.exclude, 'someSession')
    t.same(node.memos, [])
    t.equal(node.bus.counts.sent, 0, 'with no other node nothing leaves the process')
  })

  t.test(`${name}: every bus has a name of its own`, async (t) => {
    const [one, other] = [await open(t, TUNING), await open(t, TUNING)]
    t.not(one.bus.node, other.bus.node)
    await Promise.all([one.bus.stop(), other.bus.stop()])
  })

  t.test(`${name}: it can be stopped twice, and says nothing afterwards`, async (t) => {
    const node = await started(t)
    await Promise.all([node.bus.stop(), node.bus.stop()])
    await node.bus.stop()
    node.publish('late')
    t.same(node.data, [])
    t.equal(node.bus.ready, false)
  })
}

/** What a bus promises between nodes. */
export function remoteBusContract(t: Test, name: string, place: Place): void {
  const opened = async (t: Test, tuning: Tuning = {}): Promise<Node> => {
    const node = new Node(await place.open(t, { ...TUNING, ...tuning }))
    t.teardown(() => node.bus.stop())
    return node.start()
  }
  /** Nodes that know one another. */
  const meeting = async (t: Test, count: number, tuning: Tuning = {}): Promise<Node[]> => {
    const nodes: Node[] = []
    for (let i = 0; i < count; i++) nodes.push(await opened(t, tuning))
    await acquainted(nodes)
    return nodes
  }

  t.test(`${name}: nodes know one another at once, not at the next hello`, async (t) => {
    const nodes = await meeting(t, 3, { helloMs: 60_000, peerMs: 180_000 })
    const [first] = nodes
    t.same(new Set(first!.comings), new Set(nodes.slice(1).map(({ bus }) => `+${bus.node}`)))
    t.same(
      nodes.flatMap(({ gaps }) => gaps),
      [],
    )
  })

  t.test(`${name}: each node's parcels come in its order, whoever else sends`, async (t) => {
    const nodes = await meeting(t, 3)
    const names = ['a', 'b', 'c']
    for (let i = 0; i < 2_000; i++) {
      for (const [index, node] of nodes.entries()) node.publish(i, { channel: `chat:${names[index]}` })
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    const expected = Array.from({ length: 2_000 }, (_, i) => i)
    for (const node of nodes) {
      await node.heard(6_000)
      for (const name of names) {
        const came = node.parcels.filter(({ channel }) => channel === `chat:${name}`)
        t.same(
          came.map(({ message }) => (JSON.parse(message) as { data: unknown }).data),
          expected,
        )
      }
      t.same(node.gaps, [])
      t.equal(node.bus.counts.dropped, 0)
    }
  })

  t.test(`${name}: large letters come whole, and in their place`, async (t) => {
    const [sender, receiver] = await meeting(t, 2)
    const mib = 1024 ** 2
    const sizes = [10, 7_800, 7_999, 8_001, 20, 64 * 1024, mib, 30, 3 * mib, 40]
    for (const [index, size] of sizes.entries()) sender!.publish(`${index}:${'x'.repeat(size)}`)
    const came = (await receiver!.heard(sizes.length)) as string[]
    t.same(
      came.map((text) => text.length),
      sizes.map((size) => size + 2),
    )
    t.same(
      came.map((text) => text[0]),
      sizes.map((_, index) => String(index)),
    )
    t.same(receiver!.gaps, [])
  })

  t.test(`${name}: equal parcels all come`, async (t) => {
    const [sender, receiver] = await meeting(t, 2)
    // Each fills a packet: packets that were equal would be one NOTIFY.
    const text = 'e'.repeat(7_000)
    for (let i = 0; i < 50; i++) sender!.publish(text)
    await receiver!.heard(50)
    for (let i = 0; i < 1_000; i++) sender!.publish('short')
    await receiver!.heard(1_050)
    t.equal(receiver!.parcels.length, 1_050)
  })

  t.test(`${name}: any text comes as it is`, async (t) => {
    const [sender, receiver] = await meeting(t, 2)
    const texts = ['ü€😀', '\n\r\t\u0001\u0000\u2028', '\\"\'', '@1', '', ' ', '\ud800', `{"channel":"x"}`]
    // At the border of a packet, in characters of several bytes.
    texts.push('€'.repeat(2_630), '😀'.repeat(1_970), 'ü'.repeat(3_950))
    for (const text of texts) sender!.publish({ text })
    await receiver!.heard(texts.length)
    t.same(receiver!.data, sender!.data)
    t.same(
      receiver!.parcels.map(({ message }) => message),
      sender!.parcels.map(({ message }) => message),
    )
  })

  t.test(`${name}: a number keeps every digit, and a pretty-printed message comes on one line`, async (t) => {
    const [sender, receiver] = await meeting(t, 2)
    sender!.bus.send({
      kind: 'publication',
      channel: 'chat:a',
      message: '{"channel":"chat:a","data":{\n  "id": 12345678901234567890\r\n},"time":1}',
    })
    await receiver!.heard(1)
    t.equal(
      receiver!.parcels[0]!.message,
      '{"channel":"chat:a","data":{   "id": 12345678901234567890 },"time":1}',
    )
  })

  t.test(`${name}: whom a parcel excludes is told, unless it can be no session`, async (t) => {
    const [sender, receiver] = await meeting(t, 2)
    sender!.publish(1, { exclude: 'AbC-_9' })
    sender!.publish(2, { exclude: 'two words\nand a line' })
    sender!.publish(3)
    await receiver!.heard(3)
    t.same(
      receiver!.parcels.map(({ exclude }) => exclude),
      ['AbC-_9', undefined, undefined],
    )
  })

  t.test(`${name}: a memo comes to all others, or to the one that it names`, async (t) => {
    const [one, two, three] = await meeting(t, 3)
    one!.bus.send({ kind: 'memo', topic: 'cluster', body: { to: 'all', __proto__x: 1 } })
    one!.bus.send({ kind: 'memo', topic: 'cluster', body: 'yours\n', to: three!.bus.node })
    one!.bus.send({ kind: 'memo', topic: 'other', body: null })
    await until('the memos', () => two!.memos.length === 2 && three!.memos.length === 3)
    t.same(
      three!.memos.map(({ memo }) => memo),
      [
        { kind: 'memo', topic: 'cluster', body: { to: 'all', __proto__x: 1 } },
        { kind: 'memo', topic: 'cluster', body: 'yours\n', to: three!.bus.node },
        { kind: 'memo', topic: 'other', body: null },
      ],
    )
    t.equal(three!.memos[0]!.from, one!.bus.node)
    t.same(one!.memos, [])
  })

  t.test(`${name}: who stops says good-bye, and its last words come before`, async (t) => {
    const [leaver, stayer] = await meeting(t, 2, { helloMs: 60_000, peerMs: 180_000 })
    leaver!.publish('farewell')
    await leaver!.bus.stop()
    await until('the good-bye', () => stayer!.bus.peers.size === 0)
    t.same(stayer!.data, ['farewell'])
    t.same(stayer!.comings, [`+${leaver!.bus.node}`, `-${leaver!.bus.node}`])
    t.same(stayer!.gaps, [])
  })

  t.test(
    `${name}: a peer that vanishes without a word is gone after peerMs, one that talks stays`,
    async (t) => {
      const [vanishing, two, three] = await meeting(t, 3, { peerMs: 1_000 })
      vanishing!.under.cut()
      await until('it is missed', () => !two!.bus.peers.has(vanishing!.bus.node))
      t.ok(two!.comings.includes(`-${vanishing!.bus.node}`))
      t.notOk(two!.comings.includes(`-${three!.bus.node}`))
      await until('it is down', () => !vanishing!.bus.ready)
      t.type(vanishing!.bus.reason, 'string')
    },
  )

  t.test(`${name}: who comes back finds those at once who never missed it`, async (t) => {
    const forgetful = await opened(t, { helloMs: 50, peerMs: 300 })
    const patient = await opened(t, { helloMs: 60_000, peerMs: 180_000 })
    await acquainted([forgetful, patient])
    forgetful.under.cut()
    await until('it is alone', () => forgetful.bus.peers.size === 0)
    t.equal(patient.bus.peers.size, 1)
    forgetful.under.mend()
    await until('it is not', () => forgetful.bus.peers.size === 1)
    t.ok(forgetful.bus.peers.has(patient.bus.node))
  })

  t.test(`${name}: who was away for a while is told of the gap, and all go on`, async (t) => {
    const [away, stayer] = await meeting(t, 2, { helloMs: 100, peerMs: 1_000 })
    stayer!.publish('before')
    await away!.heard(1)
    away!.under.cut()
    await until('both notice', () => stayer!.bus.peers.size === 0 && !away!.bus.ready)
    stayer!.publish('missed')
    away!.under.mend()
    await acquainted([away!, stayer!])
    t.ok(away!.gaps.length > 0)
    stayer!.publish('after')
    away!.publish('and back')
    await until('both', () => away!.data.includes('after') && stayer!.data.includes('and back'))
    t.same(stayer!.data, ['before', 'missed', 'after', 'and back'])
    t.notOk(away!.data.includes('missed'))
  })

  t.test(
    `${name}: what finds no room is dropped, the newest first, and the others learn of it`,
    async (t) => {
      const [sender, receiver] = await meeting(t, 2, { maxLetters: 100, maxBytes: 1024 ** 2 })
      // In one turn: nothing can leave meanwhile.
      for (let i = 0; i < 1_000; i++) sender!.publish(i)
      t.equal(sender!.data.length, 1_000, 'its own node has them all')
      await receiver!.heard(95)
      await until('the gap', () => receiver!.gaps.length > 0)
      t.same(
        receiver!.data,
        Array.from({ length: receiver!.parcels.length }, (_, i) => i),
      )
      t.ok(receiver!.parcels.length <= 100)
      // What nodes say of themselves finds no room either, and may have been due just then.
      const hellos = sender!.bus.counts.dropped - (1_000 - receiver!.parcels.length)
      t.ok(hellos === 0 || hellos === 1, `${hellos} of its own`)
      sender!.publish('room again')
      await until('the next', () => receiver!.data.includes('room again'))
      for (let i = 0; i < 3; i++) sender!.publish('x'.repeat(500_000))
      await until(
        'by bytes too',
        () => receiver!.data.filter((text) => String(text).length > 9_999).length === 2,
      )
      t.equal(sender!.bus.counts.dropped - hellos, 1_001 - (receiver!.parcels.length - 3))
    },
  )

  t.test(`${name}: a letter over the limit stays here, and is counted`, async (t) => {
    const [sender, receiver] = await meeting(t, 2, { maxLetterBytes: 10_000 })
    sender!.publish('€'.repeat(3_400))
    sender!.publish('small')
    await until('the small one', () => receiver!.data.includes('small'))
    t.same(receiver!.data, ['small'])
    t.equal(sender!.bus.counts.dropped, 1)
    t.equal(receiver!.gaps.length, 1)
  })

  t.test(`${name}: rubbish is counted, does nothing else, and pollutes nothing`, async (t) => {
    const [one, two] = await meeting(t, 2)
    const rubbish = rubbishOf(one!.bus.node)
    const before = one!.comings.length
    await place.say(rubbish)
    one!.publish('still there')
    await two!.heard(1)
    const { counts } = two!.bus
    await until('all is counted', () => counts.malformed >= rubbish.length - 1)
    t.same(two!.data, ['still there'])
    t.same(two!.memos, [])
    t.equal(one!.comings.length, before)
    t.equal(({} as Record<string, unknown>)['polluted'], undefined)
  })

  t.test(`${name}: made-up nodes are not taken without end`, async (t) => {
    const [one] = await meeting(t, 1, { maxPeers: 10, peerMs: 60_000 })
    const names = Array.from({ length: 30 }, (_, i) => `madeupnode${String(i).padStart(2, '0')}`)
    await place.say(names.map((node) => `1 ${node} 1\n!`))
    await until('the others are refused', () => one!.bus.counts.malformed >= 20)
    t.equal(one!.bus.peers.size, 10)
  })

  t.test(`${name}: a forged number silences nobody`, async (t) => {
    const [one, two] = await meeting(t, 2)
    await place.say([`1 ${one!.bus.node} 999999999999999\n!`])
    await until('it is seen as a gap', () => two!.gaps.length === 1)
    one!.publish('unheard?')
    await two!.heard(1)
    t.same(two!.data, ['unheard?'])
  })

  t.test(`${name}: a flood of gaps is counted, and told of now and then`, async (t) => {
    const [one, two] = await meeting(t, 2, { gapMs: 300 })
    const jumps = Array.from({ length: 200 }, (_, i) => `1 ${one!.bus.node} ${1_000 + 2 * i}\n!`)
    await place.say(jumps.slice(0, 100))
    await place.say(jumps.slice(100))
    await until('all are counted', () => two!.bus.counts.gaps >= 200)
    t.ok(two!.gaps.length <= 2, `${two!.gaps.length} calls`)
    await until('the rest is told', () => two!.gapTimes === two!.bus.counts.gaps)
    t.ok(two!.gaps.length <= 3)
    const { length } = two!.gaps
    await place.say([`1 ${one!.bus.node} 999999\n!`])
    await until('and the next one', () => two!.gaps.length > length)
  })

  t.test(`${name}: the server is killed and comes back: all go on, and know of the gap`, async (t) => {
    const nodes = await meeting(t, 2)
    await place.server.kill()
    await until('both are down', () => nodes.every(({ bus }) => !bus.ready))
    for (const { bus } of nodes) t.type(bus.reason, 'string')
    nodes[0]!.publish('alone')
    t.same(nodes[0]!.data, ['alone'], 'its own node needs no server')
    await place.server.restart()
    await until('both are up', () => nodes.every(({ bus }) => bus.ready))
    for (const { gaps } of nodes) await until('the gap', () => gaps.length > 0)
    await acquainted(nodes)
    nodes[0]!.publish('one')
    nodes[1]!.publish('two')
    await until('both', () => nodes.every(({ data }) => data.includes('one') && data.includes('two')))
  })

  t.test(`${name}: what waited too long for the server is not said any more`, async (t) => {
    const nodes = await meeting(t, 2, { staleMs: 50, peerMs: 60_000 })
    await place.server.kill()
    await until('both are down', () => nodes.every(({ bus }) => !bus.ready))
    nodes[0]!.bus.send({ kind: 'memo', topic: 'cluster', body: 'an order of long ago' })
    const said = performance.now()
    await until('it is old', () => performance.now() - said > 60)
    await place.server.restart()
    await until('both are up', () => nodes.every(({ bus }) => bus.ready))
    await until('a new one', () => {
      nodes[0]!.bus.send({ kind: 'memo', topic: 'cluster', body: 'new' })
      return nodes[1]!.memos.length > 0
    })
    t.notOk(nodes[1]!.memos.some(({ memo }) => memo.body !== 'new'))
    t.ok(nodes[0]!.bus.counts.dropped > 0)
  })

  t.test(`${name}: one that is started while the server is away comes when it does`, async (t) => {
    await place.server.kill()
    const [one, two] = [await opened(t), await opened(t)]
    t.equal(one.bus.ready, false)
    t.type(one.bus.reason, 'string')
    await place.server.restart()
    await acquainted([one, two])
    t.same([one.gaps, two.gaps], [[], []])
    t.equal(one.bus.reason, null)
  })
}

/** Waits until each knows all others. */
export function acquainted(nodes: readonly Node[]): Promise<unknown> {
  return until('all know one another', () => nodes.every(({ bus }) => bus.peers.size === nodes.length - 1))
}

/** What is no letter, said as by `node`. */
function rubbishOf(node: string): string[] {
  return [
    'rubbish',
    '{"json":true}',
    '1',
    '1 \n',
    `1 ${node}`,
    `1 ${node} 0\n!`,
    `1 ${node} -5\n!`,
    `1 ${node} 1e3\n!`,
    `1 ${node} 99999999999999999999\n!`,
    `2 ${node} 7\n!`,
    `1 NotANodeName 7\n!`,
    `1 ${node} 7 more\n!`,
    ...[
      'q what is this',
      '?!',
      'p',
      'p chat:a',
      'p  {"channel":"chat:a"}',
      'p nochannel {"channel":"nochannel","data":1}',
      'p chat:<script> {"channel":"chat:<script>","data":1}',
      'p chat:a not json',
      'p chat:a [1]',
      'x chat:a {"channel":"chat:a","data":1}',
      'x chat:a a*b {"channel":"chat:a","data":1}',
      'm',
      'm cluster',
      'm cluster {"broken":',
      'm CLUSTER {}',
      'm __proto__ {"polluted":1}',
      't nobody cluster {}',
      '\u0007',
    ].map((line) => `1 ${node} 900\n${line}`),
  ]
}
