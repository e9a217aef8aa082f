import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { isLoopback } from './address.ts'
import type { AuthConfig, JwtConfig } from './config.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'
import { defined } from './values.ts'

type JwtInput = NonNullable<NonNullable<Parsed['auth']>['jwt']>

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
export function resolveAuth(input: Parsed['auth'], report: Report): AuthConfig {
  return {
    jwt: input?.jwt ? resolveJwt(input.jwt, report) : null,
    required: input?.required ?? false,
    cookie: input?.cookie ?? null,
  }
}

function resolveJwt(jwt: JwtInput, report: Report): JwtConfig | null {
  const given = (['secret', 'publicKey', 'jwksUrl'] as const).filter((key) => jwt[key] !== undefined)
  if (given.length !== 1) {
    const got = given.length === 0 ? 'none' : given.join(' and ')
    report.problem('auth.jwt', `expected exactly one of secret, publicKey, jwksUrl, got ${got}`)
    return null
  }
  const possible = algorithmsFor(jwt, report)
  if (possible === null) return null
  const { algorithms = jwt.secret === undefined ? possible : ['HS256'] } = jwt
  const wrong = algorithms.filter((algorithm) => !possible.includes(algorithm))
  if (algorithms.length === 0 || wrong.length > 0) {
    const got = wrong.length > 0 ? wrong.join(', ') : 'an empty list'
    report.problem(
      'auth.jwt.algorithms',
      `expected some of ${possible.join(', ')}, as ${given[0]} allows, got ${got}`,
    )
    return null
  }
  if (jwt.secret !== undefined) checkSecret(jwt.secret, algorithms, report)
  return { ...defined(jwt), algorithms }
}

/** The algorithms that the key can be used with; null when it is no key. */
function algorithmsFor(jwt: JwtInput, report: Report): readonly string[] | null {
  if (jwt.secret !== undefined) return Object.keys(SECRET_BYTES)
  if (jwt.publicKey !== undefined) return algorithmsOfKey(jwt.publicKey, report)
  const { protocol, hostname } = new URL(jwt.jwksUrl ?? '')
  if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''))) {
    report.warning('auth.jwt.jwksUrl is fetched over http: whoever stands in between can sign tokens')
  }
  return ASYMMETRIC
}

function algorithmsOfKey(pem: string, report: Report): readonly string[] | null {
  const key = 'auth.jwt.publicKey'
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

function checkSecret(secret: string, algorithms: readonly string[], report: Report): void {
  const least = Math.max(...algorithms.map((algorithm) => SECRET_BYTES[algorithm] ?? 0))
  const bytes = Buffer.byteLength(secret)
  if (bytes >= least) return
  const way = `'openssl rand -base64 ${least}' makes one`
  report.problem(
    'auth.jwt.secret',
    `expected at least ${least} bytes for ${algorithms.join(', ')}, got ${bytes}; ${way}`,
  )
}
