import type { AmqpLink, ConfirmChannel, ConsumeMessage } from './amqp-connection.ts'
import { declareQueue } from './amqp-topology.ts'

export interface DeadLetterReason {
  readonly code: string
  readonly message: string
  readonly attempts: number
}

/**
 * The exchange and queue of what can't be handled. A message is confirmed there before its original is
 * acknowledged: if the process dies in between it is there twice, and never nowhere.
 */
export class DeadLetters {
  readonly name: string
  #link: AmqpLink | null = null
  #channel: ConfirmChannel | null = null

  /** @param exchange the topic exchange of the living */
  constructor(exchange: string) {
    this.name = `${exchange}.dead`
  }

  /** Declares exchange and queue on a new connection. Losing this channel ends the connection. */
  async open(link: AmqpLink): Promise<void> {
    const channel = await link.createConfirmChannel()
    channel.on('error', (error) => link.fail(`dead letters: ${error.message}`))
    // Where the connection was lost, its own reason comes in this turn, but after its channels' ends.
    channel.on('close', () => queueMicrotask(() => link.fail('dead letters: the channel was closed')))
    // Comes before the confirm: without its queue a letter would be confirmed and gone.
    channel.on('return', () => link.fail(`dead letters: nothing is bound to exchange ${this.name}`))
    await channel.assertExchange(this.name, 'topic', { durable: true })
    await declareQueue(channel, this.name, { 'x-queue-type': 'quorum' })
    await channel.bindQueue(this.name, this.name, '#')
    this.#link = link
    this.#channel = channel
  }

  /**
   * Resolves when the broker has it.
   * @throws when the connection is lost before: then the original comes again
   */
  async send(message: ConsumeMessage, reason: DeadLetterReason): Promise<void> {
    const link = this.#link
    const channel = this.#channel
    if (!link || !channel || link.signal.aborted) throw new Error('the connection was lost')
    try {
      await publish(channel, this.name, message, headersOf(message, reason, true))
    } catch (error) {
      // A table of headers has a size limit in amqplib, and ours came on top.
      if (!(error instanceof RangeError)) throw error
      await publish(channel, this.name, message, headersOf(message, reason, false))
    }
    if (link.signal.aborted) throw new Error('the connection was lost')
  }
}

function publish(
  channel: ConfirmChannel,
  exchange: string,
  { fields, properties, content }: ConsumeMessage,
  headers: Record<string, unknown>,
): Promise<void> {
  // Not `expiration`, it would expire here too; nor `userId`, the broker compares it with ours and closes.
  const { expiration: _expiration, userId: _userId, ...kept } = properties
  const options = { ...kept, headers, persistent: true, mandatory: true }
  return new Promise((resolve, reject) => {
    channel.publish(exchange, fields.routingKey, content, options, (error: unknown) => {
      if (error) reject(error instanceof Error ? error : new Error('the broker refused the dead letter'))
      else resolve()
    })
  })
}

function headersOf(
  { fields, properties }: ConsumeMessage,
  { code, message, attempts }: DeadLetterReason,
  original: boolean,
): Record<string, unknown> {
  const headers: Record<string, unknown> = original ? { ...properties.headers } : {}
  // These two address further queues.
  delete headers['CC']
  delete headers['BCC']
  headers['x-livemessage-reason'] = code
  headers['x-livemessage-message'] = message.slice(0, 1000)
  headers['x-livemessage-exchange'] = fields.exchange
  headers['x-livemessage-routing-key'] = fields.routingKey
  headers['x-livemessage-attempts'] = attempts
  headers['x-livemessage-time'] = Date.now()
  if (properties.userId) headers['x-livemessage-user'] = String(properties.userId)
  return headers
}
