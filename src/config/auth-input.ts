export interface AuthInput {
  /** Tokens that clients bring: exactly one of `secret`, `publicKey`, `jwksUrl`. */
  jwt?: JwtInput
  /**
   * Nothing but `authenticate` and `ping` is accepted before a user is known.
   * @default false
   */
  required?: boolean
  /** The name of a cookie that may hold the token. */
  cookie?: string
}

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
  /** Tokens must come from this issuer. */
  issuer?: string
}
