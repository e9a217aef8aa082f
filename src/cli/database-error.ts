import { codeOf } from '../database/process.ts'
import { lacksSchema } from '../database/refusals.ts'
import { LivemessageError, messageOf } from '../errors.ts'

/** What a command says of a statement that failed: not reached, not migrated, or the server's own words. */
export function databaseError(error: unknown): LivemessageError {
  if (error instanceof LivemessageError) return error
  const { cause } = error instanceof Error ? error : {}
  // What the pool throws when there is no connection; its cause says why.
  if (codeOf(error) === 'unavailable') {
    return new LivemessageError('DATABASE_UNREACHABLE', `postgres: ${messageOf(cause ?? error)}`, {
      cause: error,
    })
  }
  // No such function, schema or table; no such column.
  const missing = lacksSchema(error) || codeOf(error) === '42703'
  const hint = missing ? "; 'livemessage migrate' brings the schema up to date" : ''
  return new LivemessageError('DATABASE_FAILED', `postgres: ${messageOf(error)}${hint}`, { cause: error })
}
