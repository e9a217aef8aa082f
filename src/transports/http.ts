import type { Request, Response } from '../listeners/listener.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { ClientError, ERROR_STATUS, type ErrorCode, isClientError } from '../protocol/codes.ts'
import { errorBody } from '../protocol/encode.ts'

/** Answers requests of one path. */
export type RequestHandler = (request: Request, response: Response) => void

export interface Route {
  /** A whole path, or with `/*` at its end everything below it. */
  readonly path: string
  readonly methods: Readonly<Record<string, RequestHandler>>
}

/** Finds the handler of a request. Unknown paths are 404, wrong methods 405 with `Allow`, both as JSON. */
export class HttpRouter {
  readonly #routes = new Map<string, Route['methods']>()
  readonly #folders: { readonly prefix: string; readonly methods: Route['methods'] }[] = []
  readonly #counts: Counts
  readonly #log: Log

  constructor(routes: readonly Route[], counts: Counts, log: Log) {
    this.#counts = counts
    this.#log = log
    for (const { path, methods } of routes) {
      if (path.endsWith('/*')) this.#folders.push({ prefix: path.slice(0, -1), methods })
      else this.#routes.set(path, methods)
    }
  }

  handle(request: Request, response: Response): void {
    this.#counts.requests++
    const { path } = request
    try {
      const methods = this.#find(path)
      if (methods === undefined) throw new ClientError('not_found', 'nothing is here')
      const handler = this.#choose(methods, request.method)
      if (handler !== undefined) return handler(request, response)
      const allow = allowed(methods)
      this.refuse(response, new ClientError('method_not_allowed', `use ${allow}`), { Allow: allow })
    } catch (error) {
      this.refuse(response, error)
    }
  }

  /** Answers with an error; what is no ClientError is logged and told as `internal`. */
  refuse(
    response: Pick<Response, 'reply'>,
    error: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    if (!isClientError(error)) this.#log.error({ err: error }, 'request failed')
    const told = isClientError(error) ? error : new ClientError('internal', 'the daemon failed here')
    this.#counts.error('http', told.code)
    replyError(response, told, headers)
  }

  #find(path: string): Route['methods'] | undefined {
    return this.#routes.get(path) ?? this.#folders.find(({ prefix }) => path.startsWith(prefix))?.methods
  }

  #choose(methods: Route['methods'], method: string): RequestHandler | undefined {
    if (Object.hasOwn(methods, method)) return methods[method]
    return method === 'HEAD' ? methods['GET'] : undefined
  }
}

function allowed(methods: Route['methods']): string {
  const names = Object.keys(methods)
  if (Object.hasOwn(methods, 'GET') && !Object.hasOwn(methods, 'HEAD')) names.push('HEAD')
  return names.join(', ')
}

export const JSON_HEADERS: Readonly<Record<string, string>> = { 'Content-Type': 'application/json' }

export function replyError(
  response: Pick<Response, 'reply'>,
  error: { readonly code: ErrorCode; readonly message: string; readonly details: unknown },
  headers: Readonly<Record<string, string>> = {},
): void {
  const status = ERROR_STATUS[error.code]
  // Of a body that is too large the rest is still on its way: the connection can't be used again.
  const close = error.code === 'too_large' ? { Connection: 'close' } : {}
  const body = `{"error":${errorBody(error.code, error.message, error.details)}}`
  response.reply(status, { ...JSON_HEADERS, ...close, ...headers }, body)
}
