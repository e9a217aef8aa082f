import { CLOSE, type CloseCode, type ClientError, isClientError } from '../protocol/codes.ts'

/** The code that a connection is closed with when it could not be opened. */
export function closeCodeOf(error: unknown): number {
  if (!isClientError(error)) return 1011
  switch (error.code) {
    case 'unauthenticated':
      return unauthenticatedCode(error)
    case 'rate_limited':
    case 'limit_exceeded':
      return CLOSE.rateLimited
    case 'internal':
    case 'unavailable':
    case 'timeout':
      return 1011
    case 'invalid_input':
      return CLOSE.badFrame
    default:
      return CLOSE.forbidden
  }
}

/** A token that was good comes back as a new one: the client is told so by 4453. */
export function unauthenticatedCode({ details }: ClientError): CloseCode {
  const expired = (details as { readonly reason?: unknown } | null | undefined)?.reason === 'expired'
  return expired ? CLOSE.tokenExpired : CLOSE.unauthenticated
}

/** Whether clients connect again by themselves after this code. */
export function comesBack(code: number): boolean {
  return code === CLOSE.goingAway || (code >= 1011 && code <= 1013) || (code >= 4450 && code <= 4499)
}

/** What a close code means, for `disconnect` hooks. */
export function reasonOf(code: number): string {
  return REASONS[code] ?? (code === 1000 || code === 1005 ? 'left' : 'closed')
}

const REASONS: Readonly<Record<number, string>> = {
  1001: 'going away',
  1006: 'connection lost',
  1009: 'frame too big',
  1012: 'restart',
  4400: 'bad frame',
  4401: 'unauthenticated',
  4403: 'forbidden',
  4405: 'disconnected',
  4450: 'too slow',
  4451: 'rate limited',
  4452: 'authentication took too long',
  4453: 'token expired',
}
