import { ClientError } from '../protocol/codes.ts'

/**
 * What a module returned, where it must be waited for; null for a plain value. Modules may use promises of
 * another kind than the language's: a query builder's is one too.
 */
export function pending<T>(value: T | PromiseLike<T>): Promise<T> | null {
  if (value instanceof Promise) return value
  if (typeof value !== 'object' || value === null || !('then' in value)) return null
  return typeof value.then === 'function' ? Promise.resolve(value) : null
}

/**
 * Waits for a module's promise, but not for ever: past the deadline `onTimeout` aborts it and `timeout` is
 * thrown. What the module does later is reported to `onLate` and reaches nobody.
 */
export function withDeadline<T>(
  work: Promise<T>,
  deadlineMs: number,
  what: string,
  { onTimeout, onLate }: { onTimeout?(error: ClientError): void; onLate(error: unknown): void },
): Promise<T> {
  // By hand: Promise.race and what it needs around it cost most of what a call that waits costs.
  return new Promise((resolve, reject) => {
    let late = false
    const timer = setTimeout(() => {
      late = true
      const error = new ClientError('timeout', `${what} took longer than ${deadlineMs} ms`)
      try {
        onTimeout?.(error)
      } finally {
        reject(error)
      }
    }, deadlineMs)
    work.then(
      (value) => {
        clearTimeout(timer)
        resolve(value)
      },
      (error: unknown) => {
        if (late) return onLate(error)
        clearTimeout(timer)
        reject(error)
      },
    )
  })
}
