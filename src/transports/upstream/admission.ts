import { tokenOf } from '../../auth/bearer.ts'
import type { Request } from '../../listeners/listener.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { Credentials } from '../../registry/define.ts'
import type { Rules } from '../../rules.ts'
import { credentialsOf, proxyUser } from '../handshake.ts'
import { type BodyKind, bodyKindOf } from './body.ts'
import type { Pass } from './sessions.ts'

/** Who sends a command, as far as the request's head says. */
export interface Admitted {
  /** Null for somebody without a session. */
  readonly pass: Pass | null
  readonly credentials: Credentials | null
  readonly address: string
  readonly body: BodyKind
}

/** Whether there is a pass or anything by which a user might be known. */
export function hasCredentials(request: Request, rules: Rules): boolean {
  if (hasPass(request)) return true
  const { tokens, registry, whoami } = rules
  if (registry.hooks.authenticate !== null || whoami !== null) {
    return tokenIn(request, rules) !== null || isAmbient(request, rules)
  }
  if (proxyUser(request, rules) !== undefined) return true
  if (!tokens.configured) return false
  const found = tokenIn(request, rules)
  // A mistyped API key is no user's token, and is to be told what it is.
  return found !== null && (found.from !== 'header' || found.token.split('.').length === 3)
}

/**
 * Looks at a request that would change something. What a browser adds by itself (cookies, Basic credentials) counts
 * only from pages that the list names, or of the same host; tokens and secrets were put there by whoever knows them.
 * @throws {ClientError} forbidden, invalid_input
 */
export function admit(request: Request, rules: Rules): Admitted {
  const pass = passOf(request)
  const origin = request.header('origin')
  const named = origin !== '' && rules.namedOrigins.allows(origin, request.header('host'))
  if (pass === null && !named && isAmbient(request, rules)) {
    throw new ClientError(
      'forbidden',
      'what is sent with a cookie must come from a page of this host or of `origins` in the config, and have its Origin',
    )
  }
  return {
    pass,
    credentials: pass === null ? credentialsOf(request, rules) : null,
    address: rules.peers.clientAddress(request),
    body: bodyKindOf(request.header('content-type'), pass !== null || named),
  }
}

function hasPass(request: Request): boolean {
  if (request.header('livemessage-session') !== '' || request.header('livemessage-secret') !== '') return true
  return request.query.includes('session=') && new URLSearchParams(request.query).has('session')
}

/** In headers, or in the query for `navigator.sendBeacon`, which can send none. */
function passOf(request: Request): Pass | null {
  let session = request.header('livemessage-session')
  let secret = request.header('livemessage-secret')
  if (session === '' && secret === '' && request.query.includes('session=')) {
    const parameters = new URLSearchParams(request.query)
    session = parameters.get('session') ?? ''
    secret = parameters.get('secret') ?? ''
  }
  if (session === '' && secret === '') return null
  if (session !== '' && secret !== '') return { session, secret }
  throw new ClientError('forbidden', 'session and secret belong together; both come in the `welcome`')
}

function tokenIn(request: Request, { config }: Rules): ReturnType<typeof tokenOf> {
  const { cookie } = config.auth
  return tokenOf({
    authorization: request.header('authorization'),
    query: request.query,
    cookies: cookie === null ? '' : request.header('cookie'),
    cookieName: cookie,
  })
}

/** Whether all that says who it is may have been added by a browser. */
function isAmbient(request: Request, rules: Rules): boolean {
  const { header } = rules.config.auth
  // It counts before any token, and the proxy mostly has it from a cookie.
  if (header !== null && request.header(header) !== '' && rules.peers.isByProxy(request)) return true
  const token = tokenIn(request, rules)
  if (token !== null) return token.from === 'cookie'
  if (rules.registry.hooks.authenticate === null && rules.whoami === null) return false
  return request.header('cookie') !== '' || request.header('authorization') !== ''
}
