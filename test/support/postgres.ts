import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { pino } from 'pino'
import { startEmbedded } from '../../src/database/embedded.ts'
import type { EmbeddedOptions, EmbeddedServer } from '../../src/database/embedded.ts'
import { isAlive } from '../../src/database/process.ts'
import type { Log } from '../../src/ops/log.ts'

/** A PostgreSQL server of one test's own. */
export interface TestPostgres {
  /** Of the superuser `livemessages`; the same after a restart. */
  readonly url: string
  readonly port: number
  /** Ends the server at once, as a power failure would. */
  kill(): Promise<void>
  /** Starts it again, on the same port; stops it before where it runs. */
  restart(): Promise<void>
  /** An orderly end; `restart` brings it back. */
  stop(): Promise<void>
  /** Runs SQL over a connection of its own; resolves with the rows of the last statement. */
  psql(sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>
}

export interface TestPostgresOptions {
  /** Another major than the package's, from the system's packages. */
  readonly major?: number
  readonly settings?: Readonly<Record<string, string>>
}

/** Starts a private server; it and its data go at teardown. */
export async function startPostgres(
  t: { teardown(handler: () => Promise<void>): unknown },
  options: TestPostgresOptions = {},
): Promise<TestPostgres> {
  const directory = await openFolder()
  const embedded: EmbeddedOptions = {
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', ...options.settings },
    ...(options.major === undefined ? {} : { binaries: installed(options.major) }),
  }
  let server: EmbeddedServer
  try {
    server = await startEmbedded({ directory }, silent(), embedded)
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
  const { url, port } = server
  t.teardown(async () => {
    await server.stop()
    await rm(directory, { recursive: true, force: true })
  })
  return {
    url,
    port,
    async kill() {
      process.kill(server.pid, 'SIGKILL')
      while (isAlive(server.pid)) await delay(2)
    },
    async restart() {
      await server.stop()
      server = await startEmbedded({ directory }, silent(), { ...embedded, port })
    },
    stop: () => server.stop(),
    async psql(sql, values) {
      const client = new Client({ connectionString: url })
      await client.connect()
      try {
        const result = (await client.query(sql, values)) as
          { rows: Record<string, unknown>[] } | { rows: Record<string, unknown>[] }[]
        return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? []
      } finally {
        await client.end()
      }
    },
  }
}

/** A temporary folder that other users may enter, as the one that runs the server for root must. */
export async function openFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-test-'))
  await chmod(folder, 0o711)
  return folder
}

/** A log that nobody reads, or the terminal with TEST_LOG=debug. */
export function silent(): Log {
  return pino({ level: process.env['TEST_LOG'] ?? 'silent' })
}

function installed(major: number) {
  const folder = `/usr/lib/postgresql/${major}`
  if (!existsSync(`${folder}/bin/postgres`))
    throw new Error(`PostgreSQL ${major} is not installed in ${folder}`)
  return { folder, version: String(major), major }
}
