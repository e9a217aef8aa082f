import type { EventEmitter } from 'node:events'

/** How long a test waits for what must come; far beyond what it takes. */
export const DEADLINE_MS = 20_000

/** Whatever ends with a test: tap's `t`. */
export interface Teardown {
  teardown(work: () => unknown): unknown
}

/**
 * Waits until `probe` returns something truthy, and returns that. A rejection of the probe counts as
 * "not yet"; the last one is the cause when the deadline passes.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  deadlineMs = DEADLINE_MS,
): Promise<NonNullable<T>> {
  const end = Date.now() + deadlineMs
  let cause: unknown
  for (;;) {
    try {
      const value = await probe()
      if (value) return value
      cause = undefined
    } catch (error) {
      cause = error
    }
    if (Date.now() > end) throw new Error(`waited ${deadlineMs} ms in vain for: ${what}`, { cause })
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** The promise's value, or an error that says what did not come in time. */
export async function within<T>(what: string, promise: Promise<T>, deadlineMs = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${deadlineMs} ms in vain for: ${what}`)), deadlineMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The arguments of an emitter's next event. */
export function nextEvent(
  emitter: EventEmitter,
  event: string,
  deadlineMs = DEADLINE_MS,
): Promise<unknown[]> {
  const came = new Promise<unknown[]>((resolve) => emitter.once(event, (...args: unknown[]) => resolve(args)))
  return within(`event ${event}`, came, deadlineMs)
}
