import { createHmac, randomBytes } from 'node:crypto'
import type { ConfigInput } from '../config/input.ts'
import { isRecord, isText } from '../config/values.ts'

/** Whose token, and what it allows beside the policies. */
export interface Claims {
  readonly user: string
  /** What others see of the user where presence is. */
  readonly info?: unknown
  /** Channel patterns: `{ subscribe: ['orders:*'] }`. */
  readonly channels?: {
    readonly subscribe?: readonly string[]
    readonly publish?: readonly string[]
  }
}

/** Signs as the application would whose tokens the daemon takes. @throws {Error} where the config has no secret */
export type Sign = (claims: Claims) => string

/** How long a token lasts, in seconds: longer than any test. */
const LIFETIME_S = 60 * 60

/** The config's `auth`, with a secret of its own where the config says nothing of tokens, and who signs with it. */
export function signing(auth: ConfigInput['auth']): {
  readonly auth: NonNullable<ConfigInput['auth']>
  readonly sign: Sign
} {
  if (auth?.jwt === undefined) {
    const secret = randomBytes(32).toString('base64url')
    return { auth: { ...auth, jwt: { secret } }, sign: (claims) => encode(claims, secret, {}) }
  }
  const jwt: unknown = auth.jwt
  if (isRecord(jwt) && isText(jwt['secret']) && mayUse(jwt['algorithms'])) {
    const { secret, audience, issuer } = jwt
    return { auth, sign: (claims) => encode(claims, secret, { aud: audience, iss: issuer }) }
  }
  const sign = (): never => {
    throw new Error(
      "user: the tokens of this config are signed with a key that the test does not have: leave auth.jwt out of the test's config, or connect with a token of yours",
    )
  }
  return { auth, sign }
}

function mayUse(algorithms: unknown): boolean {
  return algorithms === undefined || (Array.isArray(algorithms) && algorithms.includes('HS256'))
}

/** HS256, as RFC 7515 writes it. */
function encode({ user, info, channels }: Claims, secret: string, others: object): string {
  // With its fraction: a revocation refuses what was issued until then, a token of a moment later is good.
  const iat = Date.now() / 1000
  const exp = Math.floor(iat) + LIFETIME_S
  const head = base64({ alg: 'HS256', typ: 'JWT' })
  const body = base64({ sub: user, iat, exp, info, channels, ...others })
  return `${head}.${body}.${createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')}`
}

function base64(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
