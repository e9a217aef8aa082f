import { connect as connectAmqp, type ConsumeMessage } from 'amqplib'
import t from 'tap'
import type { Signal } from '../../src/signals/signal.ts'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'

void t.test(
  'an exchange is told: persistent, by name and subsystem; all of it after an outage',
  { skip: rabbitSkip() },
  async (t) => {
    const rabbit = await startRabbit(t)
    const daemon = await startDaemon(t, {
      channels: { chat: { access: 'public' } },
      broker: { url: rabbit.url },
      signals: { exchange: { name: 'told' } },
    })
    const taken: ConsumeMessage[] = []
    const listen = async (): Promise<() => Promise<void>> => {
      const connection = await connectAmqp(rabbit.url)
      connection.on('error', () => undefined)
      const channel = await connection.createChannel()
      await channel.assertExchange('told', 'topic', { durable: true })
      await channel.assertQueue('listener', { durable: true })
      await channel.bindQueue('listener', 'told', 'connect')
      await channel.bindQueue('listener', 'told', '*.chat')
      await channel.consume('listener', (message) => {
        if (message === null) return
        // An ack that the broker had not kept when it was killed: the message comes again.
        const known = taken.some(({ properties }) => properties.messageId === message.properties.messageId)
        if (!known) taken.push(message)
        channel.ack(message)
      })
      return () => connection.close()
    }
    const stop = await listen()
    const client = await connect(t, daemon)
    await client.subscribe('chat:a')
    await until('both', () => taken.length === 3)
    t.same(taken.map(({ fields }) => fields.routingKey).toSorted(), [
      'connect',
      'occupied.chat',
      'subscribe.chat',
    ])
    for (const { properties, content } of taken) {
      const signal = JSON.parse(content.toString()) as Signal
      t.match(properties, {
        deliveryMode: 2,
        messageId: signal.id,
        type: signal.name,
        contentType: 'application/json',
      })
    }
    if (!rabbit.own) return
    await stop()
    await rabbit.kill()
    for (let n = 0; n < 20; n++) await client.subscribe(`chat:${n}`)
    await rabbit.restart()
    const stopAgain = await listen()
    t.teardown(stopAgain)
    const subscribed = (): string[] =>
      taken
        .filter(({ fields }) => fields.routingKey === 'subscribe.chat')
        .map(({ content }) => (JSON.parse(content.toString()) as Signal).channel!)
    await until('all', () => new Set(subscribed()).size === 21, 60_000)
    t.same(
      subscribed().slice(1, 21),
      Array.from({ length: 20 }, (_, n) => `chat:${n}`),
    )
  },
)
