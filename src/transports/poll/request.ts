import type { Request } from '../../listeners/listener.ts'
import { invalid } from '../fields.ts'

/** What a request to `/poll` asks for. */
export interface PollRequest {
  readonly channels: readonly string[]
  readonly since: string | null
  /** How long it may be held open; 0: not at all. */
  readonly waitMs: number
  /** A session that spans requests: a new one, or one that the client knows. */
  readonly session: { readonly id: string | null; readonly secret: string } | null
  /** The header, for plain polling; empty where it is not there. */
  readonly ifNoneMatch: string
}

export const SECRET_HEADER = 'livemessage-secret'

const DEFAULT_WAIT_MS = 25_000
const MAX_WAIT_S = 60

/** @throws {ClientError} invalid_input */
export function readPollRequest(request: Request): PollRequest {
  const parameters = new URLSearchParams(request.query)
  const wait = parameters.get('wait')
  const session = parameters.get('session')
  return {
    channels: [...new Set(parameters.getAll('channel'))],
    since: parameters.get('since'),
    // Nobody waits for a head.
    waitMs: request.method === 'HEAD' ? 0 : wait === null ? DEFAULT_WAIT_MS : readWait(wait),
    session:
      session === null
        ? null
        : {
            id: session === 'new' ? null : session,
            secret: request.header(SECRET_HEADER) || (parameters.get('secret') ?? ''),
          },
    ifNoneMatch: request.header('if-none-match'),
  }
}

export function readWait(text: string): number {
  const seconds = /^\d{1,2}(\.\d{1,3})?$/.test(text) ? Number(text) : NaN
  if (seconds <= MAX_WAIT_S) return seconds * 1000
  throw invalid(`wait: expected a number of seconds from 0 to ${MAX_WAIT_S}`)
}
