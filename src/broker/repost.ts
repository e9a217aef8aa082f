import { messageOf } from '../errors.ts'
import { type AmqpConnectionOptions, type ConfirmChannel, openLink } from './connection.ts'
import type { Original } from './dead-message.ts'
import { isNotFound } from './queue.ts'

export interface RepostOptions extends AmqpConnectionOptions {
  /** Time for the broker's confirm. @default 10_000 */
  readonly confirmMs?: number
}

/** Why the broker does not take this message, though it may take others. */
export class Unroutable extends Error {}

export interface Reposter {
  /**
   * Resolves when the broker has the message in a queue. One at a time.
   * @throws {Unroutable}; anything else: the broker can't be reached
   */
  repost(original: Original): Promise<void>
  close(): Promise<void>
}

/**
 * Connects, without reconnects: made for a command.
 * @throws where there is no broker
 */
export async function createReposter(options: RepostOptions): Promise<Reposter> {
  const { confirmMs = 10_000, closeMs = 1_000 } = options
  let blocked: string | null = null
  const link = await openLink(options, {
    signal: new AbortController().signal,
    onBlocked: (reason) => (blocked = reason),
  })
  const known = new Set([''])
  let channel: ConfirmChannel
  let isReturned = false
  try {
    channel = await link.createConfirmChannel()
    channel.on('error', (error) => link.fail(error.message))
    // It comes before the confirm of the same message.
    channel.on('return', () => (isReturned = true))
  } catch (error) {
    await link.close(closeMs)
    throw error
  }

  /** Publishing to an exchange that is not there would end the channel. */
  const check = async (exchange: string): Promise<void> => {
    if (known.has(exchange)) return
    const asking = await link.createChannel()
    asking.on('error', () => {}) // the same error rejects the question
    try {
      await asking.checkExchange(exchange)
      await asking.close()
    } catch (error) {
      if (isNotFound(error)) throw new Unroutable(`the broker has no exchange ${exchange}`)
      throw error
    }
    known.add(exchange)
  }

  return {
    async repost({ exchange, routingKey, content, options: properties }) {
      await check(exchange)
      isReturned = false
      const confirmed = new Promise<void>((resolve, reject) => {
        channel.publish(exchange, routingKey, content, properties, (error: unknown) => {
          if (!error) resolve()
          else
            reject(
              link.signal.aborted ? new Error(messageOf(error)) : new Unroutable('the broker refused it'),
            )
        })
      }).catch((error: unknown) => {
        if (!UNWRITABLE.some((kind) => error instanceof kind)) throw error
        throw new Unroutable(`its headers can't be written: ${messageOf(error)}`, { cause: error })
      })
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_resolve, reject) => {
        const why = (): string => (blocked === null ? 'no confirm' : `it takes no publications (${blocked})`)
        timer = setTimeout(() => reject(new Error(`${why()} within ${confirmMs} ms`)), confirmMs)
      })
      const lost = link.ended.then((reason) => Promise.reject(new Error(reason)))
      try {
        await Promise.race([confirmed, late, lost])
      } finally {
        clearTimeout(timer)
      }
      if (isReturned) {
        const from =
          exchange === ''
            ? `there is no queue ${routingKey}`
            : `no queue takes ${routingKey} from exchange ${exchange}`
        throw new Unroutable(from)
      }
    },
    close: () => link.close(closeMs),
  }
}

/** What amqplib throws at headers. */
const UNWRITABLE = [RangeError, TypeError, SyntaxError]
