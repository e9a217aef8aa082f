import { DEFAULT_RETRY, pause } from '../backoff.ts'
import type { Retry } from '../backoff.ts'
import type { Log } from '../ops/log.ts'
import { Chore } from './chore.ts'
import type { Shift } from './chore.ts'
import { LEASE } from './leadership.ts'
import type { Leadership } from './leadership.ts'
import { NotifyQueue } from './notify-queue.ts'
import type { NotifyQueueOptions } from './notify-queue.ts'
import type { DatabasePool } from './pool.ts'
import { Subsystems } from './subsystems.ts'
import type { SubsystemPolicies } from './subsystems.ts'

export interface HousekeepingOptions {
  /** Four connections of it may be in use at once. */
  readonly pool: Pick<DatabasePool, 'withSignal'>
  readonly leadership: Leadership
  /** The database's name in the config. @default it is not told */
  readonly database?: string
  readonly log: Log
  /** Publications that were enqueued are looked for this often. @default 20 */
  readonly drainMs?: number
  /** The server is asked this often, and looks meanwhile: a statement that takes longer may be one of those it logs. @default 200 */
  readonly drainWaitMs?: number
  /** Moved at once, in one transaction. @default 500 */
  readonly drainRows?: number
  /** From the end of one round of deletions to the begin of the next. @default 10000 */
  readonly sweepMs?: number
  /** At most so many rows are deleted in one transaction. @default 5000 */
  readonly sweepRows?: number
  /** Transactions of one round, and the time between two of them. @default 100 steps, 50 ms */
  readonly sweepSteps?: number
  readonly sweepPauseMs?: number
  /** How often the server's NOTIFY queue is looked at. @default 10000 */
  readonly watchMs?: number
  /** How often the database is told of the subsystems again. @default 600000 */
  readonly applyMs?: number
  readonly queue?: Omit<NotifyQueueOptions, 'log'>
  /** Deadline of each statement. @default 30000 */
  readonly statementMs?: number
  readonly retry?: Retry
}

/** What was done, as plain numbers. */
export interface HousekeepingCounts {
  /** Enqueued publications that were moved into the journal. */
  readonly drained: number
  /** Rows that retention deleted, of whatever kind. */
  readonly swept: number
  /** Listeners that were ended. */
  readonly endedListeners: number
}

/** What one node does in the database for all. It runs on every node, and acts on the one that leads. */
export class Housekeeping {
  readonly #options: Required<Omit<HousekeepingOptions, 'queue' | 'database'>>
  readonly #subsystems: Subsystems
  readonly #queue: NotifyQueue
  readonly #chores: readonly Chore[]
  #drained = 0
  #swept = 0

  constructor(options: HousekeepingOptions) {
    const { queue, database, ...rest } = options
    this.#options = {
      drainMs: 20,
      drainWaitMs: 200,
      drainRows: 500,
      sweepMs: 10_000,
      sweepRows: 5_000,
      sweepSteps: 100,
      sweepPauseMs: 50,
      watchMs: 10_000,
      applyMs: 600_000,
      statementMs: 30_000,
      retry: DEFAULT_RETRY,
      ...rest,
    }
    const { pool, leadership, log, statementMs, retry, applyMs: againMs } = this.#options
    const common = { pool, leadership, log, statementMs, retry }
    this.#subsystems = new Subsystems({
      pool,
      ...(database === undefined ? {} : { database: { name: database, outbox: false } }),
      log,
      retry,
      statementMs,
      againMs,
    })
    this.#queue = new NotifyQueue({ log, ...queue })
    const { sweepMs, watchMs } = this.#options
    this.#chores = [
      new Chore({ ...common, name: 'drain', intervalMs: 0, work: (shift) => this.#drain(shift) }),
      new Chore({ ...common, name: 'sweep', intervalMs: sweepMs, work: (shift) => this.#sweep(shift) }),
      new Chore({
        ...common,
        name: 'watch',
        intervalMs: watchMs,
        work: (shift) => this.#queue.check(shift).then(() => false),
      }),
    ]
    leadership.onChange(() => {
      for (const chore of this.#chores) chore.wake()
    })
  }

  get counts(): HousekeepingCounts {
    return { drained: this.#drained, swept: this.#swept, endedListeners: this.#queue.ended }
  }

  /** How full the server's NOTIFY queue is, 0 to 1; null on a node that does not lead. */
  get queueUsage(): number | null {
    return this.#options.leadership.token === null ? null : this.#queue.usage
  }

  start(): void {
    for (const chore of this.#chores) chore.start()
  }

  /**
   * The subsystems and how long their publications are kept: at the start, and at every reload, on every node.
   * Resolves after the first attempt to tell the database; it goes on trying.
   */
  apply(policies: SubsystemPolicies): Promise<void> {
    return this.#subsystems.apply(policies)
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    await Promise.all([this.#subsystems.stop(), ...this.#chores.map((chore) => chore.stop())])
  }

  async #drain({ query, token }: Shift): Promise<boolean> {
    const { drainRows, drainMs, drainWaitMs } = this.#options
    const [row] = await query<{ moved: number }>('SELECT livemessage.drain($1, $2, $3, $4, $5) AS moved', [
      drainRows,
      LEASE,
      token,
      drainWaitMs,
      drainMs,
    ])
    this.#drained += row?.moved ?? 0
    return true
  }

  async #sweep({ query, token, signal }: Shift): Promise<boolean> {
    const { sweepRows, sweepSteps, sweepPauseMs } = this.#options
    const ages = [...this.#subsystems.policies].filter(([, { maxAgeMs }]) => maxAgeMs !== null)
    const subsystems = JSON.stringify(
      Object.fromEntries(ages.map(([name, { maxAgeMs }]) => [name, maxAgeMs])),
    )
    for (let step = 1; ; step++) {
      const [row] = await query<{ swept: number; more: boolean }>(
        'SELECT swept, more FROM livemessage.sweep($1, $2, $3, $4, $5)',
        [subsystems, sweepRows, LEASE, token, step === 1],
      )
      this.#swept += row?.swept ?? 0
      if (row?.more !== true || step >= sweepSteps) return false
      await pause(sweepPauseMs, signal)
      signal.throwIfAborted()
    }
  }
}
