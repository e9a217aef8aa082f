import type { AmqpLink, Channel } from './amqp-connection.ts'

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

/** @throws with the way out, where the queue exists with other arguments */
export async function declareQueue(
  channel: Channel,
  queue: string,
  args: Readonly<Record<string, unknown>>,
): Promise<void> {
  try {
    await channel.assertQueue(queue, { durable: true, arguments: args })
  } catch (error) {
    if (!(error instanceof Error) || !hasCode(error, PRECONDITION_FAILED)) throw error
    const wanted = Object.entries(args).map(([name, value]) => `${name}=${String(value)}`)
    throw new Error(
      `queue ${queue} exists with other arguments than ours (durable, ${wanted.join(', ')}): ` +
        `empty and delete it, or name another one; the broker says: ${error.message}`,
      { cause: error },
    )
  }
}

const NOT_FOUND = 404
const PRECONDITION_FAILED = 406

async function exists(link: AmqpLink, queue: string): Promise<boolean> {
  // The answer "no" closes the channel: hence one for the question alone.
  const channel = await link.createChannel()
  channel.on('error', () => {}) // the same error rejects the question
  try {
    await channel.checkQueue(queue)
    await channel.close()
    return true
  } catch (error) {
    if (hasCode(error, NOT_FOUND)) return false
    throw error
  }
}

function hasCode(error: unknown, code: number): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
