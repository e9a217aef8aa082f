import { pause, type Retry } from '../backoff.ts'
import { withDeadline } from '../deadline.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { Chore, type Shift } from './chore.ts'
import type { Leadership } from './leadership.ts'
import type { DatabasePool } from './pool.ts'
import { lacksSchema } from './refusals.ts'
import { Subsystems, type SubsystemPolicies } from './subsystems.ts'

/** Publications of another database that go home together. */
export interface OutboxBatch {
  readonly database: string
  /** The same whoever sends it, and how often. */
  readonly id: string
  readonly channels: readonly string[]
  /** JSON texts. */
  readonly datas: readonly string[]
}

export interface OutboxOptions {
  /** The database's name in the config. */
  readonly database: string
  /** The daemon's own connections there; two may be in use at once. */
  readonly pool: Pick<DatabasePool, 'withSignal'>
  readonly leadership: Pick<Leadership, 'token' | 'onChange'>
  /**
   * Brings a batch into the journal, once however often it is asked to. Resolves with the number of publications that
   * came, when nothing of them can be lost any more.
   */
  append(batch: OutboxBatch, token: number, signal: AbortSignal): Promise<number>
  readonly log: Log
  /** Moved at once; no more than some 1 MiB. @default 1000 */
  readonly maxRows?: number
  /** The server is asked this often, and looks meanwhile, every so often. @default 200 and 10 */
  readonly waitMs?: number
  readonly everyMs?: number
  /** Deadline of each statement. @default 30000 */
  readonly statementMs?: number
  /** How often the database is told of the subsystems again. @default 600000 */
  readonly applyMs?: number
  readonly retry: Retry
}

/**
 * The outbox of one database. Every node tells the database that it has one; the node that leads moves what is in it.
 *
 * A batch is fixed there first (`outbox_take`), appended at home, and deleted there with the taking of the next. Whoever
 * dies between two of these, the next leader is given the same batch under the same name, and home knows whether it has
 * it: with the PostgreSQL journal each publication comes exactly once, however long the outage was.
 */
export class Outbox {
  readonly database: string
  readonly #options: OutboxOptions
  readonly #chore: Chore
  readonly #subsystems: Subsystems
  /** The batch that is home and not deleted yet. */
  #done: string | null = null
  #moved = 0
  #batches = 0
  #trouble: string | null = null
  readonly #stopped = new AbortController()

  constructor(options: OutboxOptions) {
    const { database, pool, leadership, log, retry, statementMs = 30_000, applyMs = 600_000 } = options
    this.database = database
    this.#options = options
    const common = { pool, log: log.child({ database }), retry, statementMs }
    this.#subsystems = new Subsystems({
      ...common,
      database: { name: database, outbox: true },
      againMs: applyMs,
    })
    this.#chore = new Chore({
      ...common,
      name: 'outbox',
      leadership,
      intervalMs: 0,
      work: (shift) => this.#work(shift),
    })
    leadership.onChange(() => this.#chore.wake())
  }

  /** Publications that this node has moved, and in how many batches. */
  get counts(): { readonly moved: number; readonly batches: number } {
    return { moved: this.#moved, batches: this.#batches }
  }

  /** Why publishing there may fail, or why what is published there can't be fetched; null where all is well. */
  get reason(): string | null {
    return this.#subsystems.reason ?? (this.#options.leadership.token === null ? null : this.#trouble)
  }

  start(): void {
    this.#chore.start()
  }

  /** Resolves after the first attempt to tell the database; it goes on trying. */
  apply(policies: SubsystemPolicies): Promise<void> {
    return this.#subsystems.apply(policies)
  }

  /**
   * What waits here of these channels never comes home. Resolves with how many publications that were, when none of these
   * channels is on its way any more.
   * @throws where the database does not answer, or what is on its way does not come home, within `deadlineMs`
   */
  async forget(channels: readonly string[], deadlineMs: number): Promise<number> {
    const { pool } = this.#options
    let gone = 0
    return withDeadline(deadlineMs, [this.#stopped.signal], async (signal) => {
      for (;;) {
        const { rows } = await pool.withSignal(signal).query<ForgottenRow>(FORGET, [channels])
        const [row] = rows
        gone += Number(row?.gone ?? 0)
        if ((row?.batch ?? null) === null) return gone
        await pause(BATCH_LOOK_MS, signal)
        signal.throwIfAborted()
      }
    })
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error('the node stops'))

    await Promise.all([this.#subsystems.stop(), this.#chore.stop()])
  }

  /** One batch, if there is one. Dies anywhere in it: see above. */
  async #work(shift: Shift): Promise<boolean> {
    const { append, database } = this.#options
    const row = await this.#take(shift)
    this.#done = null
    if (row === undefined) return true
    const { batch, channels, datas } = row
    // None where all of them were deleted by hand meanwhile.
    if (channels !== null && datas !== null) {
      this.#moved += await append({ database, id: batch, channels, datas }, shift.token, shift.signal)
      this.#batches++
    }
    this.#done = batch
    return true
  }

  async #take({ query, signal }: Shift): Promise<TakenRow | undefined> {
    const { maxRows = 1000, waitMs = 200, everyMs = 10 } = this.#options
    try {
      const [row] = await query<TakenRow>(TAKE, [this.#done, maxRows, waitMs, everyMs])
      this.#trouble = null
      return row
    } catch (error) {
      // That home can't be reached is not this database's fault, and told elsewhere.
      if (!signal.aborted) this.#trouble = troubleOf(error)
      throw error
    }
  }
}

type TakenRow = {
  readonly batch: string
  readonly channels: readonly string[] | null
  readonly datas: readonly string[] | null
}

type ForgottenRow = { readonly gone: string; readonly batch: string | null }

/** How often is looked whether a batch is home: some milliseconds after it was taken. */
const BATCH_LOOK_MS = 20

const FORGET = 'SELECT gone, batch FROM livemessage.forget_outbox($1)'

const TAKE = 'SELECT batch, channels, datas FROM livemessage.outbox_take($1, $2, $3, $4)'

function troubleOf(error: unknown): string {
  return lacksSchema(error) ? 'it lacks our tables: livemessage migrate' : messageOf(error)
}
