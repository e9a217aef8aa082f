/** How long to wait between attempts: doubling from `minMs` up to `maxMs`, with full jitter. */
export interface Retry {
  readonly minMs: number
  readonly maxMs: number
}

export const DEFAULT_RETRY: Retry = { minMs: 250, maxMs: 15_000 }

/**
 * The delay before the next attempt; the first has number 0. Full jitter: a thousand nodes that lost the
 * same server don't come back in the same millisecond.
 */
export function backoffMs(attempt: number, retry: Retry): number {
  const ceiling = Math.min(retry.maxMs, retry.minMs * 2 ** Math.min(attempt, 30))
  return Math.ceil(Math.random() * ceiling)
}

/** How long a connection must have lasted for the next trouble to be a new one. */
const SETTLED_MS = 1000

/**
 * Whether the attempts begin anew after a connection that began then: a server that takes connections only to drop them
 * is not to be hammered, one that was there for a while is wanted back soon.
 */
export function isSettled(began: number, retry: Retry): boolean {
  return Date.now() - began > Math.min(SETTLED_MS, retry.maxMs)
}

/** Waits; ends early, without an error, when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve()
      return
    }
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}
