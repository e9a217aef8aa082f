import { errors, jwtVerify } from 'jose'
import type { JWTPayload, JWTVerifyOptions } from 'jose'
import type { JwtConfig } from '../config/config.ts'
import { ConfigError, messageOf } from '../errors.ts'
import type { Problem } from '../errors.ts'
import { ClientError } from '../protocol/codes.ts'
import type { User } from '../registry/define.ts'
import { KeySetError } from './jwks.ts'
import { createTokenKeys, type KeyOf, type TokenKeysDeps } from './token-keys.ts'
import { checkUser } from './users.ts'

export type { JwksOptions } from './token-keys.ts'

/** The longest token, in characters. */
export const MAX_TOKEN = 8192

/** Three parts of base64url. jose overlooks whitespace, and one token would have many spellings. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/

const NO_TOKEN = 'this is no JSON Web Token'

/** Seconds by which the clocks of who signs and of the daemon may differ. */
const CLOCK_TOLERANCE = 5

/** Keys of a set that a token without a `kid` is tried with. */
const MAX_CANDIDATES = 16

/** Checks who a token is. */
export interface Tokens {
  /** Whether a way to check tokens is configured. */
  readonly configured: boolean
  /**
   * The user of the token.
   * @throws {ClientError} `unauthenticated` for what is no valid token, with `details: { reason: 'expired' }`
   * where a new one would do; `unavailable` when the key set can't be had
   */
  verify(token: string): Promise<User>
}

export type TokensDeps = TokenKeysDeps

/** One way in which tokens may be signed. */
interface Issuer {
  /** Null: it does not say; whose token says something else is checked with it too. */
  readonly name: string | null
  readonly keyOf: KeyOf
  readonly options: JWTVerifyOptions
}

/** Whether it has the shape of a JSON Web Token. */
export function looksLikeJwt(token: string): boolean {
  return COMPACT.test(token)
}

/**
 * @param given one, or several: of those, the token's `iss` says which is asked
 * @throws {ConfigError} for keys and algorithms that can't be used
 */
export function createTokens(given: JwtConfig | readonly JwtConfig[] | null, deps: TokensDeps = {}): Tokens {
  const list = given === null ? [] : isList(given) ? given : [given]
  const problems: Problem[] = []
  const issuers = list
    .filter((config) => (config.secret ?? config.publicKey ?? config.jwksUrl) !== undefined)
    .map((config, index) => {
      const place = list.length === 1 ? 'auth.jwt' : `auth.jwt[${index}]`
      return createIssuer(config, place, problems, deps)
    })
  if (problems.length > 0) throw new ConfigError(problems, null)
  if (issuers.length === 0) {
    return {
      configured: false,
      verify: () => Promise.reject(unauthenticated('no way to authenticate is configured')),
    }
  }
  return {
    configured: true,
    async verify(token) {
      if (token.length > MAX_TOKEN) {
        throw unauthenticated(`the token has ${token.length} characters, more than ${MAX_TOKEN}`)
      }
      if (!COMPACT.test(token)) throw unauthenticated(NO_TOKEN)
      try {
        return userOf(await verifyByOne(token, issuers))
      } catch (error) {
        throw clientErrorOf(error, deps.log)
      }
    },
  }
}

function isList(given: JwtConfig | readonly JwtConfig[]): given is readonly JwtConfig[] {
  return Array.isArray(given)
}

function createIssuer(config: JwtConfig, place: string, problems: Problem[], deps: TokensDeps): Issuer {
  const { keyOf, algorithms } = createTokenKeys(config, place, problems, deps)
  return {
    name: config.issuer ?? null,
    keyOf,
    options: {
      algorithms: [...algorithms],
      clockTolerance: CLOCK_TOLERANCE,
      ...(config.audience === undefined ? {} : { audience: config.audience }),
      ...(config.issuer === undefined ? {} : { issuer: config.issuer }),
    },
  }
}

/**
 * By the first that accepts it. Where none does, the failure that says most is told: one that came after the
 * signature was found good, then one that leaves it open.
 */
async function verifyByOne(token: string, issuers: readonly Issuer[]): Promise<JWTPayload> {
  const candidates = candidatesOf(token, issuers)
  let failure: unknown = null
  for (const { keyOf, options } of candidates) {
    try {
      return await payloadOf(token, keyOf, options)
    } catch (error) {
      if (failure === null || weightOf(error) > weightOf(failure)) failure = error
    }
  }
  throw failure ?? unauthenticated('the token is from another issuer')
}

/**
 * What the token says of its issuer is not proven yet: it chooses among those of the config, whose keys then have to
 * fit, and nothing else comes of it.
 */
function candidatesOf(token: string, issuers: readonly Issuer[]): readonly Issuer[] {
  if (issuers.length === 1) return issuers
  const claimed = issuerOf(token)
  const named = issuers.filter(({ name }) => name !== null && name === claimed)
  return named.length > 0 ? named : issuers.filter(({ name }) => name === null)
}

function issuerOf(token: string): unknown {
  const payload = Buffer.from(token.split('.', 2)[1] ?? '', 'base64url').toString()
  try {
    const claims: unknown = JSON.parse(payload)
    return typeof claims === 'object' && claims !== null && 'iss' in claims ? claims.iss : null
  } catch {
    return null // no key will fit, or the claims are told to be none
  }
}

function weightOf(error: unknown): number {
  if (error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed) return 3
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) return 0
  return error instanceof errors.JOSEError ? 1 : 2
}

async function payloadOf(token: string, keyOf: KeyOf, options: JWTVerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keyOf, options)).payload
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error
    let tried = 0
    for await (const key of error) {
      if (tried++ === MAX_CANDIDATES) break
      try {
        return (await jwtVerify(token, key, options)).payload
      } catch (failure) {
        if (!(failure instanceof errors.JWSSignatureVerificationFailed)) throw failure
      }
    }
    throw new errors.JWSSignatureVerificationFailed()
  }
}

function userOf({ sub, exp, iat, jti, info, channels, ...others }: JWTPayload): User {
  // jose has seen that `exp` and `iat` are numbers; in JSON 1e400 is one too.
  const expires = exp === undefined ? undefined : exp * 1000
  const issued = iat === undefined ? undefined : iat * 1000
  // By RFC 7519 a text; numbers are common.
  const token: unknown = typeof (jti as unknown) === 'number' ? String(jti) : jti
  const database = others['database'] ?? undefined
  const user = checkUser(
    { id: sub, info, expires, issued, token: token ?? undefined, database, channels },
    { id: 'sub' },
  )
  if (typeof user === 'string') throw unauthenticated(`the token's claims are wrong: ${user}`)
  return user
}

function clientErrorOf(error: unknown, log: TokensDeps['log']): ClientError {
  if (error instanceof ClientError) return error
  if (error instanceof errors.JWTExpired)
    return unauthenticated('the token has expired', { reason: 'expired' })
  if (error instanceof errors.JWTClaimValidationFailed) return unauthenticated(claimMessage(error))
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return unauthenticated("the token's signature is not from a key that is known here")
  }
  if (error instanceof errors.JWKSNoMatchingKey) {
    return unauthenticated('the token is signed with a key that is not known here')
  }
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) {
    return unauthenticated("the token's algorithm is not accepted here")
  }
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) {
    return unauthenticated(NO_TOKEN)
  }
  // A key of the set that can't be used, and whatever nobody has thought of: the token may be good.
  if (!(error instanceof KeySetError)) log?.warn({ reason: messageOf(error) }, 'a token could not be checked')
  return new ClientError('unavailable', 'tokens can not be checked at the moment, try again later')
}

function claimMessage({ claim, reason }: errors.JWTClaimValidationFailed): string {
  if (reason === 'missing') return `the token's claim ${claim} is missing`
  if (reason !== 'check_failed') return `the token's claim ${claim} is of the wrong type`
  if (claim === 'nbf') return 'the token is not valid yet'
  return claim === 'aud' ? 'the token is for another audience' : 'the token is from another issuer'
}

function unauthenticated(message: string, details?: unknown): ClientError {
  return new ClientError('unauthenticated', message, details)
}
