import { AmqpConnection, type AmqpLink, type ConfirmChannel } from '../broker/connection.ts'
import type { SignalExchangeConfig } from '../config/signals-config.ts'
import { withDeadline } from '../deadline.ts'
import { deferred } from '../deferred.ts'
import { messageOf } from '../errors.ts'
import type { Signal } from './signal.ts'
import type { SignalTarget, Verdict, Waiting } from './target.ts'

export interface ExchangeOptions {
  readonly config: SignalExchangeConfig
  readonly url: string
  /** The broker takes signals. */
  onUp(): void
  /** Time for the broker's confirms. @default 10000 */
  readonly confirmMs?: number
}

/** A durable topic exchange: `connect`, `subscribe.chat`, … Persistent messages, confirmed. */
export class SignalExchange implements SignalTarget {
  readonly name: string
  readonly #options: ExchangeOptions
  readonly #connection: AmqpConnection
  #link: AmqpLink | null = null
  #channel: ConfirmChannel | null = null
  /** Why there is none. */
  #trouble = 'not connected yet'
  /** The first attempt to connect has come to something: an outage is none before. */
  readonly #tried = deferred<void>()

  constructor(options: ExchangeOptions) {
    this.name = options.config.name
    this.#options = options
    this.#connection = new AmqpConnection({ url: options.url, connectionName: 'livemessages signals' })
  }

  start(): void {
    this.#connection
      .start({
        onOpen: (link) => this.#open(link),
        onDown: (reason) => this.#down(reason),
        onBlocked: (reason) => (this.#trouble = reason ?? this.#trouble),
      })
      .catch((error: unknown) => this.#down(messageOf(error)))
  }

  async deliver(waiting: readonly Waiting[], signal: AbortSignal): Promise<Verdict> {
    await orEnd(this.#tried.promise, signal)
    const channel = this.#channel
    if (channel === null) return { taken: false, reason: this.#trouble }
    try {
      await withDeadline(this.#options.confirmMs ?? 10_000, [signal], (either) =>
        orEnd(Promise.all(waiting.map((one) => this.#publish(channel, one))), either),
      )
      return { taken: true }
    } catch (error) {
      signal.throwIfAborted()
      // Late confirms would be taken for those of the next attempt.
      this.#link?.fail(messageOf(error))
      return { taken: false, reason: messageOf(error) }
    }
  }

  async stop(): Promise<void> {
    this.#channel = null
    await this.#connection.stop()
  }

  async #open(link: AmqpLink): Promise<void> {
    const channel = await link.createConfirmChannel()
    channel.on('error', (error) => link.fail(messageOf(error)))
    await channel.assertExchange(this.#options.config.exchange, 'topic', { durable: true })
    this.#link = link
    this.#channel = channel
    this.#tried.resolve()
    this.#options.onUp()
  }

  #down(reason: string): void {
    this.#link = null
    this.#channel = null
    this.#trouble = reason
    this.#tried.resolve()
  }

  #publish(channel: ConfirmChannel, { body }: Waiting): Promise<void> {
    const { id, name, subsystem, time } = JSON.parse(body) as Signal
    const options = {
      persistent: true,
      messageId: id,
      type: name,
      timestamp: Math.floor(time / 1000),
      contentType: 'application/json',
      appId: 'livemessages',
    }
    const key = subsystem === undefined ? name : `${name}.${subsystem}`
    return new Promise((resolve, reject) => {
      channel.publish(this.#options.config.exchange, key, Buffer.from(body), options, (error: unknown) => {
        if (error) reject(new Error(messageOf(error), { cause: error }))
        else resolve()
      })
    })
  }
}

/** The result, or the signal's reason as soon as it aborts. */
function orEnd<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
