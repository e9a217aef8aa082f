import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError } from '../protocol/codes.ts'
import { isChannel } from '../protocol/names.ts'
import { backoffMs, DEFAULT_RETRY, pause } from './backoff.ts'
import type { Retry } from './backoff.ts'
import { memberText, oneLine } from '../protocol/json-text.ts'
import { Lane } from './lane.ts'
import { PgListener } from './pg-listener.ts'
import type { PgListenerOptions } from './pg-listener.ts'
import type { MaybePromise, Notification, Source, SourceHandlers, SourceState } from './source.ts'
import { SourceStatus } from './status.ts'

export interface PostgresSourceOptions extends PgListenerOptions {
  /** `postgres`, or `postgres:<database>` for a second database. */
  readonly name: string
  /** The NOTIFY name that carries publications: `{"channel","data","key"?}`. */
  readonly channel: string
  /** NOTIFY names of senders: the subsystems that hear each. */
  readonly notify: ReadonlyMap<string, readonly string[]>
  /** Told to senders. @default none */
  readonly database?: string
  readonly log: Log
  /** Notifications that may wait before the socket is no longer read. @default 10000 */
  readonly maxWaiting?: number
  /** How long a stop waits for the notification in hand. @default 5000 */
  readonly drainMs?: number
}

export interface PostgresSource extends Source {
  /** Other senders: LISTENs and UNLISTENs on the open connection. */
  setNotify(notify: ReadonlyMap<string, readonly string[]>): Promise<void>
}

/**
 * Hears NOTIFY. Delivery semantics: in the order of commits, one at a time; PostgreSQL keeps nothing for a
 * listener that is away: `onGap` tells of each such time. What the journal can't take just now waits, and
 * is handed over again, in place.
 */
export function createPostgresSource(options: PostgresSourceOptions): PostgresSource {
  return new NotifySource(options)
}

class NotifySource implements PostgresSource {
  readonly name: string
  readonly #channel: string
  readonly #database: string | undefined
  readonly #retry: Retry
  readonly #maxWaiting: number
  readonly #drainMs: number
  readonly #log: Log
  readonly #status: SourceStatus
  readonly #listener: PgListener
  readonly #lane = new Lane<Notification>((notification) => this.#hand(notification))
  readonly #stopped = new AbortController()
  #notify: ReadonlyMap<string, readonly string[]>
  #handlers: SourceHandlers | null = null
  #full = false
  #stopping: Promise<void> | null = null

  constructor(options: PostgresSourceOptions) {
    this.name = options.name
    this.#channel = options.channel
    this.#notify = options.notify
    this.#database = options.database
    this.#retry = options.retry ?? DEFAULT_RETRY
    this.#maxWaiting = options.maxWaiting ?? 10_000
    this.#drainMs = options.drainMs ?? 5_000
    this.#log = options.log.child({ source: options.name })
    this.#status = new SourceStatus(this.#log)
    this.#listener = new PgListener(this.#names(), options)
  }

  get state(): SourceState {
    return this.#status.state
  }

  get reason(): string | null {
    return this.#status.reason
  }

  async start(handlers: SourceHandlers): Promise<void> {
    if (this.#handlers || this.#stopping) return
    this.#handlers = handlers
    this.#status.tell(handlers)
    await this.#listener.start({
      onNotify: (name, payload) => this.#take(name, payload),
      onUp: (again) => {
        this.#status.up()
        if (again) handlers.onGap()
      },
      onDown: (reason) => this.#status.down(reason),
    })
  }

  async setNotify(notify: ReadonlyMap<string, readonly string[]>): Promise<void> {
    this.#notify = notify
    await this.#listener.setNames(this.#names())
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  async #stop(): Promise<void> {
    this.#stopped.abort()
    this.#lane.clear()
    await this.#listener.stop()
    await this.#lane.idle(this.#drainMs)
    this.#status.stopped()
  }

  #names(): Set<string> {
    return new Set([this.#channel, ...this.#notify.keys()])
  }

  #take(name: string, payload: string): void {
    const subsystems = this.#notify.get(name)
    const body = payload === '' ? null : parse(payload)
    if (body === undefined) {
      this.#reject('bad_payload', 'the payload is not JSON', name)
      return
    }
    if (name === this.#channel && isObject(body) && 'channel' in body) {
      this.#takePublication(name, body, payload)
    } else if (subsystems && subsystems.length > 0) {
      // A sender's own name: whatever it says is the sender's business.
      const common = { source: this.name, name, data: body, ...this.#from() }
      const json = payload === '' ? 'null' : oneLine(payload)
      for (const subsystem of subsystems) this.#push({ ...common, subsystem, json })
    } else if (name === this.#channel) {
      const hint = `expected {"channel":"<subsystem>:<rest>","data":…}; a sender has a NOTIFY name of its own`
      this.#reject('no_channel', `the payload names no channel: ${hint}`, name)
    }
  }

  #takePublication(name: string, body: Readonly<Record<string, unknown>>, payload: string): void {
    const { channel, data, key } = body
    if (typeof channel !== 'string' || !isChannel(channel)) {
      this.#reject('bad_channel', `channel: expected "<subsystem>:<rest>", got ${shown(channel)}`, name)
    } else if (data === undefined) {
      this.#reject('no_data', `${channel}: the payload has no "data"; null is data, too`, name)
    } else if (key !== undefined && typeof key !== 'string') {
      this.#reject('bad_payload', `key: expected a string, got ${shown(key)}`, name)
    } else {
      const json = memberText(payload, 'data')
      this.#push({
        source: this.name,
        name,
        channel,
        data,
        ...this.#from(),
        ...(json === undefined ? {} : { json: oneLine(json) }),
        ...(key === undefined ? {} : { key: `${this.name}:${key}` }),
      })
    }
  }

  #from(): { database?: string } {
    return this.#database === undefined ? {} : { database: this.#database }
  }

  #push(notification: Notification): void {
    this.#lane.push(notification)
    if (!this.#full && this.#lane.waiting >= this.#maxWaiting) {
      this.#full = true
      this.#listener.pause()
      this.#log.warn({ waiting: this.#lane.waiting }, 'notifications wait: reading of more is held back')
    }
  }

  #hand(notification: Notification): MaybePromise<void> {
    if (this.#full && this.#lane.waiting <= this.#maxWaiting / 2) {
      this.#full = false
      this.#listener.resume()
      this.#log.info('notifications are read again')
    }
    if (!this.#handlers || this.#stopped.signal.aborted) return undefined
    try {
      const work = this.#handlers.onNotification(notification)
      return work ? this.#finish(notification, work) : undefined
    } catch (error) {
      return this.#finish(notification, Promise.reject(error))
    }
  }

  async #finish(notification: Notification, first: Promise<void>): Promise<void> {
    let work = first
    for (let attempt = 0; ; attempt++) {
      try {
        return await work
      } catch (error) {
        const lasting = !(error instanceof ClientError && error.code === 'unavailable')
        if (lasting) {
          // There is nobody to give a NOTIFY back to: what failed is told, and gone.
          const code = error instanceof ClientError ? error.code : 'failed'
          this.#reject(code, messageOf(error), notification.channel ?? notification.name)
          return undefined
        }
      }
      await pause(backoffMs(attempt, this.#retry), this.#stopped.signal)
      if (!this.#handlers || this.#stopped.signal.aborted) return undefined
      work = attemptAgain(this.#handlers, notification)
    }
  }

  #reject(code: string, message: string, place: string): void {
    this.#handlers?.onReject(code, message, place)
  }
}

async function attemptAgain(handlers: SourceHandlers, notification: Notification): Promise<void> {
  await handlers.onNotification(notification)
}

/** Undefined where it is not JSON; JSON has no undefined of its own. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100)
}
