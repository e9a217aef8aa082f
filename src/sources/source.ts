import { ClientError } from '../protocol/codes.ts'

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
  /** Every node has heard it itself: publications to transient channels are delivered here, and go over no bus. */
  readonly everywhere?: true
  /** A notification that every node hears is journaled under a lease by one, and the others know it by its mark. */
  readonly mark?: string
  readonly lease?: number
  /** See `Draft.patience`: a queue's message waits for a journal that can't be reached. */
  readonly patience?: 'wait'
}

/**
 * A notification whose place in the order is settled: the next one of its subsystem may be handed over. `kept`
 * settles when its publications are in the journal, or rejects, as `onNotification` does; none of what follows it
 * needs to be held back for that.
 */
export interface Taken {
  readonly kept: Promise<void>
}

/** What was heard and is given up. */
export interface Rejection {
  readonly code: string
  readonly message: string
  /** The channel, or the name by which it came. */
  readonly place: string
  /** Where it could be read. */
  readonly notification?: Notification
  /**
   * What came, as it came: to be kept as a dead letter. Left out where that is not this node's business (another one
   * that heard the same does it), nobody's (`overflow`), or done already (the broker has it).
   */
  readonly body?: string | Buffer
  /** Attempts at it that failed. */
  readonly attempts?: number
}

/** What will never be handled, however often it is tried: a module's fault, which clients are told as `internal`. */
export class Hopeless extends ClientError {
  constructor(message: string, cause: unknown) {
    super('internal', message)
    this.cause = cause
  }
}

export type SourceState = 'starting' | 'up' | 'down' | 'stopped'

export interface SourceHandlers {
  /**
   * Takes one notification. Resolves when its publications are handed over: with nothing when they are where they
   * belong, with a `Taken` while the journal is still at it. Rejects with ClientError `unavailable` in an outage
   * (waited for), with `internal`, `timeout` or anything else for what may work later, with `LeaseLost` where its
   * lease is another node's by now, with `Hopeless` or any other ClientError for what can never be handled. A source that can't
   * wait (NOTIFY) still keeps the order: it hands over one at a time.
   */
  onNotification(notification: Notification): MaybePromise<Taken | void>
  /**
   * Notifications may be missing: after every reconnect where the server keeps nothing meanwhile (NOTIFY), and
   * when what kept them is gone (a deleted queue), or more waited than there is room for (once each time), or than a
   * stop had time for where no other node has heard them.
   */
  onGap(): void
  /** Every change of `state`. `reason` says why it is down. */
  onState(state: SourceState, reason?: string): void
  /**
   * What was heard and is given up: counted and logged. `overflow` comes by the thousand: it is counted, and the
   * source logs it, once each time.
   */
  onReject(rejection: Rejection): void
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
