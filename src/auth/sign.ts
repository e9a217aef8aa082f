import { createHmac } from 'node:crypto'
import type { JwtConfig } from '../config/config.ts'

/** How long a token for trying things out lasts, in seconds. */
const LIFETIME_S = 12 * 60 * 60

/**
 * A token of a user, for the demo page and the command `token`: HS256, as RFC 7515 writes it. Null where the
 * config's tokens are signed with a key that the daemon does not have.
 */
export function signToken(user: string, jwt: JwtConfig | null, lifetimeS = LIFETIME_S): string | null {
  if (jwt?.secret === undefined || !jwt.algorithms.includes('HS256')) return null
  const head = encode({ alg: 'HS256', typ: 'JWT' })
  const exp = Math.floor(Date.now() / 1000) + lifetimeS
  const body = encode({ sub: user, exp, aud: jwt.audience, iss: jwt.issuer })
  const signature = createHmac('sha256', jwt.secret).update(`${head}.${body}`).digest('base64url')
  return `${head}.${body}.${signature}`
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
