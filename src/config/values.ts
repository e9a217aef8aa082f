import { isIP } from 'node:net'

/** An object whose keys can be looked at; lists and functions are none. */
export function isRecord(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> }

/** Without the keys that hold undefined, which would hide a default. */
export function defined<T extends object>(input: T): Defined<T>
export function defined(input: object): object {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined))
}

/** The text without the user and password of URLs in it. */
export function redact(text: string): string {
  return text.replace(/:\/\/[^\s/?#'"]*@/g, '://…@')
}

/** A text with something in it. */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== ''
}

/** A key that can stand in an HTTP header. */
export function isKey(value: unknown): value is string {
  return typeof value === 'string' && /^[!-~]+$/.test(value)
}

/** A URL of one of these schemes. */
export function isUrl(value: unknown, schemes: readonly string[]): value is string {
  if (!isText(value) || !/^[a-z]+:\/\//i.test(value) || !URL.canParse(value)) return false
  return schemes.includes(new URL(value).protocol.slice(0, -1))
}

/** An address, or a network in CIDR notation. */
export function isProxy(value: unknown): value is string {
  if (typeof value !== 'string') return false
  // Whoever comes over the unix socket.
  if (value === 'unix') return true
  const [address = '', bits, ...rest] = value.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

/** An origin as browsers send it, in lower case; undefined for what is none. */
export function normalizeOrigin(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  if (value === '*') return value
  const lower = value.toLowerCase()
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#@\s]+$/.test(lower) || !URL.canParse(lower)) return undefined
  // Browsers leave a scheme's own port out; origins of other schemes (`capacitor:`) are 'null' to URL.
  const { origin } = new URL(lower)
  return origin === 'null' ? lower : origin
}

const ALGORITHMS: readonly unknown[] =
  'HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519'.split(' ')

/** A JWT algorithm that tokens may be signed with. */
export function isAlgorithm(value: unknown): value is string {
  return ALGORITHMS.includes(value)
}

/** A database's name, as PostgreSQL has it: longer ones it would cut. Control characters would blur whose user it is. */
export function isDatabase(value: unknown): value is string {
  return isText(value) && Buffer.byteLength(value) <= 63 && !/\p{Cc}/u.test(value)
}
