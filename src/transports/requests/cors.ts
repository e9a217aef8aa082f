import type { Request } from '../../listeners/listener.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { Rules } from '../../rules.ts'
import type { RequestHandler } from '../http.ts'

/** What every answer to this request carries, for the browser of another site's page. */
export type CorsHeaders = Readonly<Record<string, string>>

/**
 * Null where the request's `Origin` is not allowed. An origin that the list names may read with cookies; one that only
 * `*` lets in, and `null`, which any sandboxed frame is, may read what anybody may.
 */
export function corsHeaders(request: Request, { origins, namedOrigins }: Rules): CorsHeaders | null {
  const origin = request.header('origin')
  if (origin === '') return NO_ORIGIN
  const host = request.header('host')
  if (!origins.allows(origin, host)) return null
  if (!namedOrigins.allows(origin, host)) {
    return { ...NO_ORIGIN, 'Access-Control-Allow-Origin': origin === 'null' ? origin : '*', ...EXPOSED }
  }
  return {
    ...NO_ORIGIN,
    // It was found in the list, or is the host's own: there is no line break in it.
    'Access-Control-Allow-Origin': origin,
    'Access-Control-Allow-Credentials': 'true',
    ...EXPOSED,
  }
}

export interface PreflightDependencies {
  readonly live: { readonly rules: Rules }
  refuse(response: Parameters<RequestHandler>[1], error: unknown, headers?: CorsHeaders): void
}

/** Answers OPTIONS, by which browsers ask before requests that a form could not send. */
export function preflight(deps: PreflightDependencies, methods: string): RequestHandler {
  return (request, response) => {
    const headers = corsHeaders(request, deps.live.rules)
    if (headers === null) return deps.refuse(response, foreignOrigin(), NO_ORIGIN)
    const allowed = { 'Access-Control-Allow-Methods': methods, ...ALLOWED, Allow: `${methods}, OPTIONS` }
    response.reply(204, { ...headers, ...allowed }, '')
  }
}

export function foreignOrigin(): ClientError {
  return new ClientError('forbidden', 'this origin is not allowed; see `origins` in the config')
}

/** The answer differs by who asks: a cache must not give one site's to another. */
export const NO_ORIGIN: CorsHeaders = { Vary: 'Origin' }

const EXPOSED: CorsHeaders = { 'Access-Control-Expose-Headers': 'ETag, Livemessage-Lost, Retry-After' }

/** What fetch-based clients send beside the headers that need no leave. */
const ALLOWED: CorsHeaders = {
  'Access-Control-Allow-Headers':
    'Authorization, Cache-Control, Content-Type, Exclude, Idempotency-Key, If-None-Match, Last-Event-ID, ' +
    'Livemessage-Session, Livemessage-Secret',
  'Access-Control-Max-Age': '600',
}
