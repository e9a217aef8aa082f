import { AmqpConnection } from '../broker/connection.ts'
import type { AmqpConnectionOptions, AmqpLink, Channel, ConsumeMessage } from '../broker/connection.ts'
import { deadExchange, declareDeadLetters } from '../broker/dead-exchange.ts'
import { decodeLetter } from '../broker/dead-message.ts'
import type { DeadLetters } from '../database/dead-letters.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'

export interface DeadCollectorOptions extends AmqpConnectionOptions {
  /** The topic exchange of the living. */
  readonly exchange: string
  readonly letters: Pick<DeadLetters, 'keep'>
  readonly log: Log
  /** Letters that are here and not yet in the table. @default 50 */
  readonly prefetch?: number
  /** Bodies that go into the table at once; a larger one goes alone. @default 4 MiB */
  readonly batchBytes?: number
}

/**
 * Moves letters from the broker's queue into the table, in their order; each is acknowledged when it is committed.
 * Whatever dies in between, it comes again, and its id makes it the same letter. May run on every node: the broker
 * shares the letters out among them.
 */
export class DeadCollector {
  readonly #options: DeadCollectorOptions
  readonly #log: Log
  readonly #queue: string
  readonly #connection: AmqpConnection
  readonly #stopped = new AbortController()
  #session: Session | null = null
  /** Why it does not collect; null while it does. */
  #trouble: string | null = null
  #stopping: Promise<void> | null = null

  constructor(options: DeadCollectorOptions) {
    this.#options = options
    this.#queue = deadExchange(options.exchange)
    this.#log = options.log.child({ queue: this.#queue })
    this.#connection = new AmqpConnection({ connectionName: 'livemessages dead letters', ...options })
  }

  /** Resolves after the first attempt to connect, whatever came of it. */
  start(): Promise<void> {
    return this.#connection.start({
      onOpen: (link) => this.#open(link),
      onDown: (reason) => this.#failed(reason),
      onBlocked: () => undefined, // it only takes
    })
  }

  /** Idempotent. What is not committed by then comes again. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  async #stop(): Promise<void> {
    this.#stopped.abort()
    await this.#session?.idle()
    await this.#connection.stop()
  }

  async #open(link: AmqpLink): Promise<void> {
    await declareDeadLetters(link, this.#options.exchange)
    const channel = await link.createChannel()
    channel.on('error', (error) => link.fail(error.message))
    channel.on('close', () => queueMicrotask(() => link.fail('the channel was closed')))
    await channel.prefetch(this.#options.prefetch ?? 50)
    if (this.#stopped.signal.aborted) return
    const session = new Session(channel, {
      ...this.#options,
      signal: AbortSignal.any([link.signal, this.#stopped.signal]),
      onError: (reason) => link.fail(reason),
    })
    this.#session = session
    await channel.consume(this.#queue, (message) => {
      if (message === null) link.fail('the queue was deleted')
      else session.take(message)
    })
    this.#answered()
  }

  /** Once per outage. */
  #failed(reason: string): void {
    if (this.#trouble === null && !this.#stopped.signal.aborted) {
      this.#log.warn({ reason }, 'dead letters are not collected, trying on')
    }
    this.#trouble = reason
  }

  #answered(): void {
    if (this.#trouble !== null) this.#log.info('dead letters are collected again')
    this.#trouble = null
  }
}

interface SessionOptions extends Pick<DeadCollectorOptions, 'letters' | 'batchBytes'> {
  readonly signal: AbortSignal
  readonly onError: (reason: string) => void
}

/** One stay on a channel: letters go into the table batch by batch, what has come meanwhile is the next one. */
class Session {
  readonly #channel: Channel
  readonly #options: SessionOptions
  readonly #waiting: ConsumeMessage[] = []
  #running: Promise<void> | null = null

  constructor(channel: Channel, options: SessionOptions) {
    this.#channel = channel
    this.#options = options
  }

  take(message: ConsumeMessage): void {
    this.#waiting.push(message)
    this.#running ??= this.#run()
  }

  async idle(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    const { letters, signal, onError } = this.#options
    try {
      while (this.#waiting.length > 0) {
        const batch = this.#batch()
        await letters.keep(batch.map(decodeLetter), signal)
        const last = batch.at(-1)
        if (last && !signal.aborted) this.#channel.ack(last, true)
      }
    } catch (error) {
      // Nothing that waiting would mend: begin anew, after the pause of a reconnect.
      if (!signal.aborted) onError(messageOf(error))
    }
    this.#running = null
  }

  #batch(): ConsumeMessage[] {
    const { batchBytes = 4 * 1024 * 1024 } = this.#options
    let count = 0
    for (let bytes = 0; count < this.#waiting.length; count++) {
      bytes += this.#waiting[count]?.content.length ?? 0
      if (count > 0 && bytes > batchBytes) break
    }
    return this.#waiting.splice(0, count)
  }
}
