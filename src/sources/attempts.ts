import { messageOf } from '../errors.ts'
import { isClientError } from '../protocol/codes.ts'
import { backoffMs, pause } from './backoff.ts'
import type { Retry } from './backoff.ts'
import type { Notification, SourceHandlers } from './source.ts'
import type { Stall } from './stall.ts'

/** Why a notification is given up. */
export interface Failure {
  /** The ClientError's own, where that can never be handled; else `failed`. */
  readonly code: string
  readonly message: string
  readonly attempts: number
}

export interface AttemptsOptions {
  readonly maxAttempts: number
  readonly retry: Retry
  /** Gives up waiting for the next attempt. */
  readonly signal: AbortSignal
  /** Told of every failure. */
  readonly stall: Stall
}

/**
 * Waits for what is under way; what may work later is tried again in place, up to `maxAttempts` times, and an
 * outage is waited for, however long it takes.
 */
export async function attempt(
  handlers: Pick<SourceHandlers, 'onNotification'>,
  notification: Notification,
  first: Promise<void>,
  { maxAttempts, retry, signal, stall }: AttemptsOptions,
): Promise<'handled' | 'abandoned' | Failure> {
  let work = first
  for (let tries = 0, attempts = 1; ; tries++) {
    try {
      await work
      return 'handled'
    } catch (error) {
      const grade = gradeOf(error)
      const message = explain(error)
      if (grade === 'never') return { code: isClientError(error) ? error.code : 'failed', message, attempts }
      // An outage is nobody's failed attempt.
      if (grade === 'failed' && attempts++ >= maxAttempts) {
        return { code: 'failed', message, attempts: maxAttempts }
      }
      stall.failed(message)
    }
    await pause(backoffMs(tries, retry), signal)
    if (signal.aborted) return 'abandoned'
    work = again(handlers, notification)
  }
}

/**
 * What an error says of the next attempt. `internal` and `timeout` are what a module's own error and its hanging
 * become on their way here: a deadlock or a slow server may be over by then.
 */
function gradeOf(error: unknown): 'outage' | 'failed' | 'never' {
  if (!isClientError(error)) return 'failed'
  if (error.code === 'unavailable') return 'outage'
  return error.code === 'internal' || error.code === 'timeout' ? 'failed' : 'never'
}

/** With the cause, that clients are not told, and operators are. */
function explain(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`
}

async function again(
  handlers: Pick<SourceHandlers, 'onNotification'>,
  notification: Notification,
): Promise<void> {
  await handlers.onNotification(notification)
}
