import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { AmqpConnection } from '../broker/connection.ts'
import type { AmqpConnectionOptions, AmqpLink } from '../broker/connection.ts'
import { QueueConsumer } from './amqp-consumer.ts'
import { DeadLetters } from './amqp-dead-letters.ts'
import type { QueueSpec } from './amqp-topology.ts'
import { DEFAULT_RETRY } from '../backoff.ts'
import type { Source, SourceHandlers, SourceState } from './source.ts'
import { SourceStatus } from './status.ts'

export type { QueueSpec } from './amqp-topology.ts'

export interface AmqpSourceOptions extends AmqpConnectionOptions {
  /** The topic exchange; `<exchange>.dead` takes what can't be handled. */
  readonly exchange: string
  readonly queues: readonly QueueSpec[]
  /**
   * Unacknowledged deliveries a queue may have here, and so on their way into the journal at once. RabbitMQ has no
   * such limit by bytes: at the worst that many messages as large as the broker takes them are in memory. @default 200
   */
  readonly prefetch?: number
  /** The largest body that is looked at; a larger one is a dead letter, `too_large`. @default 2 MiB */
  readonly maxBodyBytes?: () => number
  /** Bodies on their way into the journal, a queue; the next ones wait for room. @default 16777216 */
  readonly maxInHandBytes?: number
  /** Attempts at one message before it is dead-lettered. @default 5 */
  readonly maxAttempts?: number
  /**
   * Deliveries of one message to processes that ended with it in hand, before it is dead-lettered unhandled: a guard
   * against a message that ends the process each time. Orderly restarts in an outage count too, the broker does not
   * tell them apart: hence far above `maxAttempts`. @default 100
   */
  readonly maxDeliveries?: number
  /** How long one message may hold up its queue before that is called down. @default 5000 */
  readonly stallMs?: number
  readonly log: Log
  /** How long a stop waits for the messages in hand. @default 5000 */
  readonly drainMs?: number
  /** How long the broker may take to begin to deliver from a queue, before that is called down. @default 5000 */
  readonly openMs?: number
}

export interface AmqpSource extends Source {
  /** Other subsystems: consumers come and go on the open connection. */
  setQueues(queues: readonly QueueSpec[]): Promise<void>
}

/**
 * Consumes each subsystem's queue. Delivery semantics: at least once, in the queue's order: the next message is handed
 * over when the place of the one before it is settled; acknowledged in that order, after each is kept. The queues keep
 * what comes while this is away: `onGap` fires only when a queue was deleted. What was in hand when a connection or
 * the process ended comes again: the journal drops it where it has a `message-id`.
 */
export function createAmqpSource(options: AmqpSourceOptions): AmqpSource {
  return new QueueSource(options)
}

class QueueSource implements AmqpSource {
  readonly name = 'amqp'
  readonly #options: AmqpSourceOptions
  readonly #connection: AmqpConnection
  readonly #deadLetters: DeadLetters
  readonly #status: SourceStatus
  readonly #log: Log
  /** By queue. */
  readonly #consumers = new Map<string, QueueConsumer>()
  /** Why a queue is not consumed, by queue. */
  readonly #troubles = new Map<string, string>()
  /** Why a queue's message holds up those behind it, by queue. */
  readonly #stalls = new Map<string, string>()
  /** Queues whose consumer has not yet said anything on this connection. */
  readonly #opening = new Set<string>()
  #queues: readonly QueueSpec[]
  #link: AmqpLink | null = null
  #blocked: string | null = null
  #handlers: SourceHandlers | null = null
  #stopping: Promise<void> | null = null

  constructor(options: AmqpSourceOptions) {
    this.#options = options
    this.#queues = options.queues
    this.#log = options.log.child({ source: this.name })
    this.#status = new SourceStatus(this.#log)
    this.#deadLetters = new DeadLetters(options.exchange)
    this.#connection = new AmqpConnection({ connectionName: 'livemessages source', ...options })
  }

  get state(): SourceState {
    return this.#status.state
  }

  get reason(): string | null {
    return this.#status.reason
  }

  async start(handlers: SourceHandlers): Promise<void> {
    if (this.#handlers || this.#stopping) return
    this.#handlers = handlers
    this.#status.tell(handlers)
    await this.#connection.start({
      onOpen: (link) => this.#open(link),
      onDown: (reason) => {
        this.#link = null
        this.#blocked = null
        this.#status.down(reason)
      },
      onBlocked: (reason) => {
        this.#blocked = reason === null ? null : `the broker takes no publications: ${reason}`
        this.#tell()
      },
    })
  }

  async setQueues(queues: readonly QueueSpec[]): Promise<void> {
    this.#queues = queues
    await this.#sync()
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  async #stop(): Promise<void> {
    // The connection goes last: acknowledgements of what is in hand want it.
    await Promise.all([...this.#consumers.values()].map((consumer) => this.#end(consumer)))
    await this.#connection.stop()
    this.#status.stopped()
  }

  async #open(link: AmqpLink): Promise<void> {
    await this.#deadLetters.open(link)
    if (this.#stopping) return
    this.#link = link
    this.#troubles.clear()
    this.#opening.clear()
    const consumers = [...this.#consumers.values()]
    for (const { spec } of consumers) this.#opening.add(spec.queue)
    await Promise.all([this.#sync(), ...consumers.map((consumer) => consumer.attach(link))])
    this.#tell()
  }

  /** Ends the consumers of queues that are gone or changed, begins those that are new. */
  async #sync(): Promise<void> {
    const wanted = new Map(this.#queues.map((spec) => [spec.queue, spec]))
    const ending = [...this.#consumers.values()].filter(({ spec }) => !same(spec, wanted.get(spec.queue)))
    for (const { spec } of ending) this.#consumers.delete(spec.queue)
    await Promise.all(ending.map((consumer) => this.#end(consumer)))
    const link = this.#link
    const beginning: Promise<void>[] = []
    for (const spec of this.#queues) {
      if (this.#stopping || this.#consumers.has(spec.queue) || !this.#handlers) continue
      const consumer = this.#create(spec, this.#handlers)
      this.#consumers.set(spec.queue, consumer)
      if (!link) continue
      this.#opening.add(spec.queue)
      beginning.push(consumer.attach(link))
    }
    await Promise.all(beginning)
    this.#tell()
  }

  #create(spec: QueueSpec, handlers: SourceHandlers): QueueConsumer {
    const {
      exchange,
      prefetch = 200,
      maxBodyBytes = () => 2 * 1024 * 1024,
      maxInHandBytes = 16 * 1024 * 1024,
      maxAttempts = 5,
      maxDeliveries = 100,
      stallMs = 5_000,
      retry = DEFAULT_RETRY,
      drainMs = 5_000,
      closeMs = 1_000,
      openMs = 5_000,
    } = this.#options
    return new QueueConsumer(spec, {
      exchange,
      prefetch,
      maxBodyBytes,
      maxInHandBytes,
      maxAttempts,
      maxDeliveries,
      stallMs,
      retry,
      drainMs,
      closeMs,
      openMs,
      handlers,
      log: this.#log,
      deadLetters: this.#deadLetters,
      onState: (reason) => {
        this.#opening.delete(spec.queue)
        if (reason === null) this.#troubles.delete(spec.queue)
        else this.#troubles.set(spec.queue, reason)
        this.#tell()
      },
      onStall: (reason) => {
        if (reason === null) this.#stalls.delete(spec.queue)
        else this.#stalls.set(spec.queue, `queue ${spec.queue} is held up by its first message: ${reason}`)
        this.#tell()
      },
    })
  }

  async #end(consumer: QueueConsumer): Promise<void> {
    try {
      await consumer.stop()
    } catch (error) {
      this.#log.error({ queue: consumer.spec.queue, reason: messageOf(error) }, 'consumer did not end well')
    }
    this.#troubles.delete(consumer.spec.queue)
    this.#stalls.delete(consumer.spec.queue)
    this.#opening.delete(consumer.spec.queue)
  }

  /** Up when everything that is wanted is consumed, and gets on. */
  #tell(): void {
    if (!this.#link || this.#stopping) return
    const reason = this.#blocked ?? [...this.#troubles.values(), ...this.#stalls.values()][0]
    if (reason !== undefined) this.#status.down(reason)
    else if (this.#opening.size === 0) this.#status.up()
  }
}

function same(one: QueueSpec, other: QueueSpec | undefined): boolean {
  return one.subsystem === other?.subsystem
}
