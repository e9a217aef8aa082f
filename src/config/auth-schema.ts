import { z } from 'zod'
import type { AuthInput, JwtInput } from './auth-input.ts'
import { flag, leaf, list, type Shape, text, url } from './leaves.ts'
import { isAlgorithm, isText } from './values.ts'

const jwt = z.strictObject({
  secret: text('a text').optional(),
  publicKey: text('the PEM text of a public key').optional(),
  jwksUrl: url("a URL such as 'https://issuer.example/.well-known/jwks.json'", ['https', 'http']).optional(),
  algorithms: list('JWT algorithms (HS256, RS256, PS256, ES256, EdDSA, …)', isAlgorithm).optional(),
  audience: text('a text').optional(),
  issuer: text('a text').optional(),
} satisfies Shape<JwtInput>)

export const auth = z.strictObject({
  jwt: jwt.optional(),
  required: flag().optional(),
  // RFC 6265: a cookie's name is a token
  cookie: leaf("a cookie's name", (value) =>
    isText(value) && /^[\w!#$%&'*+.^`|~-]+$/.test(value) ? value : undefined,
  ).optional(),
} satisfies Shape<AuthInput>)
