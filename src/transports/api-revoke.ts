import type { DatabaseNames } from '../config/config.ts'
import { parseDuration } from '../config/units.ts'
import type { Revocations, Revoked } from '../auth/revocations.ts'
import { furtherOf } from '../hub/database-names.ts'
import type { Revoker } from '../hub/revoker.ts'
import { ClientError } from '../protocol/codes.ts'
import { type DoorDependencies, get, post } from './api-door.ts'
import { Body, invalid, Query } from './fields.ts'
import type { Route } from './http.ts'

export interface RevokeApiDependencies extends DoorDependencies {
  readonly revoker: Pick<Revoker, 'revoke' | 'lift' | 'find'>
  readonly revocations: Revocations
}

/** Of a user's id and a token's. */
const MAX_ID = 255
const MAX_DATABASE = 63
const MAX_SESSION = 1024
const MAX_REASON = 123
/** What is listed at the most, and where nothing is said. */
const MAX_LISTED = 1000
const LISTED = 100

/** Where nothing is said: nobody knows how long the application's tokens live. */
const DEFAULT_MS = 86_400_000
const LONGEST_MS = 10 * 366 * 86_400_000

/** Ending sessions, and keeping them ended. */
export function revokeRoutes(deps: RevokeApiDependencies): Route[] {
  return [
    { path: '/api/revoke', methods: { POST: post(deps, (bytes) => revoke(deps, bytes)) } },
    { path: '/api/unrevoke', methods: { POST: post(deps, (bytes) => lift(deps, bytes)) } },
    { path: '/api/revocations', methods: { GET: get(deps, (query) => list(deps, query)) } },
  ]
}

async function revoke({ live, revoker }: RevokeApiDependencies, bytes: Buffer | null): Promise<string> {
  const body = new Body(bytes, ['user', 'session', 'token', 'database', 'until', 'for', 'reason'])
  const reason = printable(body, 'reason', MAX_REASON) ?? null
  const session = body.text('session', MAX_SESSION)
  if (session === undefined) {
    const who = whoOf(body, ['user', 'session', 'token'], live.rules.config.databases)
    const until = untilOf(body)
    return JSON.stringify(await revoker.revoke(who, until ?? Date.now() + DEFAULT_MS, reason))
  }
  refuseOthers(body, ['user', 'token', 'database'], 'session')
  const until = untilOf(body)
  const found = await revoker.find(session)
  if (found === null) throw new ClientError('not_found', 'session: no connection of a user has it')
  const { token, expires } = found
  if (token === null) {
    throw new ClientError(
      'conflict',
      'session: it has no token with a `jti` that could be refused: revoke its user',
    )
  }
  return JSON.stringify(await revoker.revoke({ token }, until ?? expires ?? Date.now() + DEFAULT_MS, reason))
}

async function lift({ live, revoker }: RevokeApiDependencies, bytes: Buffer | null): Promise<string> {
  const body = new Body(bytes, ['user', 'token', 'database'])
  return JSON.stringify(await revoker.lift(whoOf(body, ['user', 'token'], live.rules.config.databases)))
}

function list({ revocations }: RevokeApiDependencies, text: string): string {
  const query = new Query(text, ['user', 'token', 'limit'])
  const user = query.text('user', MAX_ID)
  const token = query.text('token', MAX_ID)
  const limit = query.count('limit', MAX_LISTED) ?? LISTED
  const found: object[] = []
  let count = 0
  for (const { who, at, until, reason } of revocations) {
    if (until <= Date.now()) continue
    if (user !== undefined && !('user' in who && who.user === user)) continue
    if (token !== undefined && !('token' in who && who.token === token)) continue
    count++
    if (found.length < limit) found.push({ ...who, at, until, reason })
  }
  return JSON.stringify({ revocations: found, count })
}

function whoOf(body: Body, names: readonly string[], databases: DatabaseNames): Revoked {
  const user = printable(body, 'user', MAX_ID)
  const token = printable(body, 'token', MAX_ID)
  const database = body.text('database', MAX_DATABASE)
  if ((user === undefined) === (token === undefined)) throw invalid(`expected one of ${names.join(', ')}`)
  if (user !== undefined) return { user, database: furtherOf(databases, database) }
  if (database !== undefined) throw invalid('database: only with user')
  return { token: token ?? '' }
}

/** As ids are; and PostgreSQL's text can't hold a NUL: it would look as if the database were away. */
function printable(body: Body, name: string, max: number): string | undefined {
  const text = body.text(name, max)
  if (text !== undefined && /\p{Cc}/u.test(text)) throw invalid(`${name}: expected no control characters`)
  return text
}

function refuseOthers(body: Body, names: readonly string[], beside: string): void {
  const other = names.find((name) => body.value(name) !== undefined)
  if (other !== undefined) throw invalid(`${other}: not with ${beside}`)
}

/** Milliseconds since 1970; undefined where nothing is said. */
function untilOf(body: Body): number | undefined {
  const until = body.value('until')
  const lasting = body.value('for')
  if (until !== undefined && lasting !== undefined) throw invalid('until, for: one of them, not both')
  const now = Date.now()
  if (lasting !== undefined) {
    const ms = parseDuration(lasting)
    if (ms !== null && ms > 0 && ms <= LONGEST_MS) return now + ms
    throw invalid("for: expected a duration such as '24h' or milliseconds, more than 0 up to 10 years")
  }
  if (until === undefined) return undefined
  const at = typeof until === 'string' ? Date.parse(until) : until
  if (typeof at === 'number' && Number.isFinite(at) && at > now && at <= now + LONGEST_MS) return at
  throw invalid('until: expected a time to come, as 2030-01-31T12:00:00Z or milliseconds since 1970')
}
