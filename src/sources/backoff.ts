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
