import { request } from 'node:http'
import { text } from 'node:stream/consumers'

export interface Asking {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface Answered {
  readonly status: number
  readonly body: string
  /** The first cookie that was set, `name=value`; empty when none was. */
  readonly cookie: string
}

const CUT: Answered = { status: 400, body: '', cookie: '' }

/**
 * A request over a connection of its own, whose path goes as it is. A connection that is cut counts as 400: so some
 * answer what is no HTTP.
 */
export function ask(base: string, { method, path, headers = {}, body = '' }: Asking): Promise<Answered> {
  const { hostname, port } = new URL(base)
  return new Promise((resolve) => {
    const asking = request({ host: hostname, port, method, path, headers, agent: false }, (response) => {
      const { statusCode = 0, headers: answered } = response
      const cookie = answered['set-cookie']?.[0]?.split(';')[0] ?? ''
      text(response).then(
        (answer) => resolve({ status: statusCode, body: answer, cookie }),
        () => resolve(CUT),
      )
    })
    asking.on('error', () => resolve(CUT))
    asking.setTimeout(5000, () => asking.destroy())
    asking.end(body)
  })
}

/** What is closed at the proxies, and other ways to write it. */
export function closedSpellings(): string[] {
  const closed = [
    '/publish?channel=chat:x',
    '/api/stats',
    '/metrics',
    '/admin',
    '/healthz',
    '/readyz?scope=node',
    '/',
  ]
  const odd = [
    '/publish/?channel=chat:x',
    '//publish?channel=chat:x',
    '/%70ublish?channel=chat:x',
    '/publish;x?channel=chat:x',
    '/PUBLISH?channel=chat:x',
    '/publish%20?channel=chat:x',
    '/publish%00?channel=chat:x',
    '/publish#/../sse?channel=chat:x',
    'http://localhost/publish?channel=chat:x',
    'http://localhost/api/stats',
    '/./publish?channel=chat:x',
    '/\\publish?channel=chat:x',
    '/api%2fstats',
    '/api//stats',
    '/./api/stats',
    '/x/../api/stats',
    '/ws/../api/stats',
    '/sse/../api/stats',
    '/sse/%2e%2e/api/stats',
    '/call/../api/stats',
    '/call/..%2fapi/stats',
    '/call/%2e%2e/publish?channel=chat:x',
    '/call/x/../../publish?channel=chat:x',
    '/call/..;/publish?channel=chat:x',
    '/client/../api/stats',
    '/socket.io/../publish?channel=chat:x',
    '/socket.io//../publish?channel=chat:x',
    '/wsx',
    '/ws/publish',
    '/callpublish',
  ]
  return [...closed, ...odd]
}
