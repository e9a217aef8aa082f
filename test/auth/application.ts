import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener, type ServerResponse } from 'node:http'
import type { Teardown } from '../support/wait.ts'

/** An application that says who its users are. */
export interface Application {
  readonly url: string
  /** Headers of the requests that came. */
  readonly asked: readonly IncomingHttpHeaders[]
  /** Questions that are under way now, and the most that ever were. */
  readonly busy: number
  readonly busiest: number
  /** What it does from now on. */
  answer: (response: ServerResponse, headers: IncomingHttpHeaders) => unknown
  /** As `answer`: JSON with this status. */
  say(value: unknown, status?: number): void
  /** Nobody listens any more; `start` again takes the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

export function reply(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value))
}

/** By the cookie `sessionid` who is in `sessions`; nobody else. */
export async function startApplication(
  t: Teardown,
  sessions: ReadonlyMap<string, unknown> = new Map(),
): Promise<Application> {
  const asked: IncomingHttpHeaders[] = []
  let busy = 0
  let busiest = 0
  let port = 0
  const listener: RequestListener = (request, response) => {
    asked.push(request.headers)
    busiest = Math.max(busiest, ++busy)
    response.once('close', () => busy--)
    application.answer(response, request.headers)
  }
  let server = createServer(listener)
  const application: Application = {
    get url() {
      return `http://127.0.0.1:${port}/whoami`
    },
    asked,
    get busy() {
      return busy
    },
    get busiest() {
      return busiest
    },
    answer: (response, { cookie = '' }) => {
      const session = /(?:^|; )sessionid=([^;]*)/.exec(cookie)?.[1] ?? ''
      reply(response, sessions.has(session) ? sessions.get(session) : { user: null })
    },
    say(value, status) {
      application.answer = (response) => reply(response, value, status)
    },
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
    async start() {
      server = createServer(listener).listen(port, '127.0.0.1')
      await once(server, 'listening')
      const address = server.address()
      port = typeof address === 'object' && address !== null ? address.port : 0
    },
  }
  await application.start()
  t.teardown(async () => {
    if (server.listening) await application.stop()
  })
  return application
}
