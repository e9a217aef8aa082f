import { Socket } from 'node:net'
import pgListen from 'pg-listen'
import { messageOf } from '../errors.ts'
import { backoffMs, DEFAULT_RETRY, pause, isSettled } from '../backoff.ts'
import type { Retry } from '../backoff.ts'

export interface PgListenerOptions {
  readonly url: string
  /** As pg_stat_activity shows it. @default 'livemessages listen' */
  readonly applicationName?: string
  readonly retry?: Retry
  /** Time to connect and LISTEN to everything. @default 10000 */
  readonly connectMs?: number
  /**
   * Interval of the checks whether the server still answers: a connection that died without a word is noticed
   * within twice this time. @default 10000
   */
  readonly checkMs?: number
  /** How long a stop waits for a good-bye before the socket is destroyed. @default 1000 */
  readonly closeMs?: number
}

export interface PgListenerHandlers {
  /** Every NOTIFY, in the order of their commits; an empty payload is ''. `pid` is the backend that said it. */
  onNotify(name: string, payload: string, pid: number): void
  /** All names are listened to. `again`: there was a time without, and notifications may be missing. */
  onUp(again: boolean): void
  /** The connection was lost, or an attempt failed. */
  onDown(reason: string): void
}

/**
 * One LISTEN connection that comes back for ever. pg-listen by itself gives up after 3 s, and a `close()`
 * during its reconnect leaves the new client behind: so each connection is a subscriber of its own that may
 * not reconnect, on a socket that is ours, and the loop is here.
 */
export class PgListener {
  readonly #options: Required<PgListenerOptions>
  readonly #stopped = new AbortController()
  #names: ReadonlySet<string>
  #session: Session | null = null
  #running: Promise<void> | null = null
  /** A pooler in between may refuse startup options: then it is asked without. */
  #plain = false

  constructor(names: Iterable<string>, options: PgListenerOptions) {
    this.#names = new Set(names)
    this.#options = {
      applicationName: 'livemessages listen',
      retry: DEFAULT_RETRY,
      connectMs: 10_000,
      checkMs: 10_000,
      closeMs: 1_000,
      ...options,
    }
  }

  /** Resolves after the first attempt, whatever came of it. */
  start(handlers: PgListenerHandlers): Promise<void> {
    return new Promise((resolve) => {
      this.#running ??= this.#run(handlers, resolve)
    })
  }

  /** Changes what is listened to, on the open connection. Resolves when it is so, or will be on the next one. */
  async setNames(names: Iterable<string>): Promise<void> {
    this.#names = new Set(names)
    await this.#session?.listen(this.#names)
  }

  /** Idempotent; nothing comes afterwards, and no socket is left, whatever the server does. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#session?.close(this.#options.closeMs)
    await this.#running
  }

  async #run(handlers: PgListenerHandlers, first: () => void): Promise<void> {
    const { retry } = this.#options
    const { signal } = this.#stopped
    let attempt = 0
    for (let again = false; !signal.aborted; again = true) {
      const session = new Session(this.#options, this.#plain, (name, payload, pid) => {
        if (!signal.aborted) handlers.onNotify(name, payload, pid)
      })
      this.#session = session
      const began = Date.now()
      if ((await session.open(this.#names)) && !signal.aborted) {
        handlers.onUp(again)
        first()
      }
      const reason = await session.ended
      this.#session = null
      if (signal.aborted) break
      if (reason.includes('unsupported startup parameter') && !this.#plain) {
        this.#plain = true
        continue
      }
      handlers.onDown(reason)
      first()
      if (isSettled(began, retry)) attempt = 0
      await pause(backoffMs(attempt++, retry), signal)
    }
    first()
  }
}

/** One connection, from its first byte to its last. */
class Session {
  /** Resolves with the reason once the socket is closed. */
  readonly ended: Promise<string>
  readonly #options: Required<PgListenerOptions>
  readonly #socket = new Socket()
  readonly #subscriber
  readonly #listening = new Set<string>()
  #wanted: ReadonlySet<string> = new Set()
  #syncing: Promise<void> | null = null
  #checks: NodeJS.Timeout | undefined
  #unanswered = false
  #waited = false
  #alive = false
  #bytes = 0
  #up = false
  #reason: string | null = null

  constructor(
    options: Required<PgListenerOptions>,
    plain: boolean,
    onNotify: PgListenerHandlers['onNotify'],
  ) {
    this.#options = options
    const socket = this.#socket
    this.#subscriber = pgListen.default(
      {
        connectionString: options.url,
        application_name: options.applicationName,
        keepAliveInitialDelayMillis: options.checkMs,
        ...(plain ? {} : { options: SERVER_SIDE }),
        stream: () => socket,
      },
      { parse: (text) => text, retryLimit: 1, paranoidChecking: false },
    )
    this.#subscriber.events.on('notification', ({ channel, payload, processId }) => {
      onNotify(channel, typeof payload === 'string' ? payload : '', processId)
    })
    // Whatever it complains of, the connection is over: with retryLimit 1 it can't make another one.
    this.#subscriber.events.on('error', () => this.fail('the server ended the connection'))
    socket.on('error', (error) => (this.#reason ??= messageOf(error)))
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        clearInterval(this.#checks)
        resolve(this.#reason ?? 'the server closed the connection')
      })
    })
  }

  /** False when it failed: `ended` says why. */
  async open(names: ReadonlySet<string>): Promise<boolean> {
    const { connectMs, checkMs } = this.#options
    const deadline = setTimeout(() => this.fail(`no answer within ${connectMs} ms`), connectMs)
    try {
      // Losing the socket settles it too: pg leaves some callers without an answer then.
      this.#wanted = names // by the time it is connected they may be others
      const work = this.#subscriber.connect().then(() => this.#sync(this.#wanted))
      await Promise.race([work, this.ended.then((reason) => Promise.reject(new Error(reason)))])
    } catch (error) {
      this.fail(messageOf(error))
      return false
    } finally {
      clearTimeout(deadline)
    }
    this.#up = true
    this.#checks = setInterval(() => this.#check(), checkMs)
    return true
  }

  async listen(names: ReadonlySet<string>): Promise<void> {
    this.#wanted = names
    if (!this.#up) return
    try {
      await Promise.race([this.#sync(names), this.ended])
    } catch (error) {
      this.fail(messageOf(error))
    }
  }

  async close(closeMs: number): Promise<void> {
    this.#reason ??= 'closed'
    if (!this.#up) {
      this.#socket.destroy()
    } else {
      const deadline = setTimeout(() => this.#socket.destroy(), closeMs)
      await Promise.race([this.#subscriber.close(), this.ended])
      clearTimeout(deadline)
      this.#socket.destroy()
    }
    await this.ended
  }

  fail(reason: string): void {
    this.#reason ??= reason
    this.#socket.destroy()
  }

  /** LISTENs and UNLISTENs until what is wanted is so; one query at a time, as pg wants it. */
  #sync(names: ReadonlySet<string>): Promise<void> {
    this.#wanted = names
    this.#syncing ??= this.#settle().finally(() => (this.#syncing = null))
    return this.#syncing
  }

  async #settle(): Promise<void> {
    for (;;) {
      const missing = [...this.#wanted].find((name) => !this.#listening.has(name))
      const surplus = [...this.#listening].find((name) => !this.#wanted.has(name))
      if (missing !== undefined) {
        await this.#subscriber.listenTo(missing)
        this.#listening.add(missing)
      } else if (surplus !== undefined) {
        await this.#subscriber.unlisten(surplus)
        this.#listening.delete(surplus)
      } else {
        return
      }
    }
  }

  #check(): void {
    const { bytesRead } = this.#socket
    const silent = bytesRead === this.#bytes
    this.#bytes = bytesRead
    const waiting = this.#unanswered || this.#syncing !== null
    // What was asked before the last check should have been answered by now.
    if (waiting && this.#waited && silent)
      this.fail(`no answer to a check within ${this.#options.checkMs} ms`)
    this.#waited = waiting
    if (waiting) return
    this.#waited = true
    this.#unanswered = true
    void this.#ask().then(
      () => (this.#unanswered = false),
      (error: unknown) => this.fail(messageOf(error)),
    )
  }

  /**
   * pg-listen has no query of its own to offer but LISTEN and UNLISTEN: cheap, and it fails where listening
   * itself no longer works (a server that became a standby).
   */
  async #ask(): Promise<void> {
    this.#alive = !this.#alive
    if (this.#alive) await this.#subscriber.listenTo(CHECK_NAME)
    else await this.#subscriber.unlisten(CHECK_NAME)
  }
}

const CHECK_NAME = 'livemessages_check'

/**
 * A listener that vanished or is frozen would hold the server's NOTIFY queue, and a full one fails everyone's
 * COMMIT: the server is to end such a session itself.
 */
const SERVER_SIDE = [
  '-c tcp_keepalives_idle=15',
  '-c tcp_keepalives_interval=5',
  '-c tcp_keepalives_count=3',
  '-c tcp_user_timeout=30000',
].join(' ')
