import { setMaxListeners } from 'node:events'
import type { Log } from '../ops/log.ts'
import type {
  ActionContext,
  BaseContext,
  CallOptions,
  Connection,
  Connections,
  Database,
  EmitOptions,
  Emitted,
  EmitTarget,
  HookContext,
  Present,
  PublishOptions,
} from './define.ts'
import { databasesOf, type Lender, type LentDatabases } from './databases.ts'
import type { Turns } from './watch.ts'

/** What the daemon lends to modules. */
export interface Services {
  readonly log: Log
  /** The home one. */
  readonly db: Lender
  /** Where there are several, or one with a name. @default none */
  readonly databases?: LentDatabases
  readonly connections: Connections
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<{ id: string | null }>
  emit(target: EmitTarget, event: string, args: readonly unknown[], options: EmitOptions): Promise<Emitted>
  presence(channel: string): Promise<Present>
  /** Runs another action, for who this run is for; `callWithin`. */
  call(outer: Run, name: string, data: unknown, options: CallOptions): Promise<unknown>
  /** Aborted when the daemon stops. */
  readonly signal: AbortSignal
  readonly turns: Turns
}

/** What few runs need of a context, made when asked for. */
type Lent = {
  -readonly [Name in 'publish' | 'emit' | 'broadcast' | 'presence' | 'call' | 'bag']?: ActionContext[Name]
}

/**
 * The context of one run of a module. One is made for every call: what it lends is bound when it is taken out, as in
 * `handle(input, { publish })`, and so is the signal.
 */
export class Run implements ActionContext, HookContext {
  readonly subsystem: string
  readonly action: string
  readonly connection: Connection | null
  /** Actions around this one. */
  readonly depth: number
  /** When it must have ended, as `performance.now()` counts. */
  readonly deadline: number
  readonly #user: string | null
  readonly #database: string | null
  readonly #services: Services
  #lent: Lent | null = null
  #abort: AbortController | null = null
  #reason: Error | null = null
  #onStop: (() => void) | null = null
  #ended = false

  /**
   * @param user for whom, where there is no connection
   * @param deadline by when it has to be over, as `performance.now()` counts
   * @param depth actions around this one
   * @param database for whose user, where there is no connection; null: the home one's
   */
  constructor(
    services: Services,
    subsystem: string,
    action: string,
    connection: Connection | null,
    user: string | null = null,
    deadline = Infinity,
    depth = 0,
    database: string | null = null,
  ) {
    this.#services = services
    this.#user = user
    this.#database = database
    this.subsystem = subsystem
    this.action = action
    this.connection = connection
    this.deadline = deadline
    this.depth = depth
  }

  get user(): string | null {
    return this.connection === null ? this.#user : this.connection.user
  }

  get session(): string | null {
    return this.connection === null ? null : this.connection.session
  }

  get bag(): Map<string, unknown> {
    return this.connection === null ? (this.#lend.bag ??= new Map()) : this.connection.bag
  }

  get database(): string | null {
    return this.#further ?? this.#services.databases?.home ?? null
  }

  get db(): Database {
    const further = this.#further
    const { db, databases } = this.#services
    const lender = further === null || databases === undefined ? db : databases.all.get(further)
    // The databases are those of the start, and so are those of users.
    if (lender === undefined) throw new TypeError(`there is no database '${further}'`)
    // What a run that timed out still asks of the database is cancelled there too.
    return lender.withSignal(this.signal)
  }

  get databases(): Readonly<Record<string, Database>> {
    const { databases } = this.#services
    return databases === undefined ? {} : databasesOf(databases, () => this.signal)
  }

  get #further(): string | null {
    return this.connection === null ? this.#database : this.connection.database
  }

  get connections(): Connections {
    return this.#services.connections
  }

  get log(): Log {
    return this.#services.log.child({ subsystem: this.subsystem, action: this.action })
  }

  get signal(): AbortSignal {
    if (this.#abort !== null) return this.#abort.signal
    this.#abort = new AbortController()
    const { signal } = this.#services
    if (this.#reason !== null) this.#abort.abort(this.#reason)
    else if (signal.aborted) this.#abort.abort(signal.reason)
    else if (!this.#ended) {
      // Not AbortSignal.any: each would leave a reference at the daemon's signal for as long as that lives.
      setMaxListeners(0, signal)
      const abort = this.#abort
      this.#onStop = () => abort.abort(signal.reason)
      signal.addEventListener('abort', this.#onStop)
    }
    return this.#abort.signal
  }

  get publish(): BaseContext['publish'] {
    return (this.#lend.publish ??= (channel, data, options) =>
      this.#refusal() ?? this.#services.publish(channel, data, options))
  }

  get emit(): BaseContext['emit'] {
    return (this.#lend.emit ??= (target, event, args = [], options = {}) =>
      this.#emit(target, event, args, options))
  }

  get broadcast(): BaseContext['broadcast'] {
    return (this.#lend.broadcast ??= (event, args = [], { exclude = 'me' } = {}) =>
      this.#emit({ all: true }, event, args, exclude === null ? {} : { exclude }))
  }

  get presence(): BaseContext['presence'] {
    return (this.#lend.presence ??= (channel) => this.#refusal() ?? this.#services.presence(channel))
  }

  get call(): BaseContext['call'] {
    return (this.#lend.call ??= (name, data, options = {}) =>
      // The caller says what comes back, as with `query`.
      this.#refusal() ?? (this.#services.call(this, name, data, options) as Promise<never>))
  }

  /** Whether it was answered, or given up. */
  get ended(): boolean {
    return this.#ended
  }

  /** The deadline has passed. */
  abort(reason: Error): void {
    this.#reason = reason
    this.end()
    this.#abort?.abort(reason)
  }

  /** The run is over: the daemon's stop is no concern of its signal any more. */
  end(): void {
    this.#ended = true
    if (this.#onStop !== null) this.#services.signal.removeEventListener('abort', this.#onStop)
    this.#onStop = null
  }

  /** Between the steps of a run: what has timed out goes no further. */
  throwIfAborted(): void {
    if (this.#reason !== null) throw this.#reason
  }

  get #lend(): Lent {
    return (this.#lent ??= {})
  }

  /** What it does after its deadline reaches nobody: who called was told `timeout`, and may call again. */
  #refusal(): Promise<never> | null {
    return this.#reason === null ? null : Promise.reject(this.#reason)
  }

  #emit(
    target: EmitTarget,
    event: string,
    args: readonly unknown[],
    { exclude, ...others }: EmitOptions,
  ): Promise<Emitted> {
    // No session has this name: they are longer.
    const left = exclude === 'me' ? this.session : (exclude ?? null)
    const options = left === null ? others : { ...others, exclude: left }
    return this.#refusal() ?? this.#services.emit(target, event, args, options)
  }
}

/** The context of a module that stands for no client. */
export function baseContext(services: Services, subsystem: string, key: string): BaseContext {
  return new Run(services, subsystem, key, null)
}
