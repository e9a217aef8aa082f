import type { Counts } from '../../ops/counts.ts'
import type { Log } from '../../ops/log.ts'
import type { ErrorCode } from '../../protocol/codes.ts'
import type { EngineServer, EngineSocket } from './engine.ts'

export interface WatchDependencies {
  readonly counts: Counts
  readonly services: { readonly log: Log }
  readonly live: { readonly rules: { readonly config: { readonly workers: number } } }
}

/**
 * Counts what Engine.IO refuses by itself, and makes of it the end that it should be.
 * @param kind what the server answers requests with
 */
export function watchEngine(engine: EngineServer, kind: 'uws' | 'node', deps: WatchDependencies): void {
  const { counts, services, live } = deps
  // Each worker of a port has its own sessions.
  const shared = live.rules.config.workers > 1
  let told = false
  engine.on('connection_error', ({ code }) => {
    if (code === UNKNOWN_SESSION && shared && !told) {
      told = true
      services.log.warn(
        'a polling client of Socket.IO or Engine.IO reached a worker that does not know its session, and begins anew: ' +
          "serve them by WebSocket alone (transports: ['websocket']), or by a proxy before nodes with a port each",
      )
    }
    // Those are counted where they are refused.
    if (code !== FORBIDDEN) counts.error('http', '400')
  })
  engine.on('connection', (conn) => {
    conn.on('close', (reason, description) => {
      const code = mistakeOf(reason, description)
      if (code !== null) counts.error('client', code)
    })
  })
  if (kind === 'node') engine.use(endOversized(engine, counts))
}

/** On uWS a body that is too large ends its session; on node:http it would go on. */
function endOversized({ clients }: EngineServer, counts: Counts): Parameters<EngineServer['use']>[0] {
  return (request, response, next) => {
    if (request.method === 'POST') {
      response.once('finish', () => {
        if (response.statusCode !== 413) return
        counts.error('client', 'too_large')
        sessionOf(clients, request.url)?.close(true)
      })
    }
    next()
  }
}

function sessionOf(clients: EngineServer['clients'], url = ''): EngineSocket | undefined {
  const sid = new URLSearchParams(url.split('?')[1]).get('sid') ?? ''
  return Object.hasOwn(clients, sid) ? clients[sid] : undefined
}

/** What a client did wrong that ended its connection; null for a loss, and for who just went. */
function mistakeOf(reason: string, description: unknown): ErrorCode | null {
  if (reason === 'parse error') return 'bad_frame'
  if (reason !== 'transport error' || !(description instanceof Error)) return null
  if (description.message === 'payload too large') return 'too_large'
  return WRONG.has(description.message) ? 'bad_frame' : null
}

/** Of Engine.IO's errors. */
const UNKNOWN_SESSION = 1
const FORBIDDEN = 4

/** What its transports and sockets say of clients that break the protocol. */
const WRONG: ReadonlySet<string> = new Set([
  'overlap from client',
  'data request overlap from client',
  'content-length header required',
  'content-length mismatch',
  'invalid content',
  'invalid heartbeat direction',
])
