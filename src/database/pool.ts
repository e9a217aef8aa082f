import { Pool } from 'pg'
import type { PoolClient } from 'pg'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError } from '../protocol/codes.ts'
import type { Database } from '../registry/define.ts'
import { placeOf, unavailable } from './failures.ts'
import { Lease, orAborted } from './lease.ts'
import type { TransactionPublisher } from './publications.ts'
import { runTransaction } from './transaction.ts'

/** The connections to one database. */
export interface DatabasePool extends Database {
  /**
   * The same database for one call: an abort cancels its statement and rolls its transaction back.
   * @param publisher who publishes for its transactions @default nobody: they can't
   */
  withSignal(signal: AbortSignal | undefined, publisher?: TransactionPublisher): Database
  /**
   * Opens the minimum of connections.
   * @throws {LivemessageError} `DATABASE_UNREACHABLE`
   */
  start(): Promise<void>
  /** Resolves when the database answers, rejects with the reason why it does not. For `/readyz`. */
  ping(timeoutMs?: number): Promise<void>
  readonly counts: { readonly connections: number; readonly idle: number; readonly waiting: number }
  /** Waits for what is under way, a deadline long, and closes all. Idempotent. */
  stop(): Promise<void>
}

export interface DatabaseOptions {
  readonly url: string
  /** Connections that stay open once opened. */
  readonly minConnections: number
  readonly maxConnections: number
  /** Connections above the minimum close when idle for this time. */
  readonly cleanupTimeoutMs: number
  readonly log: Log
  /** Whoever uses it tells of outages itself: here they are for `debug` only. @default false */
  readonly quiet?: boolean
  /** As pg_stat_activity shows it. @default 'livemessages' */
  readonly applicationName?: string
  /** Waiting for a connection, whether it has to be opened or another user is to return it. @default 5000 */
  readonly connectMs?: number
  /** Deadline of `stop` for statements and transactions under way. @default 5000 */
  readonly stopMs?: number
}

export function createDatabase(options: DatabaseOptions): DatabasePool {
  return new PostgresPool(options)
}

class PostgresPool implements DatabasePool {
  readonly #options: DatabaseOptions
  readonly #pool: Pool
  readonly #place: string
  readonly #loans = new Set<Lease>()
  readonly #unbound = this.withSignal(undefined)
  #down = false
  #answeredAt = -Infinity
  #stopping: Promise<void> | undefined
  /** The deadline of the stop is over. */
  #late = false

  constructor(options: DatabaseOptions) {
    this.#options = options
    this.#place = placeOf(options.url)
    this.#pool = new Pool({
      connectionString: options.url,
      application_name: options.applicationName ?? 'livemessages',
      min: options.minConnections,
      max: options.maxConnections,
      idleTimeoutMillis: options.cleanupTimeoutMs,
      connectionTimeoutMillis: options.connectMs ?? 5000,
      keepAlive: true, // a server that is gone without a word would be waited for for hours
      keepAliveInitialDelayMillis: 10_000,
    })
    this.#pool.on('error', (error) => this.#lost(error))
    // On loan between two statements a connection has no other listener, and an error would end the process.
    this.#pool.on('connect', (client) => client.on('error', (error) => this.#lost(error)))
  }

  readonly query: Database['query'] = (text, values) => this.#unbound.query(text, values)
  readonly transaction: Database['transaction'] = (work) => this.#unbound.transaction(work)

  withSignal(signal: AbortSignal | undefined, publisher?: TransactionPublisher): Database {
    return {
      query: (text, values) =>
        this.#lend(signal, async (lease) => {
          const { rows, rowCount } = await lease.query<never>(text, values)
          return { rows, rowCount }
        }),
      transaction: async (work) => {
        const { result, publish } = await this.#lend(signal, (lease) =>
          runTransaction(lease, work, publisher),
        )
        // Not with the connection in hand: an outage of the journal would take all of them.
        await publish?.()
        return result
      },
    }
  }

  async start(): Promise<void> {
    const count = Math.max(1, this.#options.minConnections)
    const opened = await Promise.allSettled(Array.from({ length: count }, () => this.#pool.connect()))
    for (const one of opened) if (one.status === 'fulfilled') one.value.release()
    const failure = opened.find((one) => one.status === 'rejected')
    if (failure === undefined) return
    throw new LivemessageError(
      'DATABASE_UNREACHABLE',
      `postgres ${this.#place}: ${messageOf(failure.reason)}: is it running, and is postgres.url right?`,
      { cause: failure.reason },
    )
  }

  async ping(timeoutMs = 2000): Promise<void> {
    // With every connection busy and answering, the database is well: a ping would only queue behind them.
    if (performance.now() - this.#answeredAt < 1000) return
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      await this.withSignal(signal).query('SELECT 1')
    } catch (error) {
      if (signal.aborted) throw new Error(`no answer within ${timeoutMs} ms`, { cause: error })
      throw error instanceof ClientError && error.cause instanceof Error ? error.cause : error
    }
  }

  get counts() {
    const { totalCount, idleCount, waitingCount } = this.#pool
    return { connections: totalCount, idle: idleCount, waiting: waitingCount }
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  /** What a log shows of it: never the URL, which has the password. */
  toJSON() {
    return { place: this.#place, ...this.counts }
  }

  async #lend<T>(signal: AbortSignal | undefined, use: (lease: Lease) => Promise<T>): Promise<T> {
    const lease = await this.#borrow(signal)
    try {
      const result = await use(lease)
      this.#answered()
      return result
    } finally {
      this.#return(lease)
    }
  }

  async #borrow(signal: AbortSignal | undefined): Promise<Lease> {
    signal?.throwIfAborted()
    if (this.#stopping !== undefined) throw new ClientError('unavailable', 'the daemon is stopping')
    const idle = this.#pool.idleCount > 0
    const connecting = this.#pool.connect()
    let client: PoolClient
    try {
      // An idle one comes at once: nothing to wait for, and so nothing to abort.
      client = await (idle ? connecting : orAborted(connecting, signal))
    } catch (error) {
      if (signal?.aborted) {
        // It comes all the same, for nobody: back to the pool with it.
        connecting.then((late) => late.release()).catch((late: unknown) => this.#lost(late))
        throw error
      }
      this.#lost(error)
      throw unavailable(error)
    }
    if (this.#late) {
      // It was still connecting at the deadline, when all others were cut.
      client.release()
      throw new ClientError('unavailable', 'the daemon is stopping')
    }
    const lease = new Lease(client, signal, this.#options.log)
    this.#loans.add(lease)
    return lease
  }

  #return(lease: Lease): void {
    lease
      .release()
      .catch((error: unknown) => this.#lost(error))
      .finally(() => this.#loans.delete(lease))
  }

  async #stop(): Promise<void> {
    const closed = this.#pool.end() // nothing new from here; resolves when all loans are back
    const late = setTimeout(() => {
      this.#late = true
      this.#options.log.warn(
        { database: this.#place, loans: this.#loans.size },
        'database connections cut at the deadline',
      )
      for (const lease of this.#loans) lease.cut().catch((error: unknown) => this.#lost(error))
    }, this.#options.stopMs ?? 5000)
    try {
      await closed
    } finally {
      clearTimeout(late)
    }
  }

  #answered(): void {
    this.#answeredAt = performance.now()
    if (!this.#down) return
    this.#down = false
    this.#tell('info', { database: this.#place }, 'database answers again')
  }

  /** Once per outage: the queries that fail meanwhile are reported by those who asked. */
  #lost(error: unknown): void {
    this.#answeredAt = -Infinity
    if (this.#down || this.#stopping !== undefined) return
    this.#down = true
    this.#tell('warn', { database: this.#place, reason: messageOf(error) }, 'database connection lost')
  }

  #tell(level: 'info' | 'warn', fields: object, sentence: string): void {
    const { log, quiet = false } = this.#options
    log[quiet ? 'debug' : level](fields, sentence)
  }
}
