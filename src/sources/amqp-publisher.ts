import { LivemessageError, messageOf } from '../errors.ts'
import { restOf, subsystemOf } from '../protocol/names.ts'
import { openLink } from '../broker/connection.ts'
import type { AmqpConnectionOptions } from '../broker/connection.ts'

export interface AmqpPublisherOptions extends AmqpConnectionOptions {
  /** The topic exchange. */
  readonly exchange: string
  /** Time for the broker's confirm. @default 10000 */
  readonly confirmMs?: number
}

export interface AmqpPublisher {
  /**
   * Publishes JSON text to a channel's routing key; resolves when the broker has confirmed it.
   * @throws {LivemessageError} BROKER_UNREACHABLE when it has not, or when no queue takes the message
   */
  publish(channel: string, json: string, options?: { readonly messageId?: string }): Promise<void>
  close(): Promise<void>
}

/**
 * Connects a publisher, without reconnects: made for a command.
 * @throws {LivemessageError} BROKER_UNREACHABLE
 */
export async function createAmqpPublisher(options: AmqpPublisherOptions): Promise<AmqpPublisher> {
  const { exchange, confirmMs = 10_000, closeMs = 1_000 } = options
  const place = new URL(options.url).host
  let blocked: string | null = null
  const link = await openLink(options, {
    signal: new AbortController().signal,
    onBlocked: (reason) => (blocked = reason),
  }).catch((error: unknown) => {
    throw unreachable(`no connection to the broker at ${place}: ${messageOf(error)}`, error)
  })
  let channel
  try {
    channel = await link.createConfirmChannel()
    channel.on('error', (error) => link.fail(error.message))
    await channel.assertExchange(exchange, 'topic', { durable: true })
  } catch (error) {
    await link.close(closeMs)
    throw unreachable(`exchange ${exchange} at ${place}: ${messageOf(error)}`, error)
  }
  const returned = new Set<string>()
  channel.on('return', ({ properties }) => returned.add(String(properties.correlationId)))
  let count = 0

  return {
    publish: async (target, json, { messageId } = {}) => {
      const id = String(++count)
      const key = `${subsystemOf(target)}.${restOf(target)}`
      // A routing key holds 255 bytes; beyond it the header says it.
      const short = key.length <= 255
      const confirmed = new Promise<void>((resolve, reject) => {
        channel.publish(
          exchange,
          short ? key : subsystemOf(target),
          Buffer.from(json),
          {
            ...(short ? {} : { headers: { channel: target } }),
            ...(messageId === undefined ? {} : { messageId }),
            contentType: 'application/json',
            correlationId: id,
            persistent: true,
            mandatory: true,
          },
          (error: unknown) => (error ? reject(new Error(messageOf(error))) : resolve()),
        )
      })
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_resolve, reject) => {
        const why = (): string =>
          blocked === null ? 'it did not confirm' : `it takes no publications: ${blocked}`
        timer = setTimeout(() => reject(new Error(`${why()} within ${confirmMs} ms`)), confirmMs)
      })
      const lost = link.ended.then((reason) => Promise.reject(new Error(reason)))
      try {
        await Promise.race([confirmed, late, lost])
      } catch (error) {
        throw unreachable(`the broker at ${place} did not take the message: ${messageOf(error)}`, error)
      } finally {
        clearTimeout(timer)
      }
      if (returned.delete(id)) {
        throw unreachable(
          `no queue takes ${key} from exchange ${exchange}: is a daemon with subsystem "${subsystemOf(target)}" ` +
            'and this broker running, or has one been?',
        )
      }
    },
    close: () => link.close(closeMs),
  }
}

function unreachable(message: string, cause?: unknown): LivemessageError {
  return new LivemessageError('BROKER_UNREACHABLE', message, cause === undefined ? {} : { cause })
}
