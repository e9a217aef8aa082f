import { ClientError, type Notification } from 'livemessages'

/** Whether it is PostgreSQL's: several nodes may have heard it, so that nothing may come of it twice. */
export function isNotify({ source }: Notification): boolean {
  return source === 'postgres' || source.startsWith('postgres:')
}

/**
 * What a statement of a sender failed with. What the database can't hold (class 22) or a constraint forbids (23) is the
 * publisher's mistake, and no reason to try again.
 */
export function commandFailure(error: unknown): unknown {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  if (typeof code !== 'string' || !(error instanceof Error)) return error
  if (code === '23505') return new ClientError('conflict', error.message)
  return /^2[23]/.test(code) ? new ClientError('invalid_input', error.message) : error
}
