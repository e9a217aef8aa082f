import type { Cluster } from '../hub/cluster.ts'
import type { History } from '../hub/history.ts'
import type { Revoker } from '../hub/revoker.ts'
import type { Health } from '../ops/health.ts'
import type { Metrics } from '../ops/metrics.ts'
import { ClientError } from '../protocol/codes.ts'
import type { Request, Response } from '../listeners/listener.ts'
import type { Live } from '../rules.ts'
import type { HttpSource } from '../sources/http.ts'
import { type ApiDependencies, apiRoutes } from './api.ts'
import { revokeRoutes } from './api-revoke.ts'
import { type ForgetDependencies, forgetRoutes } from './api-forget.ts'
import { type NotifyDependencies, notifyRoutes } from './api-notify.ts'
import { JSON_HEADERS, type Route } from './http.ts'
import type { Upstream } from './upstream/upstream.ts'

export interface RoutesDependencies {
  readonly live: Live
  readonly http: HttpSource
  readonly health: Health
  readonly metrics: Metrics
  readonly cluster: Cluster
  readonly revoker: Revoker
  readonly presence: ApiDependencies['presence']
  readonly history: History
  readonly journal: ForgetDependencies['journal']
  readonly forgetting: ForgetDependencies['forgetting']
  readonly upstream: Upstream
  publishAll: ApiDependencies['publishAll']
  /** The intake's: for `/api/notify`. */
  take: NotifyDependencies['take']
  refuse(response: Response, error: unknown): void
}

/** What is served beside the transports. */
export function routes(deps: RoutesDependencies): Route[] {
  const { http, health, metrics, live } = deps
  return [
    {
      path: '/publish',
      methods: {
        POST: (request, response) =>
          http.publish(request, response, () => deps.upstream.publish(request, response)),
        OPTIONS: deps.upstream.preflight,
      },
    },
    ...deps.upstream.routes(),
    { path: '/api/publish', methods: { POST: (request, response) => http.publishByApi(request, response) } },
    ...apiRoutes({
      live,
      cluster: deps.cluster,
      presence: deps.presence,
      history: deps.history,
      publishAll: (submissions) => deps.publishAll(submissions),
      accepting: () => http.state === 'up',
      refuse: (response, error) => deps.refuse(response, error),
    }),
    ...forgetRoutes({
      live,
      forgetting: deps.forgetting,
      journal: deps.journal,
      accepting: () => http.state === 'up',
      refuse: (response, error) => deps.refuse(response, error),
    }),
    ...notifyRoutes({
      live,
      take: (notification) => deps.take(notification),
      accepting: () => http.state === 'up',
      refuse: (response, error) => deps.refuse(response, error),
    }),
    ...revokeRoutes({
      live,
      revoker: deps.revoker,
      revocations: live.rules.revocations,
      accepting: () => http.state === 'up',
      refuse: (response, error) => deps.refuse(response, error),
    }),
    { path: '/healthz', methods: { GET: (_request, response) => answer(response, 200, { ok: true }) } },
    {
      path: '/readyz',
      methods: {
        GET: (request, response) => {
          const { ready, parts } = health.check(request.query.includes('scope=node') ? 'node' : 'all')
          // Reasons name hosts and users: they are for those who may use the API.
          const told = live.rules.peers.mayPublish(request).ok
          const shown = parts.map(({ name, state, reason }) =>
            told && reason !== null ? { name, state, reason } : { name, state },
          )
          answer(response, ready ? 200 : 503, { ready, parts: shown })
        },
      },
    },
    {
      path: '/metrics',
      methods: {
        GET: (request, response) => {
          checkKey(live, request)
          metrics.read().then(
            ({ contentType, text }) => response.reply(200, { 'Content-Type': contentType }, text),
            (error: unknown) => deps.refuse(response, error),
          )
        },
      },
    },
    {
      path: '/ws',
      methods: {
        GET: () => {
          throw new ClientError('invalid_input', 'this is a WebSocket: new WebSocket(…)')
        },
      },
    },
  ]
}

function checkKey(live: Live, request: Request): void {
  const verdict = live.rules.peers.mayPublish(request)
  if (!verdict.ok) throw new ClientError(verdict.code, verdict.message)
}

function answer(response: Response, status: number, body: unknown): void {
  response.reply(status, JSON_HEADERS, JSON.stringify(body))
}
