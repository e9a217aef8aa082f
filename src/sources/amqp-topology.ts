import type { AmqpLink, Channel } from '../broker/connection.ts'
import { declareQueue, isNotFound } from '../broker/queue.ts'

export interface QueueSpec {
  readonly subsystem: string
  readonly queue: string
}

/**
 * Far above what reconnects alone bring about: a message is declared dead by us, who know why. RabbitMQ 4 would
 * by itself give up after 20 deliveries, and reconnects are deliveries too.
 */
const DELIVERY_LIMIT = 10_000

/** Declares the exchange, and a subsystem's queue with its bindings; opens the channel to consume from. */
export async function openQueue(
  link: AmqpLink,
  exchange: string,
  spec: QueueSpec,
  watch: (channel: Channel) => void,
): Promise<Channel> {
  const { subsystem, queue } = spec
  // A queue with a name of the user's may be there already, of whatever kind: it is taken as it is.
  const foreign = queue !== `${exchange}.${subsystem}` && (await exists(link, queue))
  const channel = await link.createChannel()
  watch(channel)
  await channel.assertExchange(exchange, 'topic', { durable: true })
  if (!foreign) {
    await declareQueue(channel, queue, {
      'x-queue-type': 'quorum',
      // One consumer at a time gets its messages, whatever the number of nodes: so they keep their order.
      'x-single-active-consumer': true,
      'x-delivery-limit': DELIVERY_LIMIT,
      'x-dead-letter-exchange': `${exchange}.dead`,
    })
  }
  await channel.bindQueue(queue, exchange, subsystem)
  await channel.bindQueue(queue, exchange, `${subsystem}.#`)
  return channel
}

async function exists(link: AmqpLink, queue: string): Promise<boolean> {
  // The answer "no" closes the channel: hence one for the question alone.
  const channel = await link.createChannel()
  channel.on('error', () => {}) // the same error rejects the question
  try {
    await channel.checkQueue(queue)
    await channel.close()
    return true
  } catch (error) {
    if (isNotFound(error)) return false
    throw error
  }
}
