import type { Log } from '../ops/log.ts'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import { attempt } from './attempts.ts'
import { DEFAULT_RETRY } from './backoff.ts'
import type { Retry } from './backoff.ts'
import { memberText, oneLine } from '../protocol/json-text.ts'
import { Lane } from './lane.ts'
import { PgListener } from './pg-listener.ts'
import type { PgListenerOptions } from './pg-listener.ts'
import type { MaybePromise, Notification, Source, SourceHandlers, SourceState } from './source.ts'
import { Stall } from './stall.ts'
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
  /** Attempts at one notification before it is given up. @default 5 */
  readonly maxAttempts?: number
  /** Notifications that may wait; newer ones are dropped, and the gap is told. @default 100000 */
  readonly maxWaiting?: number
  /** Bytes of their payloads, likewise. @default 67108864 */
  readonly maxWaitingBytes?: number
  /** How long one notification may hold up its subsystem before that is called down. @default 5000 */
  readonly stallMs?: number
  /** How long a stop waits for the notifications in hand. @default 5000 */
  readonly drainMs?: number
}

export interface PostgresSource extends Source {
  /** Other senders: LISTENs and UNLISTENs on the open connection. */
  setNotify(notify: ReadonlyMap<string, readonly string[]>): Promise<void>
}

/**
 * Hears NOTIFY. Delivery semantics: in the order of commits, one at a time a subsystem; PostgreSQL keeps nothing
 * for a listener that is away: `onGap` tells of each such time. What fails for now is handed over again, in place,
 * and what follows waits here: a socket left unread would fill the server's NOTIFY queue, and a full one fails
 * everyone's COMMIT.
 */
export function createPostgresSource(options: PostgresSourceOptions): PostgresSource {
  return new NotifySource(options)
}

interface Waiting {
  readonly notification: Notification
  readonly bytes: number
}

class NotifySource implements PostgresSource {
  readonly name: string
  readonly #channel: string
  readonly #database: string | undefined
  readonly #retry: Retry
  readonly #maxAttempts: number
  readonly #maxWaiting: number
  readonly #maxWaitingBytes: number
  readonly #stallMs: number
  readonly #drainMs: number
  readonly #log: Log
  readonly #status: SourceStatus
  readonly #listener: PgListener
  /** By subsystem, those only that have something in hand: one that hangs holds up no other. */
  readonly #lanes = new Map<string, Lane<Waiting>>()
  /** Why a subsystem is held up, by subsystem. */
  readonly #troubles = new Map<string, string>()
  readonly #stopped = new AbortController()
  #notify: ReadonlyMap<string, readonly string[]>
  #handlers: SourceHandlers | null = null
  #listening = false
  /** Heard, and not yet done with. */
  #waiting = 0
  #waitingBytes = 0
  /** Dropped since there was no room; null while there is. */
  #dropped: number | null = null
  #stopping: Promise<void> | null = null

  constructor(options: PostgresSourceOptions) {
    this.name = options.name
    this.#channel = options.channel
    this.#notify = options.notify
    this.#database = options.database
    this.#retry = options.retry ?? DEFAULT_RETRY
    this.#maxAttempts = options.maxAttempts ?? 5
    this.#maxWaiting = options.maxWaiting ?? 100_000
    this.#maxWaitingBytes = options.maxWaitingBytes ?? 64 * 1024 * 1024
    this.#stallMs = options.stallMs ?? 5_000
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
        this.#listening = true
        this.#tell()
        if (again) handlers.onGap()
      },
      onDown: (reason) => {
        this.#listening = false
        this.#status.down(reason)
      },
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
    const lanes = [...this.#lanes.values()]
    for (const lane of lanes) lane.clear()
    await this.#listener.stop()
    await Promise.all(lanes.map((lane) => lane.idle(this.#drainMs)))
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
      for (const subsystem of subsystems) this.#push({ ...common, subsystem, json }, subsystem, payload)
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
      const notification = {
        source: this.name,
        name,
        channel,
        data,
        ...this.#from(),
        ...(json === undefined ? {} : { json: oneLine(json) }),
        ...(key === undefined ? {} : { key: `${this.name}:${key}` }),
      }
      this.#push(notification, subsystemOf(channel), payload)
    }
  }

  #from(): { database?: string } {
    return this.#database === undefined ? {} : { database: this.#database }
  }

  /** A channel belongs to one subsystem: the subsystem's order is the channel's. */
  #push(notification: Notification, subsystem: string, payload: string): void {
    const bytes = Buffer.byteLength(payload)
    if (this.#dropped !== null || !this.#hasRoom(bytes)) {
      this.#drop(notification)
      return
    }
    this.#waiting++
    this.#waitingBytes += bytes
    let lane = this.#lanes.get(subsystem)
    if (!lane) {
      const handle = (waiting: Waiting): MaybePromise<void> => this.#hand(waiting, subsystem)
      lane = new Lane(handle, () => this.#lanes.delete(subsystem))
      this.#lanes.set(subsystem, lane)
    }
    lane.push({ notification, bytes })
  }

  #hasRoom(bytes: number): boolean {
    return this.#waiting < this.#maxWaiting && this.#waitingBytes + bytes <= this.#maxWaitingBytes
  }

  #drop({ channel, name }: Notification): void {
    if (this.#dropped === null) {
      this.#dropped = 0
      const waiting = { waiting: this.#waiting, bytes: this.#waitingBytes }
      this.#log.warn(waiting, 'too many notifications wait: newer ones are dropped')
      this.#handlers?.onGap()
    }
    this.#dropped++
    this.#reject('overflow', `dropped: ${this.#waiting} wait already`, channel ?? name)
  }

  #hand({ notification, bytes }: Waiting, subsystem: string): MaybePromise<void> {
    if (!this.#handlers || this.#stopped.signal.aborted) return undefined
    let work: MaybePromise<void>
    try {
      work = this.#handlers.onNotification(notification)
    } catch (error) {
      work = Promise.reject(error)
    }
    if (work)
      return this.#finish(this.#handlers, notification, subsystem, work).then(() => this.#leave(bytes))
    this.#leave(bytes)
    return undefined
  }

  #leave(bytes: number): void {
    this.#waiting--
    this.#waitingBytes -= bytes
    if (this.#dropped === null) return
    // Not at the first that leaves: the next burst would be the next gap.
    if (this.#waiting > this.#maxWaiting / 2 || this.#waitingBytes > this.#maxWaitingBytes / 2) return
    this.#log.info({ dropped: this.#dropped }, 'notifications are taken again')
    this.#dropped = null
  }

  async #finish(
    handlers: SourceHandlers,
    notification: Notification,
    subsystem: string,
    work: Promise<void>,
  ): Promise<void> {
    const onStall = (reason: string | null): void => {
      if (reason === null) this.#troubles.delete(subsystem)
      else this.#troubles.set(subsystem, `subsystem ${subsystem} is held up: ${reason}`)
      this.#tell()
    }
    const stall = new Stall({ stallMs: this.#stallMs, onStall })
    const { signal } = this.#stopped
    const options = { maxAttempts: this.#maxAttempts, retry: this.#retry, signal, stall }
    const outcome = await attempt(handlers, notification, work, options)
    stall.end()
    if (typeof outcome === 'string') return
    // There is nobody to give a NOTIFY back to: what failed is told, and gone.
    this.#reject(outcome.code, outcome.message, notification.channel ?? notification.name)
  }

  /** Up when it listens and nothing is held up. */
  #tell(): void {
    if (!this.#listening || this.#stopped.signal.aborted) return
    const [reason] = this.#troubles.values()
    if (reason === undefined) this.#status.up()
    else this.#status.down(reason)
  }

  #reject(code: string, message: string, place: string): void {
    this.#handlers?.onReject(code, message, place)
  }
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
