import { CLOSE, ClientError } from '../../protocol/codes.ts'

/** Whether what ends with this code is a matter of this moment only. */
export function comesBack(code: number): boolean {
  return code === CLOSE.goingAway || (code >= 1011 && code <= 1013)
}

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
      return new ClientError(comesBack(code) ? 'unavailable' : 'forbidden', reason)
  }
}
