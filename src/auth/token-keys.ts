import { createRemoteJWKSet, customFetch, errors } from 'jose'
import type { JWTVerifyGetKey } from 'jose'
import type { JwtConfig } from '../config/config.ts'
import { messageOf } from '../errors.ts'
import type { Problem } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { createKeySetFetch, KeySetError } from './jwks.ts'
import { ASYMMETRIC, HMAC, looksPublic, parsePublicKey, secretKeys } from './keys.ts'

export interface TokenKeysDeps {
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
export type KeyOf = JWTVerifyGetKey

export interface TokenKeys {
  readonly keyOf: KeyOf
  /** What a token's `alg` may be. */
  readonly algorithms: readonly string[]
}

/**
 * Which key a token is checked with follows from its algorithm, and each key from the config is only ever
 * used for algorithms of its own kind: a public key never becomes an HMAC secret.
 * @param place where it stands in the config
 * @param problems takes what is wrong with it; what is returned then is of no use
 */
export function createTokenKeys(
  config: JwtConfig,
  place: string,
  problems: Problem[],
  deps: TokenKeysDeps,
): TokenKeys {
  const before = problems.length
  const problem = (key: string, message: string): void => {
    problems.push({ code: 'CONFIG_INVALID', key: `${place}.${key}`, message })
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
  if (problems.length === before && algorithms.length === 0) {
    problem('algorithms', `expected one of ${[...possible].join(', ')} for this key, got ${asked.join(', ')}`)
  }
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
function createKeySet(url: URL, { log, jwks = {} }: TokenKeysDeps): KeyOf {
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
  // Without its query, which may hold a key.
  const place = `${url.origin}${url.pathname}`

  /** Never rejects: `failure` tells. */
  const refresh = async (): Promise<void> => {
    try {
      await set.reload()
      loadedAt = performance.now()
      if (failure !== null) log?.info({ url: place }, 'the key set is there again')
      failure = null
    } catch (error) {
      const first = failure === null
      failure = keySetError(error)
      if (first) log?.warn({ url: place, reason: failure.message }, 'the key set cannot be had')
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
