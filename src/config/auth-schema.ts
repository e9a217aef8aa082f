import { z } from 'zod'
import type { AuthInput, AuthUrlInput, JwtInput } from './auth-input.ts'
import { count, duration, flag, leaf, list, MAX_WAIT_MS, type Shape, text, url } from './leaves.ts'
import { parseDuration } from './units.ts'
import { isAlgorithm, isText } from './values.ts'

const jwt = z.strictObject({
  secret: text('a text').optional(),
  publicKey: text('the PEM text of a public key').optional(),
  jwksUrl: url("a URL such as 'https://issuer.example/.well-known/jwks.json'", ['https', 'http']).optional(),
  algorithms: list('JWT algorithms (HS256, RS256, PS256, ES256, EdDSA, …)', isAlgorithm).optional(),
  audience: text('a text').optional(),
  issuer: text('a text').optional(),
} satisfies Shape<JwtInput>)

const applicationUrl = () =>
  url("a URL such as 'http://127.0.0.1:8000/livemessages/whoami', or an object with one", ['https', 'http'])

const asked = z.strictObject({
  // Mandatory, which is said where it is resolved: what is refused there has no default.
  url: applicationUrl().optional(),
  headers: list('names of headers', isToken).optional(),
  cookies: list('names of cookies', isToken).optional(),
  timeout: duration(MAX_WAIT_MS).optional(),
  cache: leaf("a duration such as '5s' or milliseconds, from 0 up to an hour", (value) => {
    const ms = parseDuration(value)
    return ms !== null && ms <= MAX_WAIT_MS ? ms : undefined
  }).optional(),
  recheck: leaf("false, or a duration such as '10m' from 1s", (value) => {
    const ms = value === false ? Infinity : parseDuration(value)
    return ms !== null && ms >= 1000 ? ms : undefined
  }).optional(),
  concurrency: count(1, 1000).optional(),
} satisfies Shape<AuthUrlInput>)

export const auth = z.strictObject({
  jwt: z.union([z.array(jwt), jwt]).optional(),
  url: z.union([applicationUrl(), asked]).optional(),
  // nginx takes no underscore, and in the configs of proxies other characters mean something.
  header: leaf("a header's name such as 'X-Remote-User', of letters, digits and hyphens", (value) =>
    isText(value) && /^[A-Za-z][A-Za-z0-9-]{0,63}$/.test(value) ? value : undefined,
  ).optional(),
  required: flag().optional(),
  // RFC 6265: a cookie's name is a token
  cookie: leaf("a cookie's name", (value) => (isToken(value) ? value : undefined)).optional(),
} satisfies Shape<AuthInput>)

/** A token of RFC 9110, as the names of headers and cookies are. */
function isToken(value: unknown): value is string {
  return isText(value) && /^[\w!#$%&'*+.^`|~-]+$/.test(value)
}
