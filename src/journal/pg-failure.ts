import { isClientError } from '../protocol/codes.ts'

/**
 * What became of a statement that failed. `data`: the server refused what it was given, and will again, or it could not
 * even be put into a message. `lease`: the lease is another's. `not done`: it may work later. `doubt`: the connection or a deadline ended it, and nobody knows.
 */
export type Failure = 'data' | 'lease' | 'not done' | 'doubt'

/** 22: no value of its type; 23: a constraint; 54: larger than an index or a row may be. */
const DATA = /^(22|23|54)/

/** There was no connection that it could have been sent on; 53: too many, 57P03: the server is starting. */
const NOT_SENT =
  /^(ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|ENOENT|3D000|28...|53...|57P03)$/

export function failureOf(error: unknown): Failure {
  if (isClientError(error)) {
    // The pool says so of connections that were lost, and of those that could not be had.
    const { cause } = error
    const code = codeOf(cause)
    if (code !== undefined && NOT_SENT.test(code)) return 'not done'
    return cause instanceof Error && cause.message.startsWith('timeout exceeded') ? 'not done' : 'doubt'
  }
  if (isUnsayable(error)) return 'data'
  const code = codeOf(error)
  if (code === undefined || code.length !== 5) return 'doubt'
  if (code === 'LM001') return 'lease'
  return DATA.test(code) ? 'data' : 'not done'
}

/** `pg` raises these while it makes the message, before a byte of it is sent: a string too long, a value of no type. */
function isUnsayable(error: unknown): boolean {
  return error instanceof RangeError || error instanceof TypeError || codeOf(error) === 'ERR_STRING_TOO_LONG'
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
