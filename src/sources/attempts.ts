import { messageOf } from '../errors.ts'
import { LeaseLost } from '../journal/journal.ts'
import { isClientError } from '../protocol/codes.ts'
import { backoffMs, pause } from '../backoff.ts'
import type { Retry } from '../backoff.ts'
import { Hopeless } from './source.ts'
import type { MaybePromise, Notification, SourceHandlers, Taken } from './source.ts'
import type { Watch } from './stall.ts'

/** Why a notification is given up. */
export interface Failure {
  /** The ClientError's own, where that can never be handled; else `failed`. */
  readonly code: string
  readonly message: string
  readonly attempts: number
}

/**
 * What became of a notification; `abandoned` where the signal ended the waiting for its next attempt, or the lease
 * under which it was handed over is another node's.
 */
export type Outcome = 'handled' | 'abandoned' | Failure

export interface AttemptsOptions {
  readonly maxAttempts: number
  readonly retry: Retry
  /** Gives up waiting for the next attempt. */
  readonly signal: AbortSignal
  /** Told of every failure. */
  readonly watch: Watch
  /** Called once with what became of it; answers for its own errors. What it returns is waited for. */
  finish(outcome: Outcome): MaybePromise<void>
}

type Handlers = Pick<SourceHandlers, 'onNotification'>

/** Hands a notification over; what would be thrown rejects. */
export function handOver(handlers: Handlers, notification: Notification): MaybePromise<Taken | void> {
  try {
    return handlers.onNotification(notification)
  } catch (error) {
    return Promise.reject(error)
  }
}

/**
 * Sees through what was handed over: what may work later is tried again in place, up to `maxAttempts` times, and an
 * outage is waited for, however long it takes. Gives what a `Lane` wants: nothing or a promise of it when it is
 * done with, a `Taken` as soon as the next notification may be handed over. Neither rejects.
 *
 * @param first what `handOver` gave
 */
export function attempt(
  handlers: Handlers,
  notification: Notification,
  first: Taken | Promise<Taken | void>,
  options: AttemptsOptions,
): MaybePromise<Taken | void> {
  const attempts = new Attempts(handlers, notification, options)
  return first instanceof Promise ? attempts.place(first) : attempts.keep(first)
}

/** The attempts at one notification, counted together before and after its place was settled. */
class Attempts {
  readonly #handlers: Handlers
  readonly #notification: Notification
  readonly #options: AttemptsOptions
  #tries = 0
  #failed = 0

  constructor(handlers: Handlers, notification: Notification, options: AttemptsOptions) {
    this.#handlers = handlers
    this.#notification = notification
    this.#options = options
  }

  async place(first: MaybePromise<Taken | void>): Promise<Taken | void> {
    for (let work = first; ; work = handOver(this.#handlers, this.#notification)) {
      let end: Outcome | null
      try {
        const taken = await work
        if (taken) return this.keep(taken)
        end = 'handled'
      } catch (error) {
        end = await this.#fail(error)
      }
      if (end !== null) return this.#options.finish(end)
    }
  }

  keep({ kept }: Taken): Taken {
    this.#options.watch.placed()
    return { kept: this.#keep(kept) }
  }

  async #keep(kept: Promise<void>): Promise<void> {
    let end: Outcome | null
    try {
      await kept
      end = 'handled'
    } catch (error) {
      end = await this.#fail(error)
    }
    if (end !== null) return this.#options.finish(end)
    // Those behind it may be in the journal by now: it lost its place, but it is not lost.
    const taken = await this.place(handOver(this.#handlers, this.#notification))
    return taken?.kept
  }

  /** Waits for the next attempt: null; or gives the outcome where there is to be none. */
  async #fail(error: unknown): Promise<Outcome | null> {
    if (error instanceof LeaseLost) return 'abandoned'
    const { maxAttempts, retry, signal, watch } = this.#options
    const grade = gradeOf(error)
    const message = explain(error)
    if (grade !== 'outage') this.#failed++ // an outage is nobody's failed attempt
    if (grade === 'never') {
      return { code: isClientError(error) ? error.code : 'failed', message, attempts: this.#failed }
    }
    if (this.#failed >= maxAttempts) return { code: 'failed', message, attempts: this.#failed }
    watch.failed(message)
    await pause(backoffMs(this.#tries++, retry), signal)
    return signal.aborted ? 'abandoned' : null
  }
}

/**
 * What an error says of the next attempt. `internal` and `timeout` are what a module's own error and its hanging
 * become on their way here: a deadlock or a slow server may be over by then.
 */
function gradeOf(error: unknown): 'outage' | 'failed' | 'never' {
  if (!isClientError(error)) return 'failed'
  if (error.code === 'unavailable') return 'outage'
  if (error instanceof Hopeless) return 'never'
  return error.code === 'internal' || error.code === 'timeout' ? 'failed' : 'never'
}

/** With the cause, that clients are not told, and operators are. */
function explain(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`
}
