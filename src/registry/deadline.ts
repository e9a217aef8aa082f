import { ClientError } from '../protocol/codes.ts'

/**
 * Waits for a module's promise, but not for ever: past the deadline `onTimeout` aborts it and `timeout` is
 * thrown. What the module does later is reported to `onLate` and reaches nobody.
 */
export async function withDeadline<T>(
  work: Promise<T>,
  deadlineMs: number,
  what: string,
  { onTimeout, onLate }: { onTimeout?(error: ClientError): void; onLate(error: unknown): void },
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  let late = false
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      late = true
      const error = new ClientError('timeout', `${what} took longer than ${deadlineMs} ms`)
      onTimeout?.(error)
      reject(error)
    }, deadlineMs)
  })
  work.catch((error: unknown) => {
    if (late) onLate(error)
  })
  try {
    return await Promise.race([work, deadline])
  } finally {
    clearTimeout(timer)
  }
}
