import t from 'tap'
import { openLink } from '../../src/broker/connection.ts'
import { createBus } from '../../src/bus/create.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { silent } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { acquainted, busContract, Node, type Place, remoteBusContract, type Tuning } from './contract.ts'

const skip = rabbitSkip()
if (skip !== false) {
  t.plan(0, skip)
} else {
  const rabbit = await startRabbit(t)
  const exchange = `test-${process.pid}`
  const broker = { url: rabbit.url, exchange }

  const place: Place = {
    server: rabbit,
    async open(t, tuning) {
      const proxy = await startProxy(t, rabbit.url)
      const bus = await createBus({
        kind: 'rabbitmq',
        broker: { url: proxy.url(rabbit.url), exchange },
        log: silent(),
        ...tuning,
      })
      return {
        bus,
        cut() {
          proxy.refuse()
          proxy.cut()
        },
        mend: () => proxy.accept(),
      }
    },
    async say(texts) {
      const link = await openLink(broker, { signal: new AbortController().signal, onBlocked() {} })
      const channel = await link.createConfirmChannel()
      for (const text of texts) channel.publish(`${exchange}.bus`, '', Buffer.from(text))
      await channel.waitForConfirms()
      await link.close(1_000)
    },
  }

  busContract(t, 'amqp bus', place.open)
  remoteBusContract(t, 'amqp bus', place)

  t.test('amqp bus: bytes that are no UTF-8 are counted', async (t) => {
    const node = new Node(await place.open(t, {}))
    t.teardown(() => node.bus.stop())
    await node.start()
    const link = await openLink(broker, { signal: new AbortController().signal, onBlocked() {} })
    const channel = await link.createConfirmChannel()
    channel.publish(`${exchange}.bus`, '', Buffer.from([0xff, 0xfe, 0x00]))
    await channel.waitForConfirms()
    await link.close(1_000)
    await until('it is counted', () => node.bus.counts.malformed === 1)
  })

  t.test('amqp bus: a broker that takes nothing makes it not ready; what waited then leaves', async (t) => {
    const tuning: Tuning = { helloMs: 200, peerMs: 60_000 }
    const [one, two] = [new Node(await place.open(t, tuning)), new Node(await place.open(t, tuning))]
    for (const { bus } of [one, two]) t.teardown(() => bus.stop())
    await Promise.all([one.start(), two.start()])
    await acquainted([one, two])
    await rabbit.ctl(['set_vm_memory_high_watermark', '0'])
    try {
      // Told when it publishes, not before.
      await until('it is blocked', () => !one.bus.ready)
      t.match(one.bus.reason, /takes nothing/)
      one.publish('meanwhile')
    } finally {
      await rabbit.ctl(['set_vm_memory_high_watermark', '0.6'])
    }
    await until('it is free', () => one.bus.ready && two.bus.ready)
    await two.heard(1)
  })

  t.test('amqp bus: nothing stays at the broker when the nodes have gone', async (t) => {
    const node = new Node(await place.open(t, {}))
    await node.start()
    t.match(await rabbit.ctl(['list_queues', 'name', 'exclusive']), /amq\.gen/)
    await node.bus.stop()
    await until(
      'its queue is gone',
      async () => !(await rabbit.ctl(['list_queues', 'name'])).includes('amq.gen'),
    )
  })
}
