import { createServer } from 'node:http'
import type { Test } from 'tap'
import { freePort, startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import type { TestPostgres } from '../support/postgres.ts'
import { type Teardown, until } from '../support/wait.ts'

export const KEY = 'the-key-of-the-tests'

/** Two whole daemons on one database, behind proxies of this machine. */
export interface Pair {
  readonly servers: readonly string[]
  readonly daemons: TestDaemon[]
  /** `GET` of the server API at one of them. */
  get(index: number, path: string): Promise<unknown>
  /** Publishes a number at one of them, at most once; resolves with the status. */
  publish(index: number, channel: string, data: number): Promise<number>
  /** Starts one that was stopped again, at the same place; resolves when both know each other. */
  restart(index: number): Promise<void>
}

export async function startPair(t: Test, server: TestPostgres, more: TestConfig = {}): Promise<Pair> {
  const config: TestConfig = {
    ACTIONS: { chat: { echo: { access: 'public', handle: (data: unknown) => data } } },
    channels: { chat: { access: 'public', history: {} } },
    postgres: { url: server.url },
    trustedProxies: ['127.0.0.1', 'unix'],
    api: { keys: [KEY] },
    ...more,
  }
  const ports = [await freePort(), await freePort()]
  const daemons: TestDaemon[] = []
  for (const port of ports) daemons.push(await startDaemon(t, { ...config, port }, { migrate: true }))
  const headers = { authorization: `Bearer ${KEY}` }
  const get = async (index: number, path: string): Promise<unknown> =>
    (await fetch(daemons[index]!.url + path, { headers })).json()
  const acquainted = (): Promise<unknown> =>
    until('both know each other', async () => {
      const both = (await Promise.all([get(0, '/api/stats'), get(1, '/api/stats')])) as { nodes: unknown[] }[]
      return both.every(({ nodes }) => nodes.length === 2)
    })
  await acquainted()
  return {
    servers: ports.map((port) => `127.0.0.1:${port}`),
    daemons,
    get,
    publish: async (index, channel, data) =>
      (
        await daemons[index]!.publish(channel, data, {
          ...headers,
          'Idempotency-Key': `${channel} ${String(data)}`,
        })
      ).status,
    restart: async (index) => {
      daemons[index] = await startDaemon(t, { ...config, port: ports[index]! })
      await acquainted()
    },
  }
}

/** A server that only says its name, notes what it is asked for, and may say that it is draining. */
export interface Stub {
  readonly server: string
  readonly asked: { readonly url: string; readonly headers: Readonly<globalThis.Record<string, unknown>> }[]
  draining: boolean
  /** As a process that is killed: its connections are cut. */
  stop(): Promise<void>
}

export async function startStub(t: Teardown, name: string): Promise<Stub> {
  const port = await freePort()
  const server = createServer((request, response) => {
    const url = request.url ?? ''
    if (url.startsWith('/readyz')) response.statusCode = stub.draining ? 503 : 200
    else stub.asked.push({ url, headers: request.headers })
    request.resume()
    response.end(name)
  })
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  const stub: Stub = { server: `127.0.0.1:${port}`, asked: [], draining: false, stop }
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  t.teardown(stop)
  return stub
}
