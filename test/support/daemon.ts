import { once } from 'node:events'
import { createServer } from 'node:net'
import path from 'node:path'
import type { Config } from '../../src/config/config.ts'
import type { ConfigInput } from '../../src/config/input.ts'
import { createModuleLoader } from '../../src/config/modules.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { Daemon, type Started } from '../../src/daemon.ts'
import { migrate } from '../../src/database/migrate.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import type { Registry } from '../../src/registry/registry.ts'
import { type Teardown, until } from './wait.ts'

/** A line of the log, decoded. */
export type LogLine = { readonly level: string; readonly msg: string } & Readonly<Record<string, unknown>>

export interface TestDaemonOptions {
  /** Where the config's relative paths start. @default the repository, so that './actions/chat/say.ts' is found */
  readonly root?: string
  /** @default 'debug'; all of it is kept in `lines`, with TEST_LOG=1 it is printed too */
  readonly logLevel?: string
  /** Installs the tables of the daemon and its modules in the database of `postgres.url` before the start. */
  readonly migrate?: boolean
}

/** A daemon inside the test's process, listening on a port of its own. */
export interface TestDaemon {
  readonly daemon: Daemon
  readonly config: Config
  readonly started: Started
  readonly port: number
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  /** `ws://127.0.0.1:<port>/ws` */
  readonly ws: string
  /** What it has logged so far. */
  readonly lines: readonly LogLine[]
  /** Waits for a logged line with these fields: `logged({ msg: 'reconnecting' })`. */
  logged(fields: Readonly<Record<string, unknown>>, deadlineMs?: number): Promise<LogLine>
  /** `POST /publish`; resolves with status and the answer's body, decoded. */
  publish(
    channel: string,
    data: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ status: number; body: unknown }>
  /** Reloads with another config, as SIGHUP would. The first one's port, root and log stay. */
  reload(input: TestConfig): Promise<void>
  /** Idempotent; the teardown does it too. */
  stop(reason?: 'restart' | 'shutdown'): Promise<void>
}

/** ACTIONS may be left out. */
export type TestConfig = Partial<ConfigInput>

const REPOSITORY = path.join(import.meta.dirname, '../..')

/**
 * Starts a daemon with this config, without a database unless `postgres` says otherwise, and stops it at
 * teardown. What the environment says does not count.
 */
export async function startDaemon(
  t: Teardown,
  input: TestConfig = {},
  options: TestDaemonOptions = {},
): Promise<TestDaemon> {
  const { root = REPOSITORY, logLevel = 'debug' } = options
  const lines: LogLine[] = []
  const log = createLogger({ level: logLevel, destination: { write: (text) => keep(lines, text) } })
  let latest = input
  const load = (): Promise<Version> => loadVersion(latest, root)
  const { config, registry } = await load()
  if (options.migrate === true && config.postgres !== null && 'url' in config.postgres) {
    await migrate(config.postgres.url, { components: registry.migrations })
  }
  const daemon = new Daemon({ config, registry, log, load })
  t.teardown(() => daemon.stop())
  const started = await daemon.start()
  const port = 'port' in started.address ? started.address.port : 0
  const url = `http://127.0.0.1:${port}`
  return {
    daemon,
    config,
    started,
    port,
    url,
    ws: `ws://127.0.0.1:${port}/ws`,
    lines,
    logged: (fields, deadlineMs) =>
      until(
        `a log line with ${JSON.stringify(fields)}`,
        () => lines.find((line) => holds(line, fields)),
        deadlineMs,
      ),
    publish: async (channel, data, headers = {}) => {
      const response = await fetch(`${url}/publish?channel=${encodeURIComponent(channel)}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: JSON.stringify(data),
      })
      return { status: response.status, body: await response.json() }
    },
    reload: (next) => {
      latest = next
      return daemon.reload()
    },
    stop: (reason) => daemon.stop(reason),
  }
}

/**
 * A port that nobody has, for tests that listen on it again: of one that the kernel chose when it listened uWS can
 * take possession again only a minute after its last connection has ended.
 */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('the kernel gave no port')
  return address.port
}

interface Version {
  readonly config: Config
  readonly registry: Registry
}

async function loadVersion(input: TestConfig, root: string): Promise<Version> {
  const whole = { ACTIONS: {}, host: '127.0.0.1', port: 0, postgres: false, ...input }
  const { config } = resolveConfig({ config: whole }, { root, file: null })
  return { config, registry: await loadRegistry(config, createModuleLoader({ root })) }
}

function keep(lines: LogLine[], text: string): void {
  if (process.env['TEST_LOG']) process.stderr.write(text)
  const line: LogLine = JSON.parse(text)
  lines.push(line)
}

/** Whether all these fields are there with these values, objects compared by their fields. */
export function holds(value: unknown, fields: Readonly<Record<string, unknown>>): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(fields).every(([name, expected]) => {
    const found: unknown = Reflect.get(value, name)
    if (Array.isArray(expected)) return JSON.stringify(found) === JSON.stringify(expected)
    if (typeof expected === 'object' && expected !== null) return holds(found, { ...expected })
    return Object.is(found, expected)
  })
}
