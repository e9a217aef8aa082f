import type { Duration } from './units.ts'

export interface AuthInput {
  /** Tokens that clients bring. A list: several keys and issuers at once, such as the old and the new secret. */
  jwt?: JwtInput | JwtInput[]
  /** Where the application says whose a request's cookies are. */
  url?: string | AuthUrlInput
  /**
   * The header in which a proxy of `trustedProxies` names the user, such as `'X-Remote-User'`. From anybody else it
   * counts for nothing.
   */
  header?: string
  /**
   * Nothing but `authenticate` and `ping` is accepted before a user is known.
   * @default false
   */
  required?: boolean
  /** The name of a cookie that may hold the token. */
  cookie?: string
}

/** Exactly one of `secret`, `publicKey`, `jwksUrl`. */
export interface JwtInput {
  /** For HS256: at least 32 bytes (HS384: 48, HS512: 64), as RFC 7518 demands. */
  secret?: string
  /** PEM text of an RSA, EC or Ed25519 public key. */
  publicKey?: string
  /** Where the issuer publishes its keys. */
  jwksUrl?: string
  /** @default HS256 with a secret; what the key can do with `publicKey`; all but HS* with `jwksUrl` */
  algorithms?: string[]
  /** Tokens must be for this audience. */
  audience?: string
  /** Tokens must come from this issuer. In a list, a token that names it is checked with the keys of it alone. */
  issuer?: string
}

export interface AuthUrlInput {
  /** Asked by GET; see docs/authentication.md for what it answers. */
  url: string
  /**
   * Headers of the client that go along, those by which it is known.
   * @default ['cookie', 'authorization']
   */
  headers?: string[]
  /**
   * Cookies that go along, where not all of them.
   * @default all
   */
  cookies?: string[]
  /**
   * How long one answer may take.
   * @default '3s'
   */
  timeout?: Duration
  /**
   * How long an answer is good for the same credentials; that nobody is known by them for a fifth of it. 0: never.
   * @default '5s'
   */
  cache?: Duration
  /**
   * How often the application is asked anew about those that are connected; `false`: never.
   * @default '10m'
   */
  recheck?: Duration | false
  /**
   * Requests to the application at once, from one node.
   * @default 16
   */
  concurrency?: number
}
