import type { Retry } from '../backoff.ts'
import type { Log } from '../ops/log.ts'
import { attempt, handOver } from './attempts.ts'
import type { Outcome } from './attempts.ts'
import { Lane } from './lane.ts'
import type { MaybePromise, Notification, SourceHandlers, Taken } from './source.ts'
import { Stall } from './stall.ts'

/** A notification on its way, and what it came as. */
export interface Heard {
  readonly notification: Notification
  /** Those of one subsystem are handed over in their order. */
  readonly subsystem: string
  readonly payload: string
  readonly bytes: number
}

/** What a notification is handed over under. */
export interface Errand {
  readonly lease: number
  /** Aborted when the lease is over: what was not handed over by then is `abandoned`. */
  readonly signal: AbortSignal
  /** Told once what became of it; `dropped` where there was no room for it. */
  settle(outcome: Outcome | 'dropped'): void
}

export interface HandoverOptions {
  readonly log: Log
  readonly maxAttempts: number
  readonly retry: Retry
  readonly maxWaiting: number
  readonly maxWaitingBytes: number
  readonly stallMs: number
  /** Whether every node has heard the same: what this one leaves undone is not missed. */
  readonly shared: boolean
  /** Whether dead letters of what every node has heard are kept by this one. */
  keeps(): boolean
  /** A subsystem is held up, and why; or none is any more: null. */
  onTrouble(reason: string | null): void
}

interface Waiting {
  readonly heard: Heard
  readonly notification: Notification
  readonly errand: Errand | null
  readonly signal: AbortSignal
}

/**
 * Hands over what was heard, one at a time a subsystem. What fails for now is handed over again, in place; what
 * follows waits here, and what finds no room is dropped and counted: whoever hears it never has to stop reading.
 */
export class Handover {
  readonly #options: HandoverOptions
  readonly #handlers: SourceHandlers
  /** What waits from here on is given up. */
  readonly #over = new AbortController()
  #stopped = false
  /** By subsystem, those only that have something in hand: one that hangs holds up no other. */
  readonly #lanes = new Map<string, Lane<Waiting>>()
  /** Why a subsystem is held up, by subsystem. */
  readonly #troubles = new Map<string, string>()
  /** Heard, and not yet done with. */
  #waiting = 0
  #waitingBytes = 0
  /** Dropped since there was no room; null while there is. */
  #dropped: number | null = null

  constructor(handlers: SourceHandlers, options: HandoverOptions) {
    this.#handlers = handlers
    this.#options = options
  }

  /** A channel belongs to one subsystem: the subsystem's order is the channel's. */
  push(heard: Heard, errand: Errand | null = null): void {
    if (this.#dropped !== null || !this.#hasRoom(heard.bytes)) {
      this.#drop(heard, errand)
      return
    }
    this.#waiting++
    this.#waitingBytes += heard.bytes
    const { signal } = errand ?? this.#over
    const notification = errand === null ? heard.notification : { ...heard.notification, lease: errand.lease }
    const waiting = { heard, notification, errand, signal }
    const lane = this.#lanes.get(heard.subsystem) ?? this.#openLane(heard.subsystem)
    lane.push(waiting)
  }

  /** A stop has begun. */
  get stopped(): boolean {
    return this.#stopped
  }

  /** Goes on for as long as something waits or is in hand, `drainMs` at the most; what is left then is given up. */
  async stop(drainMs: number): Promise<void> {
    this.#stopped = true
    const end = performance.now() + drainMs
    for (let leftMs = drainMs; this.#lanes.size > 0 && leftMs > 0; leftMs = end - performance.now()) {
      await Promise.all([...this.#lanes.values()].map((lane) => lane.idle(leftMs)))
    }
    if (this.#waiting > 0) this.#leaveUndone(drainMs)
    this.#over.abort()
  }

  #openLane(subsystem: string): Lane<Waiting> {
    const onStall = (reason: string | null): void => {
      if (reason === null) this.#troubles.delete(subsystem)
      else this.#troubles.set(subsystem, `subsystem ${subsystem} is held up: ${reason}`)
      const [first = null] = this.#troubles.values()
      this.#options.onTrouble(first)
    }
    const stall = new Stall({ stallMs: this.#options.stallMs, onStall })
    const lane = new Lane<Waiting>(
      (waiting) => this.#hand(waiting, stall),
      () => this.#lanes.delete(subsystem),
    )
    this.#lanes.set(subsystem, lane)
    return lane
  }

  #hand(waiting: Waiting, stall: Stall): MaybePromise<Taken | void> {
    const { notification, signal } = waiting
    if (signal.aborted || this.#over.signal.aborted) return this.#settle(waiting, 'abandoned')
    const work = handOver(this.#handlers, notification)
    if (!work) return this.#settle(waiting, 'handled')
    const { maxAttempts, retry } = this.#options
    const watch = stall.watch()
    return attempt(this.#handlers, notification, work, {
      maxAttempts,
      retry,
      signal,
      watch,
      finish: (outcome) => {
        watch.end()
        this.#settle(waiting, outcome)
      },
    })
  }

  #settle({ heard, errand }: Waiting, outcome: Outcome): void {
    this.#leave(heard.bytes)
    errand?.settle(outcome)
    if (typeof outcome !== 'string') this.#giveUp(heard, outcome)
  }

  /** There is nobody to give a NOTIFY back to: what failed is told, and gone. */
  #giveUp({ notification, payload }: Heard, failure: Exclude<Outcome, string>): void {
    const place = notification.channel ?? notification.name
    const keeps = notification.everywhere !== true || this.#options.keeps()
    this.#handlers.onReject({ ...failure, place, notification, ...(keeps ? { body: payload } : {}) })
  }

  #hasRoom(bytes: number): boolean {
    const { maxWaiting, maxWaitingBytes } = this.#options
    return this.#waiting < maxWaiting && this.#waitingBytes + bytes <= maxWaitingBytes
  }

  #drop({ notification }: Heard, errand: Errand | null): void {
    if (this.#dropped === null) {
      this.#dropped = 0
      const waiting = { waiting: this.#waiting, bytes: this.#waitingBytes }
      this.#options.log.warn(waiting, 'too many notifications wait: newer ones are dropped')
      this.#handlers.onGap()
    }
    this.#dropped++
    const place = notification.channel ?? notification.name
    this.#handlers.onReject({ code: 'overflow', message: `dropped: ${this.#waiting} wait already`, place })
    errand?.settle('dropped')
  }

  #leaveUndone(drainMs: number): void {
    const { log, shared } = this.#options
    const fields = { count: this.#waiting, drainMs }
    if (shared) {
      log.warn(
        fields,
        'stopped before all notifications were handed over: the rest is left to the other nodes',
      )
      return
    }
    log.warn(fields, 'stopped before all notifications were handed over: the rest is lost')
    this.#handlers.onGap()
  }

  #leave(bytes: number): void {
    this.#waiting--
    this.#waitingBytes -= bytes
    if (this.#dropped === null) return
    // Not at the first that leaves: the next burst would be the next gap.
    const { maxWaiting, maxWaitingBytes } = this.#options
    if (this.#waiting > maxWaiting / 2 || this.#waitingBytes > maxWaitingBytes / 2) return
    this.#options.log.info({ dropped: this.#dropped }, 'notifications are taken again')
    this.#dropped = null
  }
}
