import { randomBytes } from 'node:crypto'
import { AmqpConnection } from '../broker/connection.ts'
import type { AmqpLink, ConfirmChannel } from '../broker/connection.ts'
import { declareQueue } from '../broker/queue.ts'
import { ClientError } from '../protocol/codes.ts'
import type { MaybePromise } from '../sources/source.ts'
import { Ahead } from './ahead.ts'
import { StreamAppender } from './amqp-stream-appender.ts'
import { StreamForgetter } from './amqp-stream-forgetter.ts'
import { Ledger } from './amqp-stream-ledger.ts'
import type { LedgerHandlers } from './amqp-stream-ledger.ts'
import { MAX_ENTRIES } from './amqp-stream-message.ts'
import { Missed } from './amqp-stream-missed.ts'
import { startOf, streamArguments } from './amqp-stream-options.ts'
import type { StreamJournalOptions } from './amqp-stream-options.ts'
import { Reading } from './amqp-stream-reading.ts'
import type { Arrival, Former } from './amqp-stream-reading.ts'
import { StreamState } from './amqp-stream-state.ts'
import type { From } from './amqp-stream-tail.ts'
import type {
  Draft,
  Forget,
  ForgetOutcome,
  Forgotten,
  Journal,
  JournalHandlers,
  Page,
  Placed,
  Remains,
  Retention,
} from './journal.ts'

/** What the journal has done, as plain numbers. */
export interface StreamJournalCounts {
  /** Messages of the stream that were none of ours, and were passed over: as often as they were read. */
  foreign: number
  /** Times the stream was read from its beginning, or from where what is kept begins: at the start, and after a loss. */
  rebuilds: number
  /** Times it was read on where the last connection had ended. */
  resumes: number
  /** Messages with publications that were sent. */
  batches: number
  /** Changes of the epoch that this node saw. */
  epochs: number
}

/**
 * A journal in a stream of RabbitMQ (3.9 or newer): the broker's replicated log is the order, its offsets make the
 * positions, each node reads all of it. An append is answered when the broker has confirmed it and this node has read
 * it. History and recovery reach as far as the window in memory, which is read anew from the stream at each start.
 */
export function createStreamJournal(options: StreamJournalOptions): Journal {
  return new StreamJournal(options)
}

class StreamJournal implements Journal {
  readonly kind = 'rabbitmq'
  readonly #options: StreamJournalOptions
  readonly #queue: string
  readonly #producer = randomBytes(6).toString('hex')
  readonly #state: StreamState
  readonly #now: () => number
  readonly #connection: AmqpConnection
  readonly #ahead: Ahead
  readonly #appender: StreamAppender
  #retention: ReadonlyMap<string, Retention> = new Map()
  #handlers: JournalHandlers | null = null
  /** What clients see; null until all was read for the first time. */
  #ledger: Ledger | null = null
  /** Being read in its place. */
  #next: Ledger | null = null
  #reading: Reading | null = null
  #link: AmqpLink | null = null
  /** All was read on this connection. */
  #arrived = false
  /** It is not the stream that the ledger was read from. */
  #changed = false
  #blocked: string | null = null
  #stopping: Promise<void> | null = null
  readonly #forgetter: StreamForgetter
  readonly #counts = { foreign: 0, rebuilds: 0, resumes: 0, epochs: 0 }

  constructor(options: StreamJournalOptions) {
    this.#options = options
    this.#queue = `${options.exchange}.journal`
    this.#state = new StreamState(options.log.child({ journal: this.kind }), () => this.#handlers?.onReady())
    this.#now = options.now ?? Date.now
    this.#connection = new AmqpConnection({ connectionName: 'livemessages journal', ...options })
    this.#appender = new StreamAppender({
      queue: this.#queue,
      producer: this.#producer,
      patienceMs: options.patienceMs ?? (() => 5_000),
      keyMs: options.idempotencyMs ?? (() => 300_000),
      batchBytes: options.batchBytes ?? 65_536,
      maxInFlight: options.maxInFlight ?? 8,
      maxWaitingBytes: options.maxWaitingBytes ?? 64 * 1024 * 1024,
      now: this.#now,
      onBroken: (reason) => this.#fail(reason),
    })
    this.#forgetter = new StreamForgetter({
      append: (tombstone) => this.#appender.append([tombstone]).then(([placed]) => placed!.position),
      epoch: () => this.epoch,
    })
    this.#ahead = new Ahead({
      catchUp: () => this.caughtUp(),
      head: () => this.head,
      quietMs: options.quietMs,
      farBeyond: 100_000 * MAX_ENTRIES,
    })
  }

  get epoch(): string {
    return this.#ledger?.epoch ?? ''
  }

  get head(): number {
    return this.#ledger?.window.head ?? 0
  }

  get ready(): boolean {
    return this.reason === null
  }

  get reason(): string | null {
    return this.#state.reason
  }

  get bytes(): number {
    return (this.#ledger?.window.bytes ?? 0) + (this.#next?.window.bytes ?? 0)
  }

  get counts(): StreamJournalCounts & Readonly<Record<string, number>> {
    return { ...this.#counts, batches: this.#appender.batches }
  }

  async start(handlers: JournalHandlers): Promise<void> {
    if (this.#handlers || this.#stopping) return
    this.#handlers = handlers
    void this.#connection.start({
      onOpen: (link) => this.#open(link),
      onDown: (reason) => {
        this.#leave(reason)
        this.#blocked = null
        this.#state.tell(reason)
      },
      onBlocked: (reason) => this.#block(reason),
    })
    // Not until that has opened it: a broker that takes nothing holds it up for as long as it likes.
    await this.#state.first
  }

  append(draft: Draft): MaybePromise<Placed> {
    const known = this.#ledger?.find(draft, this.#now())
    return known ?? this.#appender.append([draft]).then(([placed]) => placed!)
  }

  appendAll(drafts: readonly Draft[]): MaybePromise<readonly Placed[]> {
    return drafts.length === 0 ? [] : this.#appender.append(drafts)
  }

  since(channels: readonly string[], position: number, limit: number): MaybePromise<Page> {
    const { window } = this.#current()
    const reached = this.#ahead.reach(position)
    if (reached === null) return window.since(channels, position, limit)
    // What is in no stream at all proves nothing, however long it is waited for.
    return reached.then(() => this.#current().window.since(channels, position, limit))
  }

  left(after: ReadonlyMap<string, number>, limit: number): Remains {
    return this.#current().window.left(after, limit)
  }

  last(channels: readonly string[], count: number): Page {
    return { ...this.#current().window.last(channels, count), lost: [] }
  }

  /** By a message of its own, which comes back after all that was there. */
  async caughtUp(): Promise<void> {
    await this.#appender.append([])
  }

  async forget(what: Forget): Promise<ForgetOutcome> {
    this.#current()
    return this.#forgetter.forget(what)
  }

  retain(retention: ReadonlyMap<string, Retention>): void {
    this.#retention = retention
    this.#ledger?.window.retain(retention)
    this.#next?.window.retain(retention)
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  async #stop(): Promise<void> {
    this.#state.stop()
    await this.#appender.stop(this.#options.drainMs ?? 2_000)
    this.#leave('stopped')
    this.#handlers = null
    await this.#connection.stop()
    this.#ledger?.window.stop()
  }

  #current(): Ledger {
    if (this.#ledger !== null) return this.#ledger
    throw new ClientError('unavailable', `the journal was not read yet: ${this.reason ?? ''}`)
  }

  /** Resolves when all was read. */
  async #open(link: AmqpLink): Promise<void> {
    this.#link = link
    const channel = await link.createConfirmChannel()
    let declared = false
    // Until then the declaration's own error says more.
    const fail = (reason: string): void => (declared ? this.#fail(reason) : undefined)
    channel.on('error', (error) => fail(error.message))
    // Where the connection was lost, its own reason comes in this turn, but after its channels' ends.
    channel.on('close', () => fail('the channel was closed'))
    channel.on('return', () => fail(`stream ${this.#queue} was deleted`))
    await declareQueue(channel, this.#queue, streamArguments(this.#options))
    declared = true
    if (this.#ledger !== null && !this.#changed) {
      if (await this.#resume(link, channel, this.#ledger)) return
      this.#changed = true
    }
    await this.#rebuild(link, channel)
  }

  /** Goes on where the last connection ended: false where that place is not there any more. */
  async #resume(link: AmqpLink, channel: ConfirmChannel, ledger: Ledger): Promise<boolean> {
    const arrival = await this.#read(link, channel, ledger, ledger.last.offset, null, {
      onEntry: (entry) => this.#handlers?.onEntry(entry),
      onForget: (forgotten, count) => this.#tellForgotten(forgotten, count),
      onEpoch: () => this.#tellEpoch(),
    })
    if (arrival !== 'current') return false
    this.#counts.resumes++
    this.#arrived = true
    this.#state.tell(this.#blocked)
    return true
  }

  /** Reads the stream into a new ledger; clients see the old one until that is done. */
  async #rebuild(link: AmqpLink, channel: ConfirmChannel): Promise<void> {
    const old = this.#ledger
    const former = old === null ? null : { epoch: old.epoch, ...old.last }
    for (let from = old === null ? startOf(this.#retention, this.#options) : 'first'; ; from = 'first') {
      const { windowBytes, sweepMs, now } = this.#options
      const next = new Ledger({
        windowBytes,
        ...(sweepMs === undefined ? {} : { sweepMs }),
        ...(now ? { now } : {}),
      })
      next.window.retain(this.#retention)
      this.#next = next
      const missed = new Missed()
      const arrival = await this.#read(link, channel, next, from, former, {
        onEntry: (entry) => {
          if (this.#ledger === next) this.#handlers?.onEntry(entry)
          else if (old !== null && entry.position > old.window.head) missed.add(entry)
        },
        onForget: (forgotten, count) => {
          if (this.#ledger === next) this.#tellForgotten(forgotten, count)
          else if (old !== null && forgotten.upTo >= old.window.head) missed.forget(forgotten)
        },
        onEpoch: () => (this.#ledger === next ? this.#tellEpoch() : undefined),
      })
      if (arrival === 'shallow') continue
      if (arrival !== 'current') {
        link.fail(`stream ${this.#queue}: no answer within ${this.#options.silentMs ?? 3_000} ms`)
        return
      }
      this.#take(next, missed)
      return
    }
  }

  /** From now on clients see this ledger. */
  #take(next: Ledger, missed: Missed): void {
    const old = this.#ledger
    this.#ledger = next
    this.#next = null
    this.#changed = false
    this.#counts.rebuilds++
    this.#arrived = true
    old?.window.stop()
    next.window.start()
    if (old !== null && old.epoch !== next.epoch) this.#tellEpoch()
    // It was the same stream after all: they come late, and in their order.
    else missed.tell(this.#handlers)
    this.#state.tell(this.#blocked)
  }

  #read(
    link: AmqpLink,
    channel: ConfirmChannel,
    ledger: Ledger,
    from: From,
    former: Former | null,
    handlers: LedgerHandlers,
  ): Promise<Arrival> {
    const { readAhead = 200, silentMs = 3_000 } = this.#options
    this.#reading?.close()
    this.#reading = new Reading({
      ...{ link, channel, queue: this.#queue, from, readAhead, silentMs, producer: this.#producer },
      ...{ appender: this.#appender, ledger, former, handlers, now: this.#now },
      resume: ledger === this.#ledger,
      isBlocked: () => this.#blocked !== null,
      onForeign: () => this.#counts.foreign++,
      onEnd: (reason) => this.#fail(reason),
    })
    return this.#reading.arrive()
  }

  #tellForgotten(forgotten: Forgotten, count: number): void {
    this.#forgetter.told(forgotten, count)
    this.#handlers?.onForget?.(forgotten)
  }

  #tellEpoch(): void {
    this.#counts.epochs++
    this.#handlers?.onEpoch()
  }

  #fail(reason: string): void {
    const link = this.#link
    queueMicrotask(() => link?.fail(reason))
  }

  /** Nothing is read or appended until the next connection. */
  #leave(reason: string): void {
    this.#link = null
    this.#reading?.close()
    this.#reading = null
    this.#next = null
    this.#arrived = false
    this.#appender.close(reason)
    this.#appender.block(null)
  }

  #block(reason: string | null): void {
    this.#blocked = reason === null ? null : `the broker takes no publications: ${reason}`
    this.#appender.block(this.#blocked)
    if (this.#blocked !== null || this.#arrived) this.#state.tell(this.#blocked)
  }
}
