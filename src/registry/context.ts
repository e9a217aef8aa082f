import { setMaxListeners } from 'node:events'
import type { Log } from '../ops/log.ts'
import type {
  ActionContext,
  BaseContext,
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

/** What the daemon lends to modules. */
export interface Services {
  readonly log: Log
  readonly db: { withSignal(signal: AbortSignal): Database }
  readonly connections: Connections
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<{ id: string | null }>
  emit(target: EmitTarget, event: string, args: readonly unknown[], options: EmitOptions): Promise<Emitted>
  presence(channel: string): Promise<Present>
  /** Aborted when the daemon stops. */
  readonly signal: AbortSignal
}

/** The context of one run of a module. The signal is made when somebody asks for it. */
export class Run implements ActionContext, HookContext {
  readonly subsystem: string
  readonly action: string
  readonly connection: Connection | null
  readonly #user: string | null
  readonly #services: Services
  #abort: AbortController | null = null
  #reason: Error | null = null
  #onStop: (() => void) | null = null

  /** @param user who it is for, where there is no connection */
  constructor(
    services: Services,
    subsystem: string,
    action: string,
    connection: Connection | null,
    user: string | null = null,
  ) {
    this.#services = services
    this.#user = user
    this.subsystem = subsystem
    this.action = action
    this.connection = connection
  }

  get user(): string | null {
    return this.connection === null ? this.#user : this.connection.user
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
    if (this.#abort !== null) return this.#abort.signal
    this.#abort = new AbortController()
    const { signal } = this.#services
    if (this.#reason !== null) this.#abort.abort(this.#reason)
    else if (signal.aborted) this.#abort.abort(signal.reason)
    else {
      // Not AbortSignal.any: each would leave a reference at the daemon's signal for as long as that lives.
      setMaxListeners(0, signal)
      const abort = this.#abort
      this.#onStop = () => abort.abort(signal.reason)
      signal.addEventListener('abort', this.#onStop)
    }
    return this.#abort.signal
  }

  // Not a method: modules take it out of the context, as in `handle(input, { publish })`.
  readonly publish = (
    channel: string,
    data: unknown,
    options?: PublishOptions,
  ): Promise<{ id: string | null }> => this.#services.publish(channel, data, options)

  readonly emit = (
    target: EmitTarget,
    event: string,
    args: readonly unknown[] = [],
    options: EmitOptions = {},
  ): Promise<Emitted> => {
    const { exclude, ...others } = options
    // No session has this name: they are longer.
    const left = exclude === 'me' ? (this.session ?? undefined) : exclude
    return this.#services.emit(
      target,
      event,
      args,
      left === undefined ? others : { ...others, exclude: left },
    )
  }

  readonly presence = (channel: string): Promise<Present> => this.#services.presence(channel)

  /** The deadline has passed. */
  abort(reason: Error): void {
    this.#reason = reason
    this.end()
    this.#abort?.abort(reason)
  }

  /** The run is over: the daemon's stop is no concern of its signal any more. */
  end(): void {
    if (this.#onStop !== null) this.#services.signal.removeEventListener('abort', this.#onStop)
    this.#onStop = null
  }

  /** Between the steps of a run: what has timed out goes no further. */
  throwIfAborted(): void {
    if (this.#reason !== null) throw this.#reason
  }
}

/** The context of a module that stands for no client. */
export function baseContext(services: Services, subsystem: string, key: string): BaseContext {
  return new Run(services, subsystem, key, null)
}
