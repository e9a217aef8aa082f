import type { AmqpLink } from './connection.ts'
import { declareQueue, isPreconditionFailed } from './queue.ts'

/** The exchange of what can't be handled, and the queue behind it. */
export function deadExchange(exchange: string): string {
  return `${exchange}.dead`
}

/**
 * RabbitMQ 4 would by itself drop a letter after 20 deliveries, and there is no further exchange behind this one: who
 * only looks at letters, or waits for a database, delivers them, too.
 */
const DELIVERY_LIMIT = 100_000

/** Declares exchange, queue and binding. A queue that is there already is taken as it is, whatever its kind. */
export async function declareDeadLetters(link: AmqpLink, exchange: string): Promise<void> {
  const name = deadExchange(exchange)
  // A refusal closes the channel: hence one for the question alone.
  const asking = await link.createChannel()
  asking.on('error', () => {}) // the same error rejects the question
  try {
    await declareQueue(asking, name, { 'x-queue-type': 'quorum', 'x-delivery-limit': DELIVERY_LIMIT })
    await asking.close()
  } catch (error) {
    const { cause } = error instanceof Error ? error : {}
    if (!isPreconditionFailed(cause)) throw error
  }
  const channel = await link.createChannel()
  channel.on('error', (error) => link.fail(`dead letters: ${error.message}`))
  await channel.assertExchange(name, 'topic', { durable: true })
  await channel.bindQueue(name, name, '#')
  await channel.close()
}
