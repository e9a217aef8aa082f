import t from 'tap'
import { createStreamJournal } from '../../src/journal/amqp-stream.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { recordLog } from '../sources/recorder.ts'
import { journalContract } from './contract.ts'
import { dataOf, streamNodes } from './stream-nodes.ts'

// A broker takes seconds to start.
t.setTimeout(240_000)

const skip = rabbitSkip()
if (skip) t.plan(0, skip)
else await suite()

async function suite(): Promise<void> {
  const rabbit = await startRabbit(t)
  const { fresh, make, ready, operator, writer, check } = streamNodes(rabbit)

  journalContract(t, 'rabbitmq', { reachesBeyondWindow: false }, (_t, { windowBytes, idempotencyMs }) => {
    let shift = 0
    const journal = createStreamJournal({
      url: rabbit.url,
      exchange: fresh(),
      windowBytes,
      retry: { minMs: 10, maxMs: 100 },
      log: recordLog().log,
      now: () => Date.now() + shift,
      ...(idempotencyMs === undefined ? {} : { idempotencyMs: () => idempotencyMs }),
    })
    return Promise.resolve({
      journal,
      advance: (ms: number) => {
        shift += ms
      },
    })
  })

  void t.test('several nodes that race at an empty stream agree on one epoch and one order', async (t) => {
    for (let round = 0; round < 5; round++) {
      const exchange = fresh()
      const nodes = Array.from({ length: 4 }, () => make(t, exchange))
      await Promise.all(nodes.map((node) => node.start()))
      await ready(...nodes)
      t.equal(new Set(nodes.map(({ journal }) => journal.epoch)).size, 1)
      const writers = nodes.map((node, index) => writer(node, `w${index}`))
      await new Promise((resolve) => setTimeout(resolve, 50))
      await Promise.all(writers.map((one) => one.stop()))
      await check(t, nodes, writers)
      await Promise.all(nodes.map(async ({ journal }) => journal.stop()))
    }
  })

  void t.test('a node that starts later reads what was there: positions, keys and leases', async (t) => {
    const exchange = fresh()
    const one = make(t, exchange)
    await one.start()
    await ready(one)
    for (let index = 0; index < 50; index++) {
      await one.append({ channel: `chat:${index % 2}`, json: String(index) })
    }
    const keyed = await one.append({ channel: 'chat:0', json: '"k"', key: 'k' })
    await one.append({ channel: 'chat:0', json: '"m"', mark: 'm', lease: 2 })
    const two = make(t, exchange)
    await two.start()
    await ready(two)
    t.equal(two.journal.epoch, one.journal.epoch)
    t.same(two.entries, [], 'what was there is no news')
    t.same(
      await two.journal.since(['chat:0', 'chat:1'], 0, 100),
      await one.journal.since(['chat:0', 'chat:1'], 0, 100),
    )
    t.same(await two.append({ channel: 'chat:0', json: '"k"', key: 'k' }), {
      position: keyed.position,
      duplicate: true,
    })
    await t.rejects(two.append({ channel: 'chat:0', json: '"late"', mark: 'n', lease: 1 }), {
      name: 'LeaseLost',
    })
    await two.journal.caughtUp()
    await t.rejects(two.append({ channel: 'chat:0', json: '"z"', key: 'k' }), {
      code: 'conflict',
    })
  })

  void t.test('what others write into the stream is passed over, the same on every node', async (t) => {
    const exchange = fresh()
    const node = make(t, exchange)
    await node.start()
    await ready(node)
    await node.append({ channel: 'chat:a', json: '1' })
    const channel = await (await operator(t)).createConfirmChannel()
    for (const body of ['no JSON', '[1]', '[1,"p",0,0,0,"9x",null,0]\nchat:a', Buffer.from([0xff])]) {
      channel.publish('', `${exchange}.journal`, Buffer.from(body))
    }
    await channel.waitForConfirms()
    await node.append({ channel: 'chat:a', json: '2' })
    const late = make(t, exchange)
    await late.start()
    await ready(late)
    t.same(await late.journal.last(['chat:a'], 10), await node.journal.last(['chat:a'], 10))
    t.same(node.entries.map(dataOf), [1, 2])
    t.equal(late.journal.epoch, node.journal.epoch)
    for (const { journal } of [node, late]) t.match(journal.counts, { foreign: 4, rebuilds: 1, epochs: 0 })
    t.same([node.journal.counts!['batches'], late.journal.counts!['batches']], [2, 0])
  })

  void t.test('a queue of that name that is no stream is not touched, and the way out is told', async (t) => {
    const exchange = fresh()
    const channel = await (await operator(t)).createChannel()
    await channel.assertQueue(`${exchange}.journal`)
    const node = make(t, exchange)
    await node.start()
    t.match(node.journal.reason, /exists with other arguments.*x-queue-type=stream.*delete it/)
    await channel.deleteQueue(`${exchange}.journal`)
    await ready(node)
  })

  void t.test('a publication of 1 MiB, and a burst of 10,000', async (t) => {
    const exchange = fresh()
    const [one, two] = [make(t, exchange), make(t, exchange)]
    await Promise.all([one.start(), two.start()])
    await ready(one, two)
    const large = JSON.stringify('ü'.repeat(524_288))
    await one.append({ channel: 'chat:a', json: large })
    const began = performance.now()
    const placed = await Promise.all(
      Array.from({ length: 10_000 }, (_, index) => one.append({ channel: 'chat:a', json: `${index}` })),
    )
    t.comment(`10,000 in ${Math.round(performance.now() - began)} ms`)
    await until('the other has all', () => two.journal.head >= placed.at(-1)!.position)
    t.equal(JSON.stringify(dataOf(two.entries[0]!)), large)
    t.strictSame(
      two.entries.slice(1).map(dataOf),
      Array.from({ length: 10_000 }, (_, index) => index),
    )
    const mib = { channel: 'chat:a', json: JSON.stringify('x'.repeat(1024 * 1024)) }
    await t.rejects(async () => one.journal.appendAll(Array.from({ length: 16 }, () => mib)), {
      code: 'too_large',
      message: /at most 16000000 bytes/,
    })
    await t.rejects(
      async () =>
        one.journal.appendAll(Array.from({ length: 1025 }, () => ({ channel: 'chat:a', json: '1' }))),
      { code: 'limit_exceeded' },
    )
  })

  void t.test('cursors that somebody made up put little into the stream', async (t) => {
    const node = make(t, fresh())
    await node.start()
    await ready(node)
    const offset = async (): Promise<number> =>
      Math.floor((await node.append({ channel: 'chat:a', json: '1' })).position / 1024)
    const before = await offset()
    const began = performance.now()
    let calls = 0
    for (; performance.now() - began < 500; calls++) {
      const invented = calls % 2 === 0 ? 9_007_199_254_740_991 - calls : node.journal.head + 1
      const page = await node.journal.since(['chat:a'], invented, 10)
      if (page.lost[0] !== 'chat:a') t.fail('it proves nothing')
    }
    t.ok(calls > 5)
    t.ok((await offset()) - before <= 10, `${calls} calls`)
  })

  void t.test('a stop answers everyone, and leaves nothing behind', async (t) => {
    const exchange = fresh()
    const proxy = await startProxy(t, rabbit.url)
    const node = make(t, exchange, { url: proxy.url(rabbit.url), drainMs: 100 })
    await node.start()
    await ready(node)
    const good = node.append({ channel: 'chat:a', json: '1' })
    await Promise.all([0, 1].map(async () => node.journal.stop()))
    await t.resolves(good, 'what was on its way arrives')
    await t.rejects(node.append({ channel: 'chat:a', json: '2' }), {
      code: 'unavailable',
    })
    await until('the connection is gone', () => proxy.connections === 0)

    const stuck = make(t, exchange, { url: proxy.url(rabbit.url), drainMs: 100 })
    await stuck.start()
    await ready(stuck)
    proxy.blackhole(true)
    const lost = stuck.append({ channel: 'chat:a', json: '3', patience: 'wait' })
    const told = t.rejects(lost, { code: /timeout|unavailable/ })
    const began = Date.now()
    await stuck.journal.stop()
    await told
    t.ok(Date.now() - began < 3_000, 'soon')
    await until('the client is gone', () => proxy.clients === 0)
  })
}
