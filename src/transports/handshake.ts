import { bearerOf, tokenOf } from '../auth/bearer.ts'
import { parseCookies } from '../auth/cookies.ts'
import type { Range } from '../hub/subscriber.ts'
import type { Request } from '../listeners/listener.ts'
import { ClientError } from '../protocol/codes.ts'
import { isChannel } from '../protocol/names.ts'
import type { Credentials } from '../registry/define.ts'
import type { Rules } from '../rules.ts'

/** What the upgrade brought that is needed once more after it. */
export interface Handshake {
  readonly credentials: Credentials | null
  readonly channels: readonly string[]
  readonly range: Range
}

/** What is read of a request. */
export type HandshakeSource = Pick<Request, 'query' | 'address' | 'proxiedAddress' | 'header' | 'eachHeader'>

/** Null for a plain `new WebSocket(url)`, of which nothing has to be kept. */
export function readHandshake(request: HandshakeSource, rules: Rules): Handshake | null {
  const { config } = rules
  const { query } = request
  const credentials = credentialsOf(request, rules)
  if (!query.includes('channel=')) {
    return credentials === null && !config.auth.required ? null : { credentials, channels: [], range: {} }
  }
  const parameters = new URLSearchParams(query)
  const last = parameters.get('last')
  return {
    credentials,
    channels: [...new Set(parameters.getAll('channel'))],
    range: {
      since: parameters.get('since') ?? undefined,
      last: last === null ? undefined : wholeNumber(last),
    },
  }
}

/**
 * Who it might be; null where there is nothing to go by. What a browser adds by itself (cookies, Basic credentials) does
 * not count from pages that nobody named, whom only `origins: ['*']` lets in: any page could act as its visitor.
 */
export function credentialsOf(request: HandshakeSource, rules: Rules): Credentials | null {
  const { config, registry, tokens } = rules
  const { query } = request
  if (registry.hooks.authenticate !== null) return allCredentials(request, query, rules)
  if (config.auth.url !== null || config.auth.header !== null) return chosenCredentials(request, query, rules)
  return tokens.configured || config.auth.required ? tokenOnly(request, query, rules) : null
}

/** @throws {ClientError} for channels, cursors and counts in the URL that are none */
export function checkUrl({ channels, range }: Handshake): void {
  const wrong = channels.find((channel) => !isChannel(channel))
  if (wrong !== undefined)
    throw new ClientError('unknown_channel', `channel: '${wrong.slice(0, 80)}' is none`)
  const { since, last } = range
  if (since !== undefined && last !== undefined) {
    throw new ClientError('invalid_input', 'since, last: one of them, not both')
  }
  if (last !== undefined && !Number.isSafeInteger(last)) {
    throw new ClientError('invalid_input', 'last: expected a whole number from 0')
  }
}

/** NaN for everything but digits. */
function wholeNumber(text: string): number {
  return /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN
}

function tokenOnly(request: HandshakeSource, query: string, rules: Rules): Credentials | null {
  const token = tokenIn(request, query, rules)
  return token === null ? null : { token, headers: {}, cookies: {}, query: {}, address: '' }
}

/** The token, whom a trusted proxy names, and what the application is asked with. */
function chosenCredentials(request: HandshakeSource, query: string, rules: Rules): Credentials | null {
  const token = tokenIn(request, query, rules)
  const user = proxyUser(request, rules)
  const headers: Record<string, string> = Object.create(null)
  const { url } = rules.config.auth
  if (url !== null) {
    const ambient = isNamed(request, rules)
    for (const name of url.headers) {
      const value = request.header(name)
      if (value !== '' && (ambient || !isAmbient(name, value))) headers[name] = value
    }
  }
  if (token === null && user === undefined && Object.keys(headers).length === 0) return null
  const address = rules.peers.clientAddress(request)
  return { token, headers, cookies: {}, query: {}, address, ...(user === undefined ? {} : { user }) }
}

/**
 * Whom a trusted proxy names. By the session of a browser, mostly: it counts as little as a cookie from pages that
 * nobody named. From anybody else, and twice in one request, the header counts for nothing.
 */
export function proxyUser(request: HandshakeSource, rules: Rules): string | undefined {
  const { header } = rules.config.auth
  if (header === null || request.header(header) === '') return undefined
  let value: string | undefined
  let count = 0
  request.eachHeader((name, one) => {
    if (name !== header) return
    count++
    value = one
  })
  if (count !== 1 || !rules.peers.isByProxy(request)) {
    rules.revocations.strayHeaders++
    return undefined
  }
  // What Apache writes for a variable that is not set.
  return value === '(null)' || !isNamed(request, rules) ? undefined : value
}

/** Whether a browser adds it by itself. */
function isAmbient(name: string, value: string): boolean {
  return name === 'cookie' || (name === 'authorization' && bearerOf(value) === null)
}

function allCredentials(request: HandshakeSource, query: string, rules: Rules): Credentials {
  const headers: Record<string, string> = Object.create(null)
  const ambient = isNamed(request, rules)
  const user = proxyUser(request, rules)
  request.eachHeader((name, value) => {
    if (!ambient && isAmbient(name, value)) return
    // What it says is in `user`, where it counts.
    if (name === rules.config.auth.header) return
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value
  })
  return {
    token: tokenIn(request, query, rules),
    headers,
    cookies: ambient ? parseCookies(request.header('cookie')) : {},
    query: Object.fromEntries(new URLSearchParams(query)),
    address: rules.peers.clientAddress(request),
    ...(user === undefined ? {} : { user }),
  }
}

/** Whether it comes from a page of this host or of the list, or from no page at all. */
function isNamed(request: HandshakeSource, { namedOrigins }: Rules): boolean {
  const origin = request.header('origin')
  return origin === '' || namedOrigins.allows(origin, request.header('host'))
}

function tokenIn(request: HandshakeSource, query: string, rules: Rules): string | null {
  const { cookie } = rules.config.auth
  const found = tokenOf({
    authorization: request.header('authorization'),
    query,
    cookies: cookie === null || !isNamed(request, rules) ? '' : request.header('cookie'),
    cookieName: cookie,
  })
  return found?.token ?? null
}
