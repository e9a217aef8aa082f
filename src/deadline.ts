import { setMaxListeners } from 'node:events'

/**
 * Does the work under a signal that aborts after `ms` (reason: a `TimeoutError`), or as soon as one of `signals` does
 * (with its reason). The work is what heeds it: what hears nothing of its signal is waited for all the same.
 */
export function withDeadline<T>(
  ms: number,
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return withAny(signals, async (signal, abort) => {
    // The timers hold this one and it holds the controller. AbortSignal.any holds its sources by weak references only:
    // in Node 20 an AbortSignal.timeout among them is collected before it fires.
    const timer = setTimeout(() => abort(new DOMException(`no end within ${ms} ms`, 'TimeoutError')), ms)
    try {
      return await work(signal)
    } finally {
      clearTimeout(timer)
    }
  })
}

/** Does the work under a signal that aborts as soon as one of `signals` does; they forget it when the work ends. */
export async function withAny<T>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal, abort: (reason: unknown) => void) => Promise<T>,
): Promise<T> {
  const over = new AbortController()
  const abort = (reason: unknown): void => over.abort(reason)
  const follow = ({ target }: Event): void => {
    if (target instanceof AbortSignal) abort(target.reason)
  }
  const aborted = signals.find((signal) => signal.aborted)
  if (aborted) abort(aborted.reason)
  for (const signal of signals) {
    setMaxListeners(0, signal) // much may be under way at once, and nothing stays
    signal.addEventListener('abort', follow)
  }
  try {
    return await work(over.signal, abort)
  } finally {
    for (const signal of signals) signal.removeEventListener('abort', follow)
  }
}
