import { createPublicKey, webcrypto } from 'node:crypto'
import type { JsonWebKey, KeyObject } from 'node:crypto'
import { messageOf } from '../errors.ts'

export const HMAC = ['HS256', 'HS384', 'HS512'] as const
const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const
const EDWARDS = ['EdDSA', 'Ed25519'] as const
export const ASYMMETRIC = [...RSA, 'ES256', 'ES384', 'ES512', ...EDWARDS] as const

/** By OpenSSL's name of the curve. */
const CURVES: ReadonlyMap<string, readonly string[]> = new Map([
  ['prime256v1', ['ES256']],
  ['secp384r1', ['ES384']],
  ['secp521r1', ['ES512']],
])

/** The key of an HS algorithm, imported once an algorithm. */
export function secretKeys(secret: string): (algorithm: string) => Promise<webcrypto.CryptoKey> {
  const bytes = new TextEncoder().encode(secret)
  const keys = new Map<string, Promise<webcrypto.CryptoKey>>()
  return (algorithm) => {
    let key = keys.get(algorithm)
    if (key === undefined) {
      const usage = { name: 'HMAC', hash: `SHA-${algorithm.slice(2)}` }
      keys.set(algorithm, (key = webcrypto.subtle.importKey('raw', bytes, usage, false, ['verify'])))
    }
    return key
  }
}

/** Whether the text is a key that everyone may know, which as a secret would let everyone sign. */
export function looksPublic(secret: string): boolean {
  return /^\s*(?:-----BEGIN |ssh-|\{\s*")/.test(secret)
}

/** A public key and the algorithms that it can check. */
export interface PublicKey {
  readonly key: KeyObject
  readonly algorithms: readonly string[]
}

/**
 * A public key from PEM (SPKI, PKCS#1, an X.509 certificate) or a JWK's JSON.
 * @throws {TypeError} saying what came instead
 */
export function parsePublicKey(text: string): PublicKey {
  const jwk = text.trimStart().startsWith('{')
  const key = jwk ? keyOfJwk(text) : keyOfPem(text)
  return { key, algorithms: algorithmsOf(key) }
}

function keyOfPem(text: string): KeyObject {
  // Environment variables and .env files often hold the two characters `\n` for a line's end.
  const pem = text.includes('\\n') ? text.replaceAll('\\n', '\n') : text
  if (pem.includes('PRIVATE KEY-----')) {
    throw new TypeError('a private key came: it stays with who signs, give its public key')
  }
  if (!pem.includes('-----BEGIN ')) throw new TypeError('neither PEM (-----BEGIN …) nor the JSON of a JWK')
  try {
    return createPublicKey(pem)
  } catch (error) {
    throw new TypeError(`the PEM can't be read: ${messageOf(error)}`, { cause: error })
  }
}

function keyOfJwk(text: string): KeyObject {
  let jwk: JsonWebKey | null
  try {
    jwk = JSON.parse(text)
  } catch (error) {
    throw new TypeError(`the JSON of the JWK can't be read: ${messageOf(error)}`, { cause: error })
  }
  if (typeof jwk !== 'object' || jwk === null) throw new TypeError('the JSON is no JWK')
  if ('keys' in jwk)
    throw new TypeError('a set of keys came: give one of them, or serve the set and name jwksUrl')
  if (jwk.kty === 'oct') throw new TypeError('a symmetric JWK came: that is a secret')
  if ('d' in jwk) throw new TypeError('a private JWK came: it stays with who signs, give its public part')
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch (error) {
    throw new TypeError(`the JWK can't be read: ${messageOf(error)}`, { cause: error })
  }
}

function algorithmsOf(key: KeyObject): readonly string[] {
  const details = key.asymmetricKeyDetails
  switch (key.asymmetricKeyType) {
    case 'rsa': {
      const bits = details?.modulusLength ?? 0
      if (bits < 2048) throw new TypeError(`an RSA key of ${bits} bits came: at least 2048 are needed`)
      return RSA
    }
    case 'ec': {
      const algorithms = CURVES.get(details?.namedCurve ?? '')
      if (algorithms !== undefined) return algorithms
      throw new TypeError(`a key on the curve ${details?.namedCurve} came: expected P-256, P-384 or P-521`)
    }
    case 'ed25519':
      return EDWARDS
    default:
      throw new TypeError(`a key of type ${key.asymmetricKeyType} came: expected RSA, EC or Ed25519`)
  }
}
