/** What a client is told in an `error` frame or an HTTP error body, with the HTTP status of each. */
export const ERROR_STATUS = {
  bad_frame: 400,
  unknown_type: 400,
  unauthenticated: 401,
  forbidden: 403,
  unknown_action: 404,
  unknown_channel: 404,
  unknown_session: 404,
  not_found: 404,
  method_not_allowed: 405,
  invalid_input: 400,
  conflict: 409,
  too_large: 413,
  rate_limited: 429,
  limit_exceeded: 429,
  timeout: 503,
  unavailable: 503,
  internal: 500,
} as const

export type ErrorCode = keyof typeof ERROR_STATUS

/** Close codes of the WebSocket. Clients come back after 1001, 1006, 1011–1013 and 4450–4499. */
export const CLOSE = {
  goingAway: 1001,
  tooBig: 1009,
  restarting: 1012,
  badFrame: 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  disconnected: 4405,
  tooSlow: 4450,
  rateLimited: 4451,
  authenticationTimeout: 4452,
  tokenExpired: 4453,
} as const

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE]

/** Whether a WebSocket server may close with this code: `ws` refuses others, browsers don't show them. */
export function isCloseCode(code: unknown): boolean {
  if (!Number.isInteger(code)) return false
  const number = code as number
  return [1000, 1001, 1008, 1011, 1012, 1013].includes(number) || (number >= 3000 && number <= 4999)
}

/** A close frame has room for 123 bytes of reason. */
const MAX_REASON_BYTES = 123

/** The reason, cut to what a close frame can carry. */
export function closeReason(reason: unknown): string {
  const text = String(reason)
  if (text.length * 3 <= MAX_REASON_BYTES) return text
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(MAX_REASON_BYTES))
  return text.slice(0, read)
}

/**
 * An error that a client is told: its code, its message and its details go over the wire. Actions and hooks
 * may throw it; anything else that they throw becomes `internal`, and stays in the log.
 */
export class ClientError extends Error {
  readonly code: ErrorCode
  readonly details: unknown

  constructor(code: ErrorCode, message: string, details?: unknown) {
    super(message)
    this.name = 'ClientError'
    this.code = code
    this.details = details
  }
}

/** By name and code: a module may have loaded another copy of this package. */
export function isClientError(error: unknown): error is ClientError {
  return error instanceof Error && error.name === 'ClientError' && isErrorCode((error as ClientError).code)
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_STATUS, code)
}
