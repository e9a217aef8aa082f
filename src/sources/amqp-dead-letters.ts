import { randomUUID } from 'node:crypto'
import type { AmqpLink, ConfirmChannel, ConsumeMessage } from '../broker/connection.ts'
import { deadExchange, declareDeadLetters } from '../broker/dead-exchange.ts'
import { DEAD_HEADERS } from '../broker/dead-headers.ts'

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
  readonly #exchange: string
  #link: AmqpLink | null = null
  #channel: ConfirmChannel | null = null

  /** @param exchange the topic exchange of the living */
  constructor(exchange: string) {
    this.#exchange = exchange
    this.name = deadExchange(exchange)
  }

  /** Declares exchange and queue on a new connection. Losing this channel ends the connection. */
  async open(link: AmqpLink): Promise<void> {
    const channel = await link.createConfirmChannel()
    channel.on('error', (error) => link.fail(`dead letters: ${error.message}`))
    // Where the connection was lost, its own reason comes in this turn, but after its channels' ends.
    channel.on('close', () => queueMicrotask(() => link.fail('dead letters: the channel was closed')))
    // Comes before the confirm: without its queue a letter would be confirmed and gone.
    channel.on('return', () => link.fail(`dead letters: nothing is bound to exchange ${this.name}`))
    await declareDeadLetters(link, this.#exchange)
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
      // A table of headers has a size limit in amqplib, and ours came on top; and it reads tables that it can't write.
      if (!UNWRITABLE.some((kind) => error instanceof kind)) throw error
      await publish(channel, this.name, message, headersOf(message, reason, false))
    }
    if (link.signal.aborted) throw new Error('the connection was lost')
  }
}

/** What amqplib throws at headers. */
const UNWRITABLE = [RangeError, TypeError, SyntaxError]

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
  headers[DEAD_HEADERS.id] = randomUUID()
  headers[DEAD_HEADERS.reason] = code
  headers[DEAD_HEADERS.message] = message.slice(0, 1000)
  headers[DEAD_HEADERS.exchange] = fields.exchange
  headers[DEAD_HEADERS.routingKey] = fields.routingKey
  headers[DEAD_HEADERS.attempts] = attempts
  headers[DEAD_HEADERS.time] = Date.now()
  if (properties.userId) headers[DEAD_HEADERS.user] = String(properties.userId)
  return headers
}
