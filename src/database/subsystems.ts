import { backoffMs, pause } from '../backoff.ts'
import type { Retry } from '../backoff.ts'
import { withDeadline } from '../deadline.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { DatabasePool } from './pool.ts'
import { lacksSchema } from './refusals.ts'

/** What the database has to know of a subsystem. */
export interface SubsystemPolicy {
  /** Into the journal, or by a bare NOTIFY only. */
  readonly journaled: boolean
  /** The largest publication, in bytes of its JSON. */
  readonly maxBytes: number
  /** Age from which on its publications may be deleted; null: never, or nothing is journaled. */
  readonly maxAgeMs: number | null
  /** Its channels name their database. @default false */
  readonly perDatabase?: boolean
}

export type SubsystemPolicies = ReadonlyMap<string, SubsystemPolicy>

export interface SubsystemsOptions {
  readonly pool: Pick<DatabasePool, 'withSignal'>
  /** Who the database is: by its name in the config, and whether the journal is another one's. @default not told */
  readonly database?: { readonly name: string; readonly outbox: boolean }
  readonly log: Log
  readonly retry: Retry
  readonly statementMs: number
  /** The database is told again after this time: a crash or a backup may have taken it back. */
  readonly againMs: number
}

/** Tells the database which subsystems there are: `livemessage.publish` asks it what to do with a channel. */
export class Subsystems {
  readonly #options: SubsystemsOptions
  readonly #stopped = new AbortController()
  #wanted: SubsystemPolicies = new Map()
  #running: Promise<void> | null = null
  #first: Promise<void> | null = null
  #failing = false
  #reason: string | null = null
  #again: NodeJS.Timeout | undefined

  constructor(options: SubsystemsOptions) {
    this.#options = options
  }

  get policies(): SubsystemPolicies {
    return this.#wanted
  }

  /** Why the database does not know what is wanted; null while it does, and before the first attempt. */
  get reason(): string | null {
    return this.#reason
  }

  /** Resolves after the first attempt; it goes on trying until the database knows them. */
  apply(policies: SubsystemPolicies): Promise<void> {
    this.#wanted = policies
    clearTimeout(this.#again)
    if (this.#running === null && !this.#stopped.signal.aborted) {
      this.#first = new Promise((resolve) => {
        this.#running = this.#run(resolve)
      })
    }
    return this.#first ?? Promise.resolve()
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    clearTimeout(this.#again)
    await this.#running
  }

  async #run(first: () => void): Promise<void> {
    const { signal } = this.#stopped
    let told: SubsystemPolicies | null = null
    for (let tries = 0; told !== this.#wanted && !signal.aborted;) {
      const wanted: SubsystemPolicies = this.#wanted
      try {
        await this.#tell(wanted)
        told = wanted
        this.#worked()
      } catch (error) {
        if (!signal.aborted) this.#failed(error)
        first()
        await pause(backoffMs(tries++, this.#options.retry), signal)
      }
    }
    this.#running = null // in this turn: what is wanted from the next one on needs another run
    first()
    if (signal.aborted) return
    this.#again = setTimeout(() => void this.apply(this.#wanted), this.#options.againMs).unref()
  }

  async #tell(policies: SubsystemPolicies): Promise<void> {
    const { pool, statementMs, database } = this.#options
    const subsystems = JSON.stringify(
      Object.fromEntries(
        [...policies].map(([name, { journaled, maxBytes, perDatabase = false }]) => [
          name,
          { journaled, max_bytes: maxBytes, per_database: perDatabase },
        ]),
      ),
    )
    await withDeadline(statementMs, [this.#stopped.signal], (signal) => {
      const db = pool.withSignal(signal)
      if (database === undefined) return db.query('SELECT livemessage.set_subsystems($1)', [subsystems])
      const { name, outbox } = database
      return db.query(TELL, [subsystems, name, outbox])
    })
  }

  #failed(error: unknown): void {
    this.#reason = lacksSchema(error) ? 'it lacks our tables: livemessage migrate' : messageOf(error)
    if (this.#failing) return
    this.#failing = true
    // One that is not migrated knows no subsystems, and publishes without them; whoever leads says so.
    if (lacksSchema(error)) return
    this.#options.log.warn(
      { reason: messageOf(error) },
      'the database does not know the subsystems yet, trying on',
    )
  }

  #worked(): void {
    if (this.#failing) this.#options.log.info('the database knows the subsystems')
    this.#failing = false
    this.#reason = null
  }
}

const TELL = 'SELECT livemessage.set_database($2, $3), livemessage.set_subsystems($1)'
