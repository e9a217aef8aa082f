import t from 'tap'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { dataOf, streamNodes } from './stream-nodes.ts'
import type { StreamNode } from './stream-nodes.ts'

// A broker takes seconds to start.
t.setTimeout(300_000)

/** What RabbitMQ 3.10 needs to keep a queue that is new through a kill. */
const SETTLE_MS = 2_000

const skip = rabbitSkip()
if (skip) t.plan(0, skip)
else await suite()

async function suite(): Promise<void> {
  const rabbit = await startRabbit(t)
  const { fresh, make, ready, operator, writer, check } = streamNodes(rabbit)

  void t.test(
    'its connection is cut again and again under load: nothing is lost, nothing comes twice',
    async (t) => {
      const exchange = fresh()
      const proxies = [await startProxy(t, rabbit.url), await startProxy(t, rabbit.url)]
      const nodes = proxies.map((proxy) => make(t, exchange, { url: proxy.url(rabbit.url) }))
      await Promise.all(nodes.map((node) => node.start()))
      await ready(...nodes)
      const writers = nodes.map((node, index) => writer(node, `w${index}`))
      for (let round = 0; round < 12; round++) {
        const before = writers.map(({ accepted }) => accepted.length)
        await until('some more', () => writers.every(({ accepted }, i) => accepted.length > before[i]! + 20))
        proxies[round % 2]!.cut()
        if (round % 3 === 0) proxies[(round + 1) % 2]!.cut()
      }
      await Promise.all(writers.map((one) => one.stop()))
      await check(t, nodes, writers)
      t.same(
        nodes.map(({ epochs }) => epochs),
        [[], []],
      )
    },
  )

  void t.test(
    'a black hole: what was on its way is settled when it ends, and nothing comes twice',
    async (t) => {
      const exchange = fresh()
      const proxy = await startProxy(t, rabbit.url)
      const one = make(t, exchange, { url: proxy.url(rabbit.url), patienceMs: () => 300 })
      const two = make(t, exchange)
      await Promise.all([one.start(), two.start()])
      await ready(one, two)
      const writers = [writer(one, 'w0'), writer(two, 'w1')]
      await until('some', () => writers.every(({ accepted }) => accepted.length > 20))
      proxy.blackhole(true)
      // It still looks alive: this one is sent, and nobody knows whether it arrived.
      const doubtful = one.append({ channel: 'chat:b', json: '"in doubt"' })
      await t.rejects(doubtful, { code: /timeout|unavailable/ })
      await until('away', () => !one.journal.ready)
      t.match(one.journal.reason, /heartbeat|no answer|timeout/i)
      await t.rejects(one.append({ channel: 'chat:b', json: '"refused"' }), {
        code: 'unavailable',
      })
      proxy.cut()
      proxy.blackhole(false)
      await ready(one)
      await Promise.all(writers.map((one) => one.stop()))
      const onlyA = (node: StreamNode): StreamNode => ({
        ...node,
        // When they are looked at: some may still be on their way.
        get entries() {
          return node.entries.filter(({ channel }) => channel === 'chat:a')
        },
      })
      await check(t, [onlyA(one), onlyA(two)], writers)
      t.same(
        two.entries.filter(({ channel }) => channel === 'chat:b').map(dataOf),
        [],
        'whose publisher was told that it is not known, is not sent again',
      )
    },
  )

  void t.test('the broker is killed under load and comes back, twice', async (t) => {
    if (!rabbit.own) {
      t.equal(process.env['CI'] === 'true', false, 'with CI=true the broker must be ours')
      return
    }
    const exchange = fresh()
    const nodes = [make(t, exchange), make(t, exchange)]
    for (const node of nodes) await node.start()
    await ready(...nodes)
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    const { epoch } = nodes[0]!.journal
    const writers = nodes.map((node, index) => writer(node, `w${index}`))
    for (let round = 0; round < 2; round++) {
      const before = writers.map(({ accepted }) => accepted.length)
      await until('some more', () => writers.every(({ accepted }, i) => accepted.length > before[i]! + 100))
      await rabbit.kill()
      await until('away', () => nodes.every(({ journal }) => !journal.ready))
      await rabbit.restart()
      await ready(...nodes)
    }
    await Promise.all(writers.map((one) => one.stop()))
    await check(t, nodes, writers)
    t.same(
      nodes.map(({ journal }) => journal.epoch),
      [epoch, epoch],
      'it is the same stream',
    )
    t.same(
      nodes[0]!.lines.map(({ msg }) => msg),
      [
        'journal is up',
        ...['journal is away, trying on', 'journal is back', 'journal is away, trying on', 'journal is back'],
      ],
    )
  })

  void t.test('the stream is deleted under way: one new epoch for all, and it goes on', async (t) => {
    const exchange = fresh()
    const nodes = [make(t, exchange), make(t, exchange)]
    await Promise.all(nodes.map((node) => node.start()))
    await ready(...nodes)
    for (let index = 0; index < 20; index++) await nodes[0]!.journal.append({ channel: 'chat:a', json: '1' })
    const { epoch } = nodes[0]!.journal
    const channel = await (await operator(t)).createChannel()
    await channel.deleteQueue(`${exchange}.journal`)
    await until('a new epoch', () => nodes.every(({ epochs }) => epochs.length > 0), 30_000)
    await ready(...nodes)
    const [one, two] = nodes.map(({ journal }) => journal)
    t.equal(one!.epoch, two!.epoch)
    t.not(one!.epoch, epoch)
    t.same((await one!.since(['chat:a'], 0, 100)).entries, [], 'what was in it is gone')
    const placed = await one!.append({ channel: 'chat:a', json: '"after"' })
    await until('the other has it', () => two!.head >= placed.position)
    t.equal(dataOf(nodes[1]!.entries.at(-1)!), 'after')
  })

  void t.test(
    'the broker has lost the end of the stream: a new epoch for all, and the rest is kept',
    async (t) => {
      const exchange = fresh()
      const proxy = await startProxy(t, rabbit.url)
      const nodes = [0, 1].map(() => make(t, exchange, { url: proxy.url(rabbit.url) }))
      await Promise.all(nodes.map((node) => node.start()))
      await ready(...nodes)
      for (let index = 0; index < 20; index++)
        await nodes[0]!.journal.append({ channel: 'chat:a', json: '1' })
      const { epoch, head } = nodes[0]!.journal
      proxy.refuse()
      proxy.cut()
      await until('away', () => nodes.every(({ journal }) => !journal.ready))
      // The same stream, but for its last three messages: as after a loss of power.
      const queue = `${exchange}.journal`
      const channel = await (await operator(t)).createConfirmChannel()
      const contents: Buffer[] = []
      await channel.prefetch(100)
      await channel.consume(queue, (message) => message && contents.push(message.content), {
        arguments: { 'x-stream-offset': 'first' },
      })
      await until('all of it', () => contents.length > 20 && contents.at(-1)!.toString().endsWith('\n1'))
      await channel.deleteQueue(queue)
      await channel.assertQueue(queue, {
        arguments: {
          'x-queue-type': 'stream',
          'x-max-length-bytes': 1024 ** 3,
          'x-stream-max-segment-size-bytes': 1024 ** 3 / 8,
        },
      })
      for (const content of contents.slice(0, -3)) channel.publish('', queue, content)
      await channel.waitForConfirms()
      proxy.accept()
      await ready(...nodes)
      await until('one new epoch', () => {
        const [one, two] = nodes.map(({ journal }) => journal.epoch)
        return one === two && one !== epoch && nodes.every(({ epochs }) => epochs.at(-1) === one)
      })
      const third = make(t, exchange)
      await third.start()
      await ready(third)
      t.equal(third.journal.epoch, nodes[0]!.journal.epoch, 'who comes later learns it from the stream')
      const placed = await nodes[0]!.journal.append({ channel: 'chat:a', json: '"after"' })
      await until('all have it', () =>
        [...nodes, third].every(({ journal }) => journal.head >= placed.position),
      )
      t.ok(placed.position > 0 && head > 0)
    },
  )

  void t.test(
    'a broker that is slow to answer: read anew, it is the same stream, and nothing is missed',
    async (t) => {
      const exchange = fresh()
      const proxy = await startProxy(t, rabbit.url)
      const slow = make(t, exchange, { url: proxy.url(rabbit.url), silentMs: 100, connectMs: 10_000 })
      const other = make(t, exchange)
      for (const node of [slow, other]) await node.start()
      await ready(slow, other)
      const { epoch } = slow.journal
      const writers = [writer(slow, 'w0'), writer(other, 'w1')]
      await until('some', () => writers.every(({ accepted }) => accepted.length > 20))
      proxy.delay(150)
      proxy.cut()
      await until('no answer', () => /no answer within 100 ms/.test(slow.journal.reason ?? ''))
      proxy.delay(0)
      await ready(slow)
      await Promise.all(writers.map((one) => one.stop()))
      await check(t, [slow, other], writers)
      t.same([slow.journal.epoch, slow.epochs], [epoch, []])
    },
  )

  void t.test('the broker is away at the start: nothing is known, what may wait waits', async (t) => {
    const exchange = fresh()
    const proxy = await startProxy(t, rabbit.url)
    proxy.refuse()
    const node = make(t, exchange, { url: proxy.url(rabbit.url), patienceMs: () => 50 })
    await node.start()
    t.equal(node.journal.ready, false)
    t.ok(node.journal.reason)
    t.equal(node.journal.epoch, '')
    t.throws(() => node.journal.since(['chat:a'], 0, 1), { code: 'unavailable' })
    const waiting = Promise.all(
      ['1', '2'].map((json) => node.append({ channel: 'chat:a', json, patience: 'wait' })),
    )
    await t.rejects(node.append({ channel: 'chat:a', json: '"no"' }), {
      code: 'unavailable',
    })
    proxy.accept()
    await ready(node)
    await waiting
    t.same(node.entries.map(dataOf), [1, 2])
    t.same(
      node.lines.map(({ msg }) => msg),
      ['journal is away, trying on', 'journal is back'],
    )
  })

  void t.test('a broker without memory takes nothing: that is told, and what may wait waits', async (t) => {
    if (!rabbit.own) {
      t.comment('skipped: the broker is not ours')
      return
    }
    const exchange = fresh()
    const node = make(t, exchange, { patienceMs: () => 200 })
    await node.start()
    await ready(node)
    await rabbit.ctl(['set_vm_memory_high_watermark', 'absolute', '1'])
    const waiting = node.append({ channel: 'chat:a', json: '1', patience: 'wait' })
    await until('blocked', () => !node.journal.ready)
    t.match(node.journal.reason, /takes no publications/)
    await t.rejects(node.append({ channel: 'chat:a', json: '2' }), {
      code: 'unavailable',
    })
    const late = make(t, exchange)
    await late.start()
    t.equal(late.journal.ready, false, 'its start does not wait for that')
    await rabbit.ctl(['set_vm_memory_high_watermark', '0.4'])
    await ready(node, late)
    await waiting
    t.same(node.entries.map(dataOf), [1])
  })
}
