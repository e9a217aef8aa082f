import { randomBytes } from 'node:crypto'
import { WebSocket } from 'ws'
import type { ConfigInput } from '../config/input.ts'
import { createModuleLoader } from '../config/modules.ts'
import { resolveConfig } from '../config/resolve.ts'
import type { PostgresInput } from '../config/servers-input.ts'
import { isRecord } from '../config/values.ts'
import { Daemon } from '../daemon.ts'
import { noDatabase } from '../database/none.ts'
import type { DatabasePool } from '../database/pool.ts'
import type { Log } from '../ops/log.ts'
import type { Database, PublishOptions } from '../registry/define.ts'
import { loadRegistry } from '../registry/load.ts'
import { CallError } from './call-error.ts'
import type { ActionName, Actions, CallArguments, CallResult } from './calls.ts'
import { type ConnectOptions, TestClient } from './client.ts'
import { openTestDatabase } from './database.ts'
import { causeOf, keepLog, type LogLine } from './log.ts'
import { type Sign, signing } from './token.ts'

/** A config as in `livemessages.config.ts`, of which nothing has to be said. */
export interface TestConfig<A extends Actions = Actions> extends Omit<
  ConfigInput,
  'ACTIONS' | 'postgres' | 'ini'
> {
  readonly ACTIONS?: A
  /**
   * `'embedded'`: a server of its own in a temporary folder, empty and gone at the end; a URL: that database, as it
   * is. The tables of the daemon and of the modules are installed in either.
   * @default false
   */
  readonly postgres?: false | string | PostgresInput
}

export interface TestOptions {
  /** The folder that paths of modules are relative to. @default the current one */
  readonly root?: string
  /** Prints the log from this level on: `'warn'`, `'debug'`. It is kept in `daemon.log` anyway. @default nothing is printed */
  readonly print?: 'trace' | 'debug' | 'info' | 'warn' | 'error'
  /** How long clients wait for anything, in ms. @default 5000 */
  readonly deadlineMs?: number
}

/** Who asks by HTTP. */
export type HttpOptions = Pick<ConnectOptions, 'user' | 'token' | 'info' | 'channels'>

/** A daemon in the test's process, on a port of its own. */
export interface TestDaemon<A extends Actions = Actions> extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  /** `ws://127.0.0.1:<port>/ws` */
  readonly ws: string
  /** All that it has logged, from `debug` on. */
  readonly log: readonly LogLine[]
  /** The database, for a second daemon or a client of your own; null without one. */
  readonly databaseUrl: string | null
  /** The same. @throws {ClientError} unavailable, on use where there is none */
  readonly db: Database
  /** A client, by WebSocket. `connect<typeof ACTIONS>()` types its calls otherwise. @throws {CallError} refused */
  connect<C extends Actions = A>(options?: ConnectOptions): Promise<TestClient<C>>
  /** Calls an action by HTTP. @throws {CallError} */
  call<N extends ActionName<A>>(
    action: N,
    data: CallArguments<A, N>[0],
    options?: HttpOptions,
  ): Promise<CallResult<A, N>>
  /** Publishes as the application does. Resolves with the cursor, null on a transient channel. @throws {CallError} */
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<{ readonly id: string | null }>
  /** Hands a notification to the subsystem's sender. @throws {CallError} */
  notify(subsystem: string, data: unknown): Promise<void>
  /** A token of this user, as your application would sign it. */
  token(options: HttpOptions & { readonly user: string }): string
  /** Any other request, `/sse?channel=…` among them. */
  fetch(path: string, init?: RequestInit & HttpOptions): Promise<Response>
  /** The server API, with a key: a POST of the body, or a GET without one. @throws {CallError} */
  api(path: string, body?: unknown): Promise<unknown>
  /** Closes all clients, stops the daemon, removes the embedded database. Idempotent; nothing stays open. */
  stop(): Promise<void>
}

/**
 * Starts a daemon with this config in the test's own process: free port, nothing printed, no database and a journal
 * in memory unless the config asks for more. What the environment says does not count.
 * @throws {LivemessageError} as `livemessage start` would
 */
export async function startTestDaemon<const A extends Actions = Actions>(
  config: TestConfig<A> = {},
  options: TestOptions = {},
): Promise<TestDaemon<A>> {
  const { lines, log } = keepLog('debug', options.print ?? null)
  const database = await openTestDatabase(config.postgres, log)
  try {
    const { auth, sign } = signing(config.auth)
    const key = randomBytes(24).toString('base64url')
    const { root = process.cwd(), deadlineMs = 5000 } = options
    const whole = {
      host: '127.0.0.1',
      port: 0,
      stop: '2s',
      ACTIONS: {},
      ...config,
      auth,
      api: { ...config.api, keys: [...(config.api?.keys ?? []), key] },
      postgres: database.postgres,
    }
    const { config: resolved } = resolveConfig({ config: whole }, { root, file: null })
    const registry = await loadRegistry(resolved, createModuleLoader({ root }))
    if (database.url !== null) {
      const { migrate } = await import('../database/migrate.ts')
      await migrate(database.url, { components: registry.migrations })
    }
    const db = await poolOf(database.url, log)
    const daemon = new Daemon({ config: resolved, registry, log })
    const { address } = await daemon.start()
    const place = 'port' in address ? `127.0.0.1:${address.port}` : address.socket
    const running = {
      daemon,
      db,
      database,
      place,
      sign,
      key,
      lines,
      deadlineMs,
      prefix: resolved.calls.prefix,
    }
    return new Running<A>(running)
  } catch (error) {
    await database.remove()
    throw error
  }
}

async function poolOf(url: string | null, log: Log): Promise<DatabasePool> {
  if (url === null) return noDatabase()
  const { createDatabase } = await import('../database/pool.ts')
  return createDatabase({
    url,
    minConnections: 0,
    maxConnections: 5,
    cleanupTimeoutMs: 1000,
    log,
    quiet: true,
  })
}

interface Parts {
  readonly daemon: Daemon
  readonly db: DatabasePool
  readonly database: { readonly url: string | null; remove(): Promise<void> }
  readonly place: string
  readonly sign: Sign
  readonly key: string
  readonly lines: readonly LogLine[]
  readonly deadlineMs: number
  readonly prefix: string
}

class Running<A extends Actions> implements TestDaemon<A> {
  readonly url: string
  readonly ws: string
  readonly log: readonly LogLine[]
  readonly databaseUrl: string | null
  readonly db: Database
  readonly #parts: Parts
  readonly #clients = new Set<TestClient>()
  #count = 0
  #stopping: Promise<void> | undefined

  constructor(parts: Parts) {
    this.#parts = parts
    this.url = `http://${parts.place}`
    this.ws = `ws://${parts.place}/ws`
    this.log = parts.lines
    this.databaseUrl = parts.database.url
    this.db = parts.db
  }

  async connect<C extends Actions = A>(options: ConnectOptions = {}): Promise<TestClient<C>> {
    const { deadlineMs, lines } = this.#parts
    const { headers, query, name = options.user ?? `client ${++this.#count}` } = options
    const url = new URL(this.ws)
    for (const [field, value] of Object.entries(query ?? {})) url.searchParams.append(field, value)
    const socket = new WebSocket(url, 'livemessage.v1', {
      headers: { ...this.#bearer(options), ...headers },
      handshakeTimeout: deadlineMs,
    })
    const client = new TestClient<C>(socket, {
      name,
      deadlineMs,
      causeOf: (action) => causeOf(lines, action),
    })
    this.#clients.add(client)
    try {
      return await client.welcomed()
    } catch (error) {
      await client.drop()
      throw error
    }
  }

  async call<N extends ActionName<A>>(
    action: N,
    data: CallArguments<A, N>[0],
    options: HttpOptions = {},
  ): Promise<CallResult<A, N>> {
    const path = `${this.#parts.prefix}/${action.replace('.', '/')}`
    const answer = await this.fetch(path, { ...options, ...post(data) })
    const body = await bodyOf(answer)
    if (!answer.ok) throw refusal(body, answer, causeOf(this.#parts.lines, action))
    // What the action is said to return is for the compiler to know.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    return (isRecord(body) ? body['data'] : undefined) as CallResult<A, N>
  }

  async publish(
    channel: string,
    data: unknown,
    { key, exclude }: PublishOptions = {},
  ): Promise<{ readonly id: string | null }> {
    const headers: Record<string, string> = key === undefined ? {} : { 'Idempotency-Key': key }
    const answer = await this.#api('/api/publish', { channel, data, exclude }, headers)
    return { id: isRecord(answer) && typeof answer['id'] === 'string' ? answer['id'] : null }
  }

  async notify(subsystem: string, data: unknown): Promise<void> {
    await this.#api('/api/notify', { subsystem, data })
  }

  token(options: HttpOptions & { readonly user: string }): string {
    return options.token ?? this.#parts.sign(options)
  }

  fetch(
    path: string,
    { user, token, info, channels, ...init }: RequestInit & HttpOptions = {},
  ): Promise<Response> {
    const headers = new Headers(init.headers)
    const who = this.#bearer({
      ...(user === undefined ? {} : { user }),
      ...(token === undefined ? {} : { token }),
      ...(channels === undefined ? {} : { channels }),
      info,
    })
    for (const [name, value] of Object.entries(who)) headers.set(name, value)
    return fetch(new URL(path, this.url), {
      signal: AbortSignal.timeout(this.#parts.deadlineMs),
      ...init,
      headers,
    })
  }

  api(path: string, body?: unknown): Promise<unknown> {
    return this.#api(path, body)
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #stop(): Promise<void> {
    const { daemon, db, database } = this.#parts
    await Promise.all([...this.#clients].map((client) => client.close()))
    // Whatever fails: a server that ran on would outlive the tests.
    try {
      await daemon.stop()
      await db.stop()
    } finally {
      await database.remove()
    }
  }

  async #api(path: string, body?: unknown, more: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const { headers, ...init } = body === undefined ? {} : post(body)
    const answer = await this.fetch(path, {
      ...init,
      headers: { ...headers, ...more, Authorization: `Bearer ${this.#parts.key}` },
    })
    const told = await bodyOf(answer)
    if (!answer.ok) throw refusal(told, answer)
    return told
  }

  #bearer(who: HttpOptions): Record<string, string> {
    const { user, token } = who
    if (token !== undefined) return { Authorization: `Bearer ${token}` }
    return user === undefined ? {} : { Authorization: `Bearer ${this.token({ ...who, user })}` }
  }
}

function post(body: unknown): { method: string; headers: Record<string, string>; body: string } {
  return {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body) ?? 'null',
  }
}

async function bodyOf(answer: Response): Promise<unknown> {
  const text = await answer.text()
  try {
    return JSON.parse(text)
  } catch {
    // Not the daemon's API: the text itself is what came.
    return text
  }
}

function refusal(body: unknown, answer: Response, cause?: Error): CallError {
  const told = isRecord(body) && isRecord(body['error']) ? body['error'] : null
  if (told === null) return new CallError({ code: `http_${answer.status}`, message: String(body) })
  return new CallError(told, told['code'] === 'internal' && cause !== undefined ? { cause } : undefined)
}
