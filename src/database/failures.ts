import { messageOf } from '../errors.ts'
import { ClientError } from '../protocol/codes.ts'
import { codeOf } from './process.ts'

const NETWORK = new Set(
  'ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ETIMEDOUT ENOTFOUND EHOSTUNREACH ENETUNREACH EAI_AGAIN ENOENT'.split(
    ' ',
  ),
)

// What `pg` says without a code.
const LOST = /^(Connection terminated|Client (has encountered a connection error|was closed)|timeout e\w+)/

/** Whether the connection failed, and not the statement: the same may work when the server is back. */
export function isConnectionFailure(error: unknown): boolean {
  const code = codeOf(error) ?? ''
  // 08: connection exceptions; 57P01–57P03: the server stops, crashed, or can't take connections yet.
  if (NETWORK.has(code) || code.startsWith('08') || /^57P0[123]$/.test(code)) return true
  return error instanceof Error && LOST.test(error.message)
}

/** An `unavailable` for a failed connection, with its cause; everything else as it came. */
export function unavailableOr(error: unknown): unknown {
  return isConnectionFailure(error) ? unavailable(error) : error
}

export function unavailable(cause: unknown): ClientError {
  const error = new ClientError('unavailable', 'the database can not be reached at the moment')
  // Clients see the message alone; the log shows the cause, which may name hosts.
  return Object.defineProperty(error, 'cause', {
    value: cause,
    enumerable: false,
    writable: true,
    configurable: true,
  })
}

/** `host:port/database` of a URL, without user and password. */
export function placeOf(url: string): string {
  try {
    const { host, pathname, searchParams } = new URL(url)
    return `${host || searchParams.get('host') || 'localhost'}${pathname}`
  } catch (error) {
    return `(an URL that can't be read: ${messageOf(error)})`
  }
}
