import { createHmac } from 'node:crypto'
import type { JwtConfig } from '../config/config.ts'

/** How long a token for trying things out lasts, in seconds. */
const LIFETIME_S = 12 * 60 * 60

export interface SignOptions {
  /** In seconds. @default 43200 */
  readonly lifetimeS?: number
  /** The token's own (`jti`). @default none */
  readonly id?: string
  /** Whose user it is. @default the home database's */
  readonly database?: string
  /** Patterns of channels that it opens. */
  readonly subscribe?: readonly string[]
  readonly publish?: readonly string[]
}

/**
 * A token of a user, for the demo page and the command `token`: HS256, as RFC 7515 writes it. Null where the
 * config's tokens are signed with a key that the daemon does not have.
 */
export function signToken(
  user: string,
  keys: JwtConfig | readonly JwtConfig[],
  { lifetimeS = LIFETIME_S, id, database, subscribe, publish }: SignOptions = {},
): string | null {
  // The first that can: all keys of the list count.
  const list: readonly JwtConfig[] = 'algorithms' in keys ? [keys] : keys
  const jwt = list.find(({ secret, algorithms }) => secret !== undefined && algorithms.includes('HS256'))
  if (jwt?.secret === undefined) return null
  const head = encode({ alg: 'HS256', typ: 'JWT' })
  const iat = Math.floor(Date.now() / 1000)
  const channels = subscribe === undefined && publish === undefined ? undefined : { subscribe, publish }
  const { audience: aud, issuer: iss } = jwt
  const body = encode({ sub: user, iat, exp: iat + lifetimeS, jti: id, aud, iss, database, channels })
  const signature = createHmac('sha256', jwt.secret).update(`${head}.${body}`).digest('base64url')
  return `${head}.${body}.${signature}`
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
