import { randomUUID } from 'node:crypto'
import { backoffMs, DEFAULT_RETRY, pause, type Retry } from '../backoff.ts'
import type { DeadLetter } from '../dead-letter.ts'
import { withAny, withDeadline } from '../deadline.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { Database } from '../registry/define.ts'
import { type Faith, insertLetters } from './dead-rows.ts'
import { LetterBurst } from './letter-burst.ts'
import type { DatabasePool } from './pool.ts'
import { codeOf } from './process.ts'
import { lacksSchema } from './refusals.ts'

/** How much the table may hold; what is beyond it goes, oldest first. */
export interface DeadLimits {
  /** @default 30 days */
  readonly maxAgeMs: number
  /** @default 100_000 */
  readonly maxLetters: number
  /** Of bodies. @default 1 GiB */
  readonly maxBytes: number
}

export interface DeadLettersOptions {
  readonly pool: Pick<DatabasePool, 'withSignal'>
  readonly log: Log
  readonly limits?: Partial<DeadLimits>
  /** Whether this node is the one that sweeps; where several do it is no harm. @default always */
  readonly leads?: () => boolean
  /** @default 600_000 */
  readonly sweepMs?: number
  /** What may wait for the database; what comes beyond it is dropped, counted and logged. @default 10_000, 32 MiB */
  readonly maxWaiting?: number
  readonly maxWaitingBytes?: number
  /** What goes into one statement. @default 200 letters, 1 MiB */
  readonly batchLetters?: number
  readonly batchBytes?: number
  /** Deadline of a statement. @default 30_000 */
  readonly insertMs?: number
  /** A burst of letters is over when none has come for so long. @default 60_000 */
  readonly quietMs?: number
  /** How long a stop waits for what is not yet in the table. @default 2000 */
  readonly stopMs?: number
  readonly retry?: Retry
}

/**
 * Dead letters on their way into the table `livemessage.dead`. `put` is for a source that must not wait: the letter is
 * in memory until it is in the table. `keep` is for what is acknowledged afterwards.
 */
export class DeadLetters {
  readonly #options: DeadLettersOptions
  readonly #log: Log
  readonly #limits: DeadLimits
  readonly #burst: LetterBurst
  readonly #stopped = new AbortController()
  readonly #cut = new AbortController()
  readonly #waiting: DeadLetter[] = []
  readonly #bySource = new Map<string, number>()
  #waitingBytes = 0
  #writing: Promise<void> | null = null
  #dropped = 0
  /** Dropped since there was no room; null while there is. */
  #dropping: number | null = null
  /** Why nothing can be inserted; null while it can. */
  #trouble: string | null = null
  #kept = 0
  #countedAt = -Infinity
  #timer: NodeJS.Timeout | undefined
  #stopping: Promise<void> | null = null

  constructor(options: DeadLettersOptions) {
    this.#options = options
    this.#log = options.log
    this.#burst = new LetterBurst(options.log, options.quietMs ?? 60_000)
    this.#limits = { maxAgeMs: 30 * 86_400_000, maxLetters: 100_000, maxBytes: 2 ** 30, ...options.limits }
  }

  /** Letters that this node has put into the table, by source. */
  get total(): ReadonlyMap<string, number> {
    return this.#bySource
  }

  /** Letters that are lost: there was no room for them while the database was away. */
  get dropped(): number {
    return this.#dropped
  }

  /** Letters in the table, as it was the last time that somebody asked, or a moment later. */
  get kept(): number {
    if (performance.now() - this.#countedAt > COUNT_MS) void this.#count()
    return this.#kept
  }

  /** Begins to sweep the table. */
  start(): void {
    const { sweepMs = 600_000 } = this.#options
    if (this.#timer !== undefined || this.#stopped.signal.aborted) return
    void this.#count()
    this.#timer = setInterval(() => void this.#sweepIfLeading(), sweepMs).unref()
  }

  /** Never blocks and never throws. */
  put(letter: DeadLetter): void {
    const { maxWaiting = 10_000, maxWaitingBytes = 32 * 1024 * 1024 } = this.#options
    const bytes = bytesOf(letter)
    const isFull = this.#waiting.length >= maxWaiting || this.#waitingBytes + bytes > maxWaitingBytes
    if (isFull || this.#stopped.signal.aborted) {
      this.#drop(letter)
      return
    }
    this.#waiting.push({ ...keyed(letter), time: letter.time ?? Date.now() })
    this.#waitingBytes += bytes
    this.#writing ??= this.#write()
  }

  /**
   * Resolves when these are in the table, however long the database is away. Where it is called in turn, the table has
   * that order.
   * @throws when the signal is aborted before, or this is stopped
   */
  async keep(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void> {
    const all = letters.map(keyed)
    await withAny([signal, this.#cut.signal], (either) => this.#keep(all, either))
    this.#answered()
    this.#countedAt = Math.min(this.#countedAt, performance.now() - COUNT_MS + 1_000)
    for (const letter of letters) this.#note(letter)
  }

  /** Deletes what is too old or too much, oldest first. Resolves with how many. */
  async sweep(): Promise<number> {
    const { maxAgeMs, maxLetters, maxBytes } = this.#limits
    let gone = 0
    for (let step = SWEEP_ROWS; step === SWEEP_ROWS && !this.#stopped.signal.aborted; gone += step) {
      const { rows } = await this.#ask(this.#stopped.signal, (db) =>
        db.query<{ gone: number }>('SELECT livemessage.sweep_dead($1, $2, $3, $4) AS gone', [
          maxAgeMs,
          maxLetters,
          maxBytes,
          SWEEP_ROWS,
        ]),
      )
      step = rows[0]?.gone ?? 0
    }
    if (gone > 0) this.#log.warn({ letters: gone }, 'dead letters deleted: too old, or too many')
    return gone
  }

  /** What waits gets a moment to reach the table. Idempotent. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  async #stop(): Promise<void> {
    this.#stopped.abort()
    clearInterval(this.#timer)
    const deadline = setTimeout(() => this.#cut.abort(), this.#options.stopMs ?? 2_000)
    await this.#writing
    clearTimeout(deadline)
    this.#cut.abort()
    if (this.#waiting.length > 0) {
      this.#dropped += this.#waiting.length
      this.#log.error(
        { letters: this.#waiting.length, reason: this.#trouble },
        'dead letters lost at the stop',
      )
    }
    this.#burst.end()
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#cut.signal.aborted) {
      const batch = this.#batch()
      try {
        await this.keep(batch, this.#cut.signal)
      } catch (error) {
        if (this.#cut.signal.aborted) break
        this.#log.error({ reason: messageOf(error) }, 'dead letters could not be written')
      }
      this.#waiting.splice(0, batch.length)
      for (const letter of batch) this.#waitingBytes -= bytesOf(letter)
      if (this.#dropping === null) continue
      this.#log.warn({ dropped: this.#dropping }, 'dead letters are taken again')
      this.#dropping = null
    }
    this.#writing = null
  }

  async #keep(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void> {
    const { retry = DEFAULT_RETRY } = this.#options
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted()
      try {
        await this.#insert(letters, signal)
        return
      } catch (error) {
        signal.throwIfAborted()
        this.#failed(error)
        await pause(backoffMs(attempt, retry), signal)
      }
    }
  }

  #batch(): DeadLetter[] {
    const { batchLetters = 200, batchBytes = 1024 * 1024 } = this.#options
    const batch: DeadLetter[] = []
    let bytes = 0
    for (const letter of this.#waiting) {
      bytes += bytesOf(letter)
      if (batch.length === batchLetters || (batch.length > 0 && bytes > batchBytes)) break
      batch.push(letter)
    }
    return batch
  }

  #drop({ source, code }: DeadLetter): void {
    this.#dropped++
    if (this.#dropping === null) {
      this.#dropping = 0
      const waiting = this.#waiting.length
      this.#log.error(
        { source, code, waiting, reason: this.#trouble },
        'dead letters are lost: too many wait',
      )
    }
    this.#dropping++
  }

  async #insert(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void> {
    try {
      await this.#ask(signal, (db) => insertLetters(db, letters))
    } catch (error) {
      if (!isAboutData(error)) throw error
      // One that the database can't take must not keep the others out.
      for (const letter of letters) await this.#insertOne(letter, signal)
    }
  }

  async #insertOne(letter: DeadLetter, signal: AbortSignal): Promise<void> {
    for (const faith of FAITHS) {
      try {
        await this.#ask(signal, (db) => insertLetters(db, [letter], faith))
        if (faith !== 'bare') return
        const { source, name, code } = letter
        this.#log.error(
          { source, name, code },
          'a dead letter was kept without its body: it can not be stored',
        )
        return
      } catch (error) {
        if (!isAboutData(error) || faith === 'bare') throw error
      }
    }
  }

  /** Each statement has a deadline of its own. */
  #ask<T>(signal: AbortSignal, ask: (db: Database) => Promise<T>): Promise<T> {
    const { pool, insertMs = 30_000 } = this.#options
    return withDeadline(insertMs, [signal], (either) => ask(pool.withSignal(either)))
  }

  async #sweepIfLeading(): Promise<void> {
    if (this.#options.leads?.() === false) return
    try {
      await this.sweep()
    } catch (error) {
      if (!this.#stopped.signal.aborted) this.#failed(error)
    }
  }

  async #count(): Promise<void> {
    this.#countedAt = performance.now()
    try {
      const { rows } = await this.#ask(this.#stopped.signal, (db) =>
        db.query<{ n: number }>(COUNT, [COUNT_LIMIT]),
      )
      this.#kept = rows[0]?.n ?? 0
    } catch (error) {
      // The gauge stays where it was; outages have their own messages.
      this.#log.debug({ reason: messageOf(error) }, 'dead letters were not counted')
    }
  }

  #note(letter: DeadLetter): void {
    this.#bySource.set(letter.source, (this.#bySource.get(letter.source) ?? 0) + 1)
    this.#burst.add(letter)
  }

  /** Once per outage. */
  #failed(error: unknown): void {
    const before = this.#trouble
    const { cause } = error instanceof Error ? error : {}
    this.#trouble = isOutdated(error)
      ? 'the database has no table for them: livemessage migrate'
      : messageOf(cause ?? error)
    if (before === null) this.#log.warn({ reason: this.#trouble }, 'dead letters wait for the database')
  }

  #answered(): void {
    if (this.#trouble === null) return
    this.#trouble = null
    this.#log.info('dead letters reach the database again')
  }
}

const FAITHS: readonly Faith[] = ['exact', 'ascii', 'bare']
const SWEEP_ROWS = 10_000

/** How old the count may be. */
const COUNT_MS = 15_000
const COUNT_LIMIT = 1_000_000
const COUNT = 'SELECT count(*)::int AS n FROM (SELECT FROM livemessage.dead LIMIT $1) AS found'

/** With a key an insertion may be repeated, whatever came of the first. */
function keyed(letter: DeadLetter): DeadLetter {
  return letter.key === null ? { ...letter, key: randomUUID() } : letter
}

function bytesOf({ body, reason }: DeadLetter): number {
  return 200 + reason.length + (body === null ? 0 : Buffer.byteLength(body))
}

/** Whether it is about this letter, and not about the server: 22 data exceptions, 54 limits; RangeError: too long for us. */
function isAboutData(error: unknown): boolean {
  return /^(22|54)/.test(codeOf(error) ?? '') || error instanceof RangeError
}

function isOutdated(error: unknown): boolean {
  // No such column, no such constraint.
  return lacksSchema(error) || ['42703', '42P10'].includes(codeOf(error) ?? '')
}
