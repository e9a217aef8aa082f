import { createRemoteJWKSet, customFetch, errors, jwtVerify } from 'jose'
import type { JWTPayload, JWTVerifyGetKey, JWTVerifyOptions } from 'jose'
import type { JwtConfig } from '../config/config.ts'
import { ConfigError, messageOf } from '../errors.ts'
import type { Problem } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError } from '../protocol/codes.ts'
import type { User } from '../registry/define.ts'
import { createKeySetFetch, KeySetError } from './jwks.ts'
import { ASYMMETRIC, HMAC, looksPublic, parsePublicKey, secretKeys } from './keys.ts'
import { checkUser } from './users.ts'

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

export interface TokensDeps {
  readonly log?: Pick<Log, 'warn' | 'info'>
  readonly jwks?: JwksOptions
}

/** Delays of the key set. */
export interface JwksOptions {
  /** One request. @default 5000 */
  readonly timeoutMs?: number
  /** How often a token with an unknown `kid` may cause a request. @default 10000 */
  readonly cooldownMs?: number
  /** How long nothing is asked after a failure. @default 1000 */
  readonly retryMs?: number
  /** When a set is fetched anew. @default 600000 */
  readonly maxAgeMs?: number
  /** How long a set stays good while its server can't be reached. @default 3600000 */
  readonly maxStaleMs?: number
}

/** Finds the key by the token's header, which nobody has vouched for yet. */
type KeyOf = JWTVerifyGetKey

/** @throws {ConfigError} for keys and algorithms that can't be used */
export function createTokens(config: JwtConfig | null, deps: TokensDeps = {}): Tokens {
  if (config === null || (config.secret ?? config.publicKey ?? config.jwksUrl) === undefined) {
    return {
      configured: false,
      verify: () => Promise.reject(unauthenticated('no way to authenticate is configured')),
    }
  }
  const { keyOf, algorithms } = prepare(config, deps)
  const options: JWTVerifyOptions = {
    algorithms: [...algorithms],
    clockTolerance: CLOCK_TOLERANCE,
    ...(config.audience === undefined ? {} : { audience: config.audience }),
    ...(config.issuer === undefined ? {} : { issuer: config.issuer }),
  }
  return {
    configured: true,
    async verify(token) {
      if (token.length > MAX_TOKEN) {
        throw unauthenticated(`the token has ${token.length} characters, more than ${MAX_TOKEN}`)
      }
      if (!COMPACT.test(token)) throw unauthenticated(NO_TOKEN)
      try {
        return userOf(await payloadOf(token, keyOf, options))
      } catch (error) {
        throw clientErrorOf(error, deps.log)
      }
    },
  }
}

interface Prepared {
  readonly keyOf: KeyOf
  /** What a token's `alg` may be. */
  readonly algorithms: readonly string[]
}

/**
 * Which key a token is checked with follows from its algorithm, and each key from the config is only ever
 * used for algorithms of its own kind: a public key never becomes an HMAC secret.
 */
function prepare(config: JwtConfig, deps: TokensDeps): Prepared {
  const problems: Problem[] = []
  const problem = (key: string, message: string): void => {
    problems.push({ code: 'CONFIG_INVALID', key: `auth.jwt.${key}`, message })
  }
  const possible = new Set<string>()
  let secret: KeyOf | null = null
  let other: KeyOf | null = null

  if (config.secret !== undefined) {
    if (config.secret === '') problem('secret', 'expected a secret, got empty text')
    else if (looksPublic(config.secret)) {
      problem('secret', 'expected a secret, got a key in PEM or JSON: a public key belongs under publicKey')
    } else {
      const keys = secretKeys(config.secret)
      secret = ({ alg }) => keys(alg)
      for (const algorithm of HMAC) possible.add(algorithm)
    }
  }
  if (config.publicKey !== undefined) {
    try {
      const { key, algorithms } = parsePublicKey(config.publicKey)
      other = () => Promise.resolve(key)
      for (const algorithm of algorithms) possible.add(algorithm)
    } catch (error) {
      problem('publicKey', messageOf(error))
    }
  }
  if (config.jwksUrl !== undefined) {
    const url = URL.canParse(config.jwksUrl) ? new URL(config.jwksUrl) : null
    if (config.publicKey !== undefined) problem('jwksUrl', 'give either publicKey or jwksUrl, not both')
    else if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
      problem('jwksUrl', `expected an http or https URL, got '${config.jwksUrl}'`)
    } else {
      other = createKeySet(url, deps)
      for (const algorithm of ASYMMETRIC) possible.add(algorithm)
    }
  }

  const asked = config.algorithms.length === 0 ? [...possible] : config.algorithms
  const algorithms = asked.filter((algorithm) => possible.has(algorithm))
  if (problems.length === 0 && algorithms.length === 0) {
    problem('algorithms', `expected one of ${[...possible].join(', ')} for this key, got ${asked.join(', ')}`)
  }
  if (problems.length > 0) throw new ConfigError(problems, null)
  return {
    algorithms,
    keyOf: (header, token) => {
      const keyOf = header.alg.startsWith('HS') ? secret : other
      // `algorithms` has been asked before: there is a key for each of them.
      return keyOf === null ? Promise.reject(new errors.JOSEAlgNotAllowed()) : keyOf(header, token)
    },
  }
}

/**
 * Keys from the configured URL, whatever `jku`, `x5u` or `jwk` a token's header holds. While the server can't
 * be reached the known keys stay good for a while: a restart of it must not lock everyone out.
 */
function createKeySet(url: URL, { log, jwks = {} }: TokensDeps): KeyOf {
  const { timeoutMs = 5000, cooldownMs = 10_000, retryMs = 1000 } = jwks
  const { maxAgeMs = 600_000, maxStaleMs = 3_600_000 } = jwks
  const set = createRemoteJWKSet(url, {
    timeoutDuration: timeoutMs,
    cooldownDuration: cooldownMs,
    cacheMaxAge: Infinity, // jose would refuse every token when a set is old and its server down
    [customFetch]: createKeySetFetch(retryMs),
  })
  let loadedAt = -Infinity
  let failure: KeySetError | null = null
  const age = (): number => performance.now() - loadedAt

  /** Never rejects: `failure` tells. */
  const refresh = async (): Promise<void> => {
    try {
      await set.reload()
      loadedAt = performance.now()
      if (failure !== null) log?.info({ url: url.href }, 'the key set is there again')
      failure = null
    } catch (error) {
      const first = failure === null
      failure = keySetError(error)
      if (first) log?.warn({ url: url.href, reason: failure.message }, 'the key set cannot be had')
    }
  }

  return async (header, token) => {
    if (age() > maxAgeMs) {
      const refreshing = refresh()
      // Once its server is known to be down, nobody whose key is known waits for it.
      if (failure === null || age() > maxStaleMs) await refreshing
      if (failure !== null && age() > maxStaleMs) throw failure
    }
    try {
      return await set(header, token)
    } catch (error) {
      throw isAboutToken(error) ? error : keySetError(error)
    }
  }
}

function keySetError(error: unknown): KeySetError {
  return error instanceof KeySetError ? error : new KeySetError(messageOf(error), { cause: error })
}

/** What a key set says of the token, not of itself. */
function isAboutToken(error: unknown): boolean {
  return (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    error instanceof errors.JOSENotSupported
  )
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

function userOf({ sub, exp, info, channels }: JWTPayload): User {
  // jose has seen that `exp` is a number; in JSON 1e400 is one too.
  const expires = exp === undefined ? undefined : exp * 1000
  const user = checkUser({ id: sub, info, expires, channels }, { id: 'sub' })
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
