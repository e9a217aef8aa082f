import { DEFAULT_RETRY } from '../backoff.ts'
import type { Retry } from '../backoff.ts'
import { Notifications } from '../database/notifications.ts'
import type { Seat } from '../database/notifications.ts'
import type { PgListenerOptions } from '../database/pg-listener.ts'
import type { Log } from '../ops/log.ts'
import type { Duty } from './duty.ts'
import { Handover } from './handover.ts'
import type { OldPublishers } from './longpolling.ts'
import { decodeNotify, namesOf } from './notify.ts'
import type { NotifyNames, Refusal } from './notify.ts'
import type { Source, SourceHandlers, SourceState } from './source.ts'
import { SourceStatus } from './status.ts'

export interface PostgresSourceOptions {
  /** `postgres`, or `postgres:<database>` for a second database. */
  readonly name: string
  /** The connection that is shared with others, who stop it; or the address of one of its own. */
  readonly listen: Notifications | PgListenerOptions
  /** The NOTIFY name that carries publications: `{"channel","data","key"?}`. */
  readonly channel: string
  /** NOTIFY names of senders: the subsystems that hear each. */
  readonly notify: ReadonlyMap<string, readonly string[]>
  /** Publishers of web_longpolling, on names of their own. @default none */
  readonly old?: OldPublishers | undefined
  /** Told to senders. @default none */
  readonly database?: string
  /** Where several nodes hear the same. Without: all is handed over by this one. @default none */
  readonly duty?: Duty
  readonly log: Log
  readonly retry?: Retry
  /** Attempts at one notification before it is given up. @default 5 */
  readonly maxAttempts?: number
  /** Notifications that may wait; newer ones are dropped, and the gap is told. @default 100000 */
  readonly maxWaiting?: number
  /** Bytes of their payloads, likewise. @default 67108864 */
  readonly maxWaitingBytes?: number
  /** How long one notification may hold up its subsystem before that is called down. @default 5000 */
  readonly stallMs?: number
  /** How long a stop goes on handing over what was heard; the rest is given up then. @default 5000 */
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
 * everyone's COMMIT. With a duty, every node has heard the same: what belongs to a transient subsystem is handed
 * over by each, for its own clients; what belongs to a journaled one, and what is refused, by the leader.
 */
export function createPostgresSource(options: PostgresSourceOptions): PostgresSource {
  return new NotifySource(options)
}

class NotifySource implements PostgresSource {
  readonly name: string
  readonly #options: PostgresSourceOptions
  readonly #notifications: Notifications
  readonly #duty: Duty | undefined
  readonly #status: SourceStatus
  readonly #stopped = new AbortController()
  #names: NotifyNames
  #handlers: SourceHandlers | null = null
  #handover: Handover | null = null
  #seat: Seat | null = null
  #listening = false
  /** Why a subsystem is held up; null while none is. */
  #trouble: string | null = null
  #stopping: Promise<void> | null = null

  constructor(options: PostgresSourceOptions) {
    const { name, listen, channel, notify, old, database, duty } = options
    this.name = name
    this.#options = options
    this.#notifications = listen instanceof Notifications ? listen : new Notifications(listen)
    this.#names = { source: name, database, channel, notify, old }
    this.#duty = duty
    this.#status = new SourceStatus(options.log.child({ source: name }))
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
    this.#handover = this.#openHandover(handlers)
    this.#status.tell(handlers)
    const attempted = new Promise<void>((resolve) => {
      this.#stopped.signal.addEventListener('abort', () => resolve(), { once: true })
      this.#seat = this.#notifications.join(this.#wanted(), {
        onNotify: (name, payload, pid) => this.#take(name, payload, pid),
        onUp: (again) => {
          this.#hears(true)
          if (again) handlers.onGap()
          resolve()
        },
        onDown: (reason) => {
          this.#hears(false, reason)
          resolve()
        },
      })
    })
    // Whoever comes first starts the shared one.
    await Promise.all([attempted, this.#notifications.start()])
  }

  async setNotify(notify: ReadonlyMap<string, readonly string[]>): Promise<void> {
    this.#names = { ...this.#names, notify }
    await this.#seat?.setNames(this.#wanted())
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  async #stop(): Promise<void> {
    this.#stopped.abort()
    const handedOver = this.#handover?.stop(this.#options.drainMs ?? 5_000)
    if (this.#notifications === this.#options.listen) await this.#leave()
    else await this.#notifications.stop()
    await handedOver
    this.#duty?.listening(this.name, true)
    this.#status.stopped()
  }

  /** On a connection that is dead the good-bye would wait until that is noticed; nothing is heard already. */
  async #leave(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, 1_000)))
    await Promise.race([this.#seat?.leave(), late])
    clearTimeout(timer)
  }

  #openHandover(handlers: SourceHandlers): Handover {
    const { log, maxAttempts = 5, retry = DEFAULT_RETRY, stallMs = 5_000 } = this.#options
    const { maxWaiting = 100_000, maxWaitingBytes = 64 * 1024 * 1024 } = this.#options
    return new Handover(handlers, {
      log: log.child({ source: this.name }),
      maxAttempts,
      retry,
      maxWaiting,
      maxWaitingBytes,
      stallMs,
      shared: this.#duty !== undefined,
      keeps: () => this.#answers,
      onTrouble: (reason) => {
        this.#trouble = reason
        this.#tell()
      },
    })
  }

  /** Whether this node tells what is wrong with that which every node has heard. */
  get #answers(): boolean {
    return this.#duty === undefined || this.#duty.leads
  }

  #wanted(): Set<string> {
    return namesOf(this.#names)
  }

  #take(name: string, payload: string, pid: number): void {
    const handover = this.#handover
    if (handover === null || this.#stopped.signal.aborted) return
    const heard = decodeNotify(name, payload, this.#names)
    if (!Array.isArray(heard)) {
      this.#refuse(heard, name, payload)
      return
    }
    for (const one of heard) {
      if (this.#duty?.isJournaled(one.subsystem) === true) this.#duty.take(one, pid, handover)
      else handover.push({ ...one, notification: { ...one.notification, everywhere: true } })
    }
  }

  #refuse({ code, message }: Refusal, name: string, payload: string): void {
    if (!this.#answers) return
    const { source, database } = this.#names
    const from = database === undefined ? {} : { database }
    const notification = { source, name, data: payload, ...from }
    this.#handlers?.onReject({ code, message, place: name, notification, body: payload, attempts: 0 })
  }

  #hears(up: boolean, reason = ''): void {
    this.#listening = up
    this.#duty?.listening(this.name, up)
    if (up) this.#tell()
    else if (!this.#stopped.signal.aborted) this.#status.down(reason)
  }

  /** Up when it listens and nothing is held up. */
  #tell(): void {
    if (!this.#listening || this.#stopped.signal.aborted) return
    if (this.#trouble === null) this.#status.up()
    else this.#status.down(this.#trouble)
  }
}
