import { CLOSE, ClientError } from '../../protocol/codes.ts'
import { closeCodeOf } from '../endings.ts'

/**
 * Whether what ends with this code is a matter of this moment only: the same request is to be made again, here or at
 * another node. Clients of WebSockets come back after more than these, but look at what they ask for first.
 */
export function isPassing(code: number): boolean {
  return code === CLOSE.goingAway || (code >= 1011 && code <= 1013)
}

/** As `isPassing`, of what a request is refused with: too many from one address now may be fewer in a moment. */
export function isPassingError(error: ClientError): boolean {
  return error.code === 'rate_limited' || isPassing(closeCodeOf(error))
}

/** After how many ms who could not be served now is to come back: a time of its own for each. */
export function retryMs(): number {
  return Math.floor(MIN_RETRY_MS + Math.random() * (MAX_RETRY_MS - MIN_RETRY_MS))
}

/** `Retry-After` where the error is a matter of this moment only. */
export function retryHeaders(error: ClientError): Readonly<Record<string, string>> {
  return isPassingError(error) ? { 'Retry-After': String(Math.ceil(retryMs() / 1000)) } : {}
}

const MIN_RETRY_MS = 1000
const MAX_RETRY_MS = 5000

/** What a client is told that is closed with this code before its answer has begun. */
export function closeError(code: number, reason: string): ClientError {
  switch (code) {
    case CLOSE.unauthenticated:
    case CLOSE.authenticationTimeout:
      return new ClientError('unauthenticated', reason)
    case CLOSE.tokenExpired:
      return new ClientError('unauthenticated', reason, { reason: 'expired' })
    case CLOSE.rateLimited:
    case CLOSE.tooSlow:
      return new ClientError('rate_limited', reason)
    case CLOSE.badFrame:
      return new ClientError('invalid_input', reason)
    default:
      return new ClientError(isPassing(code) ? 'unavailable' : 'forbidden', reason)
  }
}
