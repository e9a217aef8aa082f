import { DEFAULT_RETRY } from '../backoff.ts'
import { unavailable } from '../database/failures.ts'
import { orAborted } from '../database/lease.ts'
import { JOURNAL_NOTIFY } from '../database/migrations/0002/names.ts'
import type { Seat } from '../database/notifications.ts'
import { createDatabase, type DatabasePool } from '../database/pool.ts'
import { messageOf } from '../errors.ts'
import { ClientError } from '../protocol/codes.ts'
import type { MaybePromise } from '../sources/source.ts'
import { Ahead } from './ahead.ts'
import type {
  Draft,
  Forget,
  ForgetOutcome,
  Journal,
  JournalHandlers,
  Page,
  Placed,
  Remains,
  Retention,
} from './journal.ts'
import { Appender } from './pg-appender.ts'
import { Follower } from './pg-follower.ts'
import { Forgetter } from './pg-forgetter.ts'
import type { PostgresJournalCounts, PostgresJournalOptions } from './pg-options.ts'
import { Reader } from './pg-reader.ts'
import { Store } from './pg-store.ts'
import { Tail } from './pg-tail.ts'
import { MAX_UNIT_BYTES } from './unit-size.ts'
import { Window } from './window.ts'

/** A journal in PostgreSQL, common to all nodes. */
export class PostgresJournal implements Journal {
  readonly kind = 'postgres'
  readonly #options: PostgresJournalOptions
  readonly #pool: DatabasePool
  readonly #store: Store
  readonly #window: Window
  readonly #tail: Tail
  readonly #appender: Appender
  readonly #reader: Reader
  readonly #follower: Follower
  readonly #ahead: Ahead
  readonly #forgetter: Forgetter
  #retention: ReadonlyMap<string, Retention> = new Map()
  #handlers: JournalHandlers | null = null
  #seat: Seat | null = null
  #ready = false
  #reason: string | null = 'not started'
  #stopped: Promise<void> | null = null

  constructor(options: PostgresJournalOptions) {
    this.#options = options
    const { statementMs = 10_000 } = options
    this.#pool = createDatabase({
      url: options.url,
      applicationName: 'livemessages journal',
      minConnections: 1,
      maxConnections: 3, // one that appends, one that answers, one that catches up
      cleanupTimeoutMs: 60_000,
      connectMs: Math.min(5000, statementMs),
      log: options.log,
    })
    this.#store = new Store(this.#pool, statementMs)
    this.#window = new Window(options)
    this.#tail = new Tail({
      window: this.#window,
      onEntry: (entry) => this.#handlers?.onEntry(entry),
      onForget: (forgotten) => this.#handlers?.onForget?.(forgotten),
      onVoid: (mark) => this.#handlers?.onVoid?.(mark),
      onGap: () => this.#follower.sync(),
      onDoubt: (position) => this.#follower.suspect(position),
      onEpoch: (epoch) => {
        if (epoch !== this.#tail.epoch) this.#follower.suspect()
      },
    })
    this.#follower = new Follower({
      store: this.#store,
      tail: this.#tail,
      checkSchema: () => options.checkSchema?.(this.#pool),
      retention: () => this.#retention,
      now: options.now ?? Date.now,
      windowBytes: options.windowBytes,
      preloadMs: options.preloadMs ?? 3000,
      retry: options.retry ?? DEFAULT_RETRY,
      log: options.log,
      onNotifyData: (withData) => {
        this.#appender.withData = withData
        this.#tail.withData = withData
      },
      onEpoch: () => this.#handlers?.onEpoch(),
      onState: (reason) => this.#state(reason),
    })
    this.#appender = new Appender({
      store: this.#store,
      tail: this.#tail,
      settled: () => this.#follower.settled(),
      suspect: () => this.#follower.suspect(),
      log: options.log,
      idempotencyMs: options.idempotencyMs,
      patienceMs: options.patienceMs ?? 5000,
      queueBytes: options.queueBytes ?? 64 * 1024 * 1024,
      queueDrafts: options.queueDrafts ?? 100_000,
      unitBytes: options.unitBytes ?? MAX_UNIT_BYTES,
      batchBytes: options.batchBytes ?? 1024 * 1024,
      batchDrafts: options.batchDrafts ?? 512,
      retry: options.retry ?? DEFAULT_RETRY,
    })
    this.#reader = new Reader({
      store: this.#store,
      tail: this.#tail,
      settled: () => this.#follower.settled(),
      suspect: () => this.#follower.suspect(),
      log: options.log,
      retention: () => this.#retention,
      now: options.now ?? Date.now,
    })
    this.#forgetter = new Forgetter({
      store: this.#store,
      epoch: () => this.epoch,
      caughtUp: () => this.#caughtUpInTime(),
      log: options.log,
      ...(options.forgetRows === undefined ? {} : { rows: options.forgetRows }),
    })
    this.#ahead = new Ahead({
      catchUp: () => this.caughtUp(),
      head: () => this.head,
      quietMs: options.quietMs,
    })
  }

  get epoch(): string {
    return this.#tail.epoch
  }

  get head(): number {
    return this.#window.head
  }

  get ready(): boolean {
    return this.reason === null
  }

  get reason(): string | null {
    const { patienceMs = 5000 } = this.#options
    if (this.#reason !== null || this.#appender.waitedMs <= patienceMs) return this.#reason
    // The server answers, and a commit does not end: a lock that somebody holds, a standby that is waited for.
    return 'appends are not answered'
  }

  get bytes(): number {
    return this.#window.bytes
  }

  get counts(): PostgresJournalCounts & Readonly<Record<string, number>> {
    return {
      catchUps: this.#follower.catchUps,
      caughtUp: this.#follower.caughtUp,
      jumps: this.#tail.jumps,
      contradictions: this.#tail.contradictions,
      queries: this.#reader.queries,
      batches: this.#appender.batches,
      settled: this.#appender.settled,
      epochs: this.#follower.epochs,
    }
  }

  async start(handlers: JournalHandlers): Promise<void> {
    this.#handlers = handlers
    this.#window.start()
    this.#seat = this.#options.notifications.join([JOURNAL_NOTIFY], {
      onNotify: (_name, payload) => this.#tail.notify(payload),
      onUp: () => this.#follower.up(),
      onDown: (reason) => this.#follower.down(reason),
    })
    await this.#options.notifications.start()
    // Where the connection was there before, it listens to this name too from here on.
    await this.#seat.setNames([JOURNAL_NOTIFY])
    await this.#follower.start()
  }

  append(draft: Draft): Promise<Placed> {
    return this.#appender.append([draft]).then((placed) => placed[0]!)
  }

  appendAll(drafts: readonly Draft[]): Promise<readonly Placed[]> {
    return this.#appender.append(drafts)
  }

  since(channels: readonly string[], position: number, limit: number): MaybePromise<Page> {
    this.#checkEpoch()
    const reached = this.#ahead.reach(position)
    if (reached !== null) return this.#sinceAhead(reached, channels, position, limit)
    const page = this.#window.since(channels, position, limit)
    return page.lost.length === 0 || position > this.head
      ? page
      : this.#reader.read(channels, position, limit)
  }

  left(after: ReadonlyMap<string, number>, limit: number): MaybePromise<Remains> {
    this.#checkEpoch()
    const page = this.#window.left(after, limit)
    const isProof = ([channel, position]: [string, number]): boolean =>
      position > this.head || page.gone.get(channel)! <= position
    return [...after].every(isProof) ? page : this.#reader.left(after, limit)
  }

  last(channels: readonly string[], count: number): MaybePromise<Page> {
    this.#checkEpoch()
    const page = this.#window.last(channels, count)
    return page.lost.length === 0 ? page : this.#reader.read(channels, null, count)
  }

  caughtUp(): Promise<void> {
    this.#follower.sync()
    return this.#follower.settled()
  }

  async forget(what: Forget): Promise<ForgetOutcome> {
    this.#checkEpoch()
    return this.#forgetter.forget(what)
  }

  retain(retention: ReadonlyMap<string, Retention>): void {
    this.#retention = retention
    this.#window.retain(retention)
  }

  stop(): Promise<void> {
    return (this.#stopped ??= this.#stop())
  }

  #checkEpoch(): void {
    if (this.epoch === '') throw new ClientError('unavailable', 'the journal was not reached yet')
  }

  /** The cursor may come from a node that is ahead: what is missing here is fetched before anything is called lost. */
  async #sinceAhead(
    reached: Promise<void>,
    channels: readonly string[],
    position: number,
    limit: number,
  ): Promise<Page> {
    const { epoch } = this
    const patience = AbortSignal.timeout(this.#options.patienceMs ?? 5000)
    try {
      await orAborted(reached, patience)
    } catch (error) {
      throw unavailable(error)
    }
    if (this.epoch !== epoch) return { entries: [], lost: channels, more: false, upTo: this.head }
    const page = this.#window.since(channels, position, limit)
    return page.lost.length === 0 || position > this.head
      ? page
      : this.#reader.read(channels, position, limit)
  }

  /** @throws {ClientError} `unavailable` */
  async #caughtUpInTime(): Promise<void> {
    try {
      await orAborted(this.caughtUp(), AbortSignal.timeout(this.#options.patienceMs ?? 5000))
    } catch (error) {
      throw unavailable(error)
    }
  }

  async #stop(): Promise<void> {
    await this.#appender.stop(this.#options.stopMs ?? 5000)
    this.#window.stop()
    // The connection is not ours: what it does about a name that nobody needs any more is not waited for.
    this.#seat
      ?.leave()
      .catch((error: unknown) => this.#options.log.debug({ reason: messageOf(error) }, 'not left'))
    this.#store.close()
    await this.#follower.stop()
    this.#state('stopped')
    this.#reader.stop()
    await this.#pool.stop()
    this.#handlers = null
  }

  /** Null: it is ready. */
  #state(reason: string | null): void {
    this.#reason = reason
    if (this.#ready === (reason === null)) return
    this.#ready = reason === null
    this.#handlers?.onReady()
  }
}

export function createPostgresJournal(options: PostgresJournalOptions): PostgresJournal {
  return new PostgresJournal(options)
}
