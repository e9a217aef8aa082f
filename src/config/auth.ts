import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { isLoopback } from './address.ts'
import type { AuthConfig, AuthUrlConfig, JwtConfig } from './config.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'
import { defined } from './values.ts'

type Auth = NonNullable<Parsed['auth']>
type JwtInput = Exclude<NonNullable<Auth['jwt']>, readonly unknown[]>
type UrlInput = NonNullable<Auth['url']>

/** Keys and issuers at once. */
const MAX_ISSUERS = 16

/** Bytes that a secret must have at least, by RFC 7518 3.2: as many as the hash has. jose takes shorter ones. */
const SECRET_BYTES: Readonly<Record<string, number>> = { HS256: 32, HS384: 48, HS512: 64 }

const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const ED25519 = ['EdDSA', 'Ed25519']
const CURVES: Readonly<Record<string, string>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
}
const ASYMMETRIC = [...RSA, ...Object.values(CURVES), ...ED25519]

/** Resolves `auth`, and reports what does not go together. */
export function resolveAuth(
  input: Parsed['auth'],
  trustedProxies: readonly string[],
  report: Report,
): AuthConfig {
  return {
    jwt: input?.jwt === undefined ? [] : resolveAll(input.jwt, report),
    url: input?.url === undefined ? null : resolveUrl(input.url, report),
    header: input?.header === undefined ? null : resolveHeader(input.header, trustedProxies, report),
    required: input?.required ?? false,
    cookie: input?.cookie ?? null,
  }
}

function resolveAll(input: NonNullable<Auth['jwt']>, report: Report): readonly JwtConfig[] {
  if (!Array.isArray(input)) {
    const one = resolveJwt(input, 'auth.jwt', report)
    return one === null ? [] : [one]
  }
  if (input.length === 0 || input.length > MAX_ISSUERS) {
    report.problem('auth.jwt', `expected 1 to ${MAX_ISSUERS} keys, got ${input.length}`)
    return []
  }
  return input
    .map((one, index) => resolveJwt(one, `auth.jwt[${index}]`, report))
    .filter((one) => one !== null)
}

function resolveUrl(input: UrlInput, report: Report): AuthUrlConfig | null {
  const given = typeof input === 'string' ? { url: input } : input
  const { url } = given
  if (url === undefined) {
    report.problem(
      'auth.url.url',
      "expected a URL such as 'http://127.0.0.1:8000/livemessages/whoami', got none",
    )
    return null
  }
  const { protocol, hostname, username, password } = new URL(url)
  if (username !== '' || password !== '') {
    report.problem('auth.url', 'expected a URL without user and password: they are not sent')
    return null
  }
  if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''))) {
    report.warning('auth.url is asked over http: whoever stands in between sees the cookies of all users')
  }
  const headers = (given.headers ?? ['cookie', 'authorization']).map((name) => name.toLowerCase())
  const wrong = headers.find((name) => CARRIED.test(name))
  if (headers.length === 0 || wrong !== undefined) {
    report.problem(
      'auth.url.headers',
      `expected headers by which a client is known, such as 'cookie', got ${wrong === undefined ? 'an empty list' : `'${wrong}'`}`,
    )
  }
  if (given.cookies !== undefined && !headers.includes('cookie')) {
    report.problem(
      'auth.url.cookies',
      "expected 'cookie' among auth.url.headers: without it no cookies go along",
    )
  }
  return {
    url,
    headers,
    cookies: given.cookies ?? null,
    timeoutMs: given.timeout ?? 3000,
    cacheMs: given.cache ?? 5000,
    recheckMs: given.recheck ?? 600_000,
    concurrency: given.concurrency ?? 16,
  }
}

/** Headers of every request: they say nothing of who it is, and belong to the client's connection. */
const CARRIED =
  /^(?:host|connection|upgrade|keep-alive|te|trailer|transfer-encoding|content-.*|expect|sec-websocket-.*)$/

/** Headers that clients or proxies send for other reasons. */
const TAKEN =
  /^(?:authorization|cookie|host|origin|connection|upgrade|forwarded|via|x-real-ip|x-forwarded-(?!user$).*)$/

function resolveHeader(name: string, trustedProxies: readonly string[], report: Report): string | null {
  const header = name.toLowerCase()
  if (TAKEN.test(header)) {
    report.problem('auth.header', `expected a header of its own such as 'X-Remote-User', got '${header}'`)
    return null
  }
  if (trustedProxies.length === 0) {
    report.problem(
      'auth.header',
      'expected trustedProxies beside it: the header counts only from a proxy of that list',
    )
    return null
  }
  return header
}

function resolveJwt(jwt: JwtInput, key: string, report: Report): JwtConfig | null {
  const given = (['secret', 'publicKey', 'jwksUrl'] as const).filter((one) => jwt[one] !== undefined)
  if (given.length !== 1) {
    const got = given.length === 0 ? 'none' : given.join(' and ')
    report.problem(key, `expected exactly one of secret, publicKey, jwksUrl, got ${got}`)
    return null
  }
  const possible = algorithmsFor(jwt, key, report)
  if (possible === null) return null
  const { algorithms = jwt.secret === undefined ? possible : ['HS256'] } = jwt
  const wrong = algorithms.filter((algorithm) => !possible.includes(algorithm))
  if (algorithms.length === 0 || wrong.length > 0) {
    const got = wrong.length > 0 ? wrong.join(', ') : 'an empty list'
    report.problem(
      `${key}.algorithms`,
      `expected some of ${possible.join(', ')}, as ${given[0]} allows, got ${got}`,
    )
    return null
  }
  if (jwt.secret !== undefined) checkSecret(jwt.secret, algorithms, key, report)
  return { ...defined(jwt), algorithms }
}

/** The algorithms that the key can be used with; null when it is no key. */
function algorithmsFor(jwt: JwtInput, key: string, report: Report): readonly string[] | null {
  if (jwt.secret !== undefined) return Object.keys(SECRET_BYTES)
  if (jwt.publicKey !== undefined) return algorithmsOfKey(jwt.publicKey, `${key}.publicKey`, report)
  const { protocol, hostname } = new URL(jwt.jwksUrl ?? '')
  if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''))) {
    report.warning(`${key}.jwksUrl is fetched over http: whoever stands in between can sign tokens`)
  }
  return ASYMMETRIC
}

function algorithmsOfKey(pem: string, key: string, report: Report): readonly string[] | null {
  // createPublicKey would derive the public key, and the private one would stay in the config of every node
  if (pem.includes('PRIVATE KEY')) {
    report.problem(
      key,
      "expected a public key, got a private one: 'openssl pkey -in key.pem -pubout' prints its public key",
    )
    return null
  }
  let parsed: KeyObject
  try {
    parsed = createPublicKey(pem)
  } catch {
    // The reason that OpenSSL gives is a number of its own decoder.
    report.problem(
      key,
      "expected the PEM text of a public key ('-----BEGIN PUBLIC KEY-----' …), got another text",
    )
    return null
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = parsed
  if (type === 'rsa') return RSA
  if (type === 'ed25519') return ED25519
  const curve = type === 'ec' ? CURVES[details?.namedCurve ?? ''] : undefined
  if (curve !== undefined) return [curve]
  report.problem(
    key,
    `expected a key of RSA, EC (P-256, P-384, P-521) or Ed25519, got one of ${details?.namedCurve ?? type}`,
  )
  return null
}

function checkSecret(secret: string, algorithms: readonly string[], key: string, report: Report): void {
  const least = Math.max(...algorithms.map((algorithm) => SECRET_BYTES[algorithm] ?? 0))
  const bytes = Buffer.byteLength(secret)
  if (bytes >= least) return
  const way = `'openssl rand -base64 ${least}' makes one`
  report.problem(
    `${key}.secret`,
    `expected at least ${least} bytes for ${algorithms.join(', ')}, got ${bytes}; ${way}`,
  )
}
