import type { Request, Response } from '../listeners/listener.ts'
import { ClientError } from '../protocol/codes.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import { invalid } from './fields.ts'
import { JSON_HEADERS, type RequestHandler } from './http.ts'

export interface DoorDependencies {
  readonly live: Live
  /** False when the daemon is stopping. */
  accepting(): boolean
  refuse(response: Response, error: unknown): void
}

/** Who asks, and with which idempotency key. */
export interface Caller {
  readonly publisher: string
  readonly key: string
}

/** What surrounds the data in a body. */
const ENVELOPE_BYTES = 2048
/** Channels of one request, and the room that a name takes. */
export const MAX_CHANNELS = 1000
const CHANNEL_BYTES = 270
export const MAX_KEY = 256
/** Characters of a session, a user id, a channel. */
export const MAX_NAME = 1024

/** A POST of the server API: only for who may, only as JSON; `work` answers with JSON text. */
export function post(
  deps: DoorDependencies,
  work: (bytes: Buffer | null, caller: Caller) => MaybePromise<string>,
): RequestHandler {
  return (request, response) => {
    const publisher = admit(deps, request)
    if (!deps.accepting()) throw new ClientError('unavailable', 'shutting down')
    // A page of another origin can't send this type without asking first.
    if (!/^application\/json\b/i.test(request.header('content-type'))) {
      throw invalid('Content-Type: expected application/json')
    }
    const key = request.header('idempotency-key')
    if (key.length > MAX_KEY) throw invalid(`Idempotency-Key: at most ${MAX_KEY} characters`)
    const room = MAX_CHANNELS * CHANNEL_BYTES + ENVELOPE_BYTES
    request.readBody(deps.live.rules.config.limits.publicationBytes + room, (bytes) => {
      answer(deps, response, () => work(bytes, { publisher, key }))
    })
  }
}

/** A GET of it. */
export function get(deps: DoorDependencies, work: (query: string) => MaybePromise<string>): RequestHandler {
  return (request, response) => {
    admit(deps, request)
    const { query } = request
    answer(deps, response, () => work(query))
  }
}

/** Who asks. @throws {ClientError} */
function admit({ live }: DoorDependencies, request: Request): string {
  const verdict = live.rules.peers.mayPublish(request)
  if (verdict.ok) return verdict.publisher
  throw new ClientError(verdict.code, verdict.message)
}

function answer(deps: DoorDependencies, response: Response, work: () => MaybePromise<string>): void {
  const told = async (): Promise<void> => response.reply(200, JSON_HEADERS, await work())
  told().catch((error: unknown) => deps.refuse(response, error))
}
