/** A value, or a promise of it: what is ready is not awaited. */
export type MaybePromise<T> = T | Promise<T>

/**
 * What a source heard. With `channel` it already is a publication; without, it goes to the sender of
 * `subsystem`, which routes it.
 */
export interface Notification {
  /** The source's name: `postgres`, `amqp`, `http`, or `postgres:<database>` for a second database. */
  readonly source: string
  /** The NOTIFY name, the routing key or the path it came by. */
  readonly name: string
  readonly channel?: string
  readonly subsystem?: string
  /** The body, decoded. Senders get it frozen. */
  readonly data: unknown
  /** The body's JSON text where the source has it at hand: it is sent on as it is, numbers included. */
  readonly json?: string
  /** An idempotency key, already scoped to its publisher. */
  readonly key?: string
  /** AMQP headers or HTTP headers that the source passes on. */
  readonly headers?: Readonly<Record<string, unknown>>
  /** The database that a NOTIFY came from. */
  readonly database?: string
}

export type SourceState = 'starting' | 'up' | 'down' | 'stopped'

export interface SourceHandlers {
  /**
   * Takes one notification. Resolves when its publications are handed over (journaled, where the channel
   * has a history); rejects with ClientError `unavailable` in an outage (waited for), with `internal`,
   * `timeout` or anything else for what may work later, with any other ClientError for what can never be handled. A source that can't wait (NOTIFY) still keeps the order: it hands over one at a time.
   */
  onNotification(notification: Notification): MaybePromise<void>
  /**
   * Notifications may be missing: after every reconnect where the server keeps nothing meanwhile (NOTIFY), and
   * when what kept them is gone (a deleted queue), or more waited than there is room for (once each time).
   */
  onGap(): void
  /** Every change of `state`. `reason` says why it is down. */
  onState(state: SourceState, reason?: string): void
  /**
   * What was heard and is given up: counted and logged. `overflow` comes by the thousand: it is counted, and the
   * source logs it, once each time.
   */
  onReject(code: string, message: string, place: string): void
}

/** Where notifications come from. */
export interface Source {
  readonly name: string
  readonly state: SourceState
  /** Why it is down, for `/readyz`; null while it is up. */
  readonly reason: string | null
  /**
   * Starts listening, and goes on trying for ever where the server can't be reached: resolves after the
   * first attempt, whatever came of it. `state` tells.
   */
  start(handlers: SourceHandlers): Promise<void>
  /** Idempotent; resolves when nothing more will be delivered. */
  stop(): Promise<void>
}
