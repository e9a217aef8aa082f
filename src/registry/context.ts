import type { Log } from '../ops/log.ts'
import type {
  ActionContext,
  BaseContext,
  Connection,
  Connections,
  Database,
  HookContext,
  PublishOptions,
} from './define.ts'

/** What the daemon lends to modules. */
export interface Services {
  readonly log: Log
  readonly db: { withSignal(signal: AbortSignal): Database }
  readonly connections: Connections
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<{ id: string | null }>
  /** Aborted when the daemon stops. */
  readonly signal: AbortSignal
}

/** The context of one run of a module. The signal is made when somebody asks for it. */
export class Run implements ActionContext, HookContext {
  readonly subsystem: string
  readonly action: string
  readonly connection: Connection | null
  readonly #services: Services
  #abort: AbortController | null = null
  #reason: unknown = null

  constructor(services: Services, subsystem: string, action: string, connection: Connection | null) {
    this.#services = services
    this.subsystem = subsystem
    this.action = action
    this.connection = connection
  }

  get user(): string | null {
    return this.connection === null ? null : this.connection.user
  }

  get session(): string | null {
    return this.connection === null ? null : this.connection.session
  }

  get db(): Database {
    // What a run that timed out still asks of the database is cancelled there too.
    return this.#services.db.withSignal(this.signal)
  }

  get connections(): Connections {
    return this.#services.connections
  }

  get log(): Log {
    return this.#services.log.child({ subsystem: this.subsystem, action: this.action })
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController()
      if (this.#reason !== null) this.#abort.abort(this.#reason)
    }
    return AbortSignal.any([this.#abort.signal, this.#services.signal])
  }

  // Not a method: modules take it out of the context, as in `handle(input, { publish })`.
  readonly publish = (
    channel: string,
    data: unknown,
    options?: PublishOptions,
  ): Promise<{ id: string | null }> => this.#services.publish(channel, data, options)

  abort(reason: Error): void {
    this.#reason = reason
    this.#abort?.abort(reason)
  }
}

/** The context of a module that stands for no client. */
export function baseContext(services: Services, subsystem: string, key: string): BaseContext {
  return new Run(services, subsystem, key, null)
}
