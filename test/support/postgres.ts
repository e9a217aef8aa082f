import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, lstat, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { pino } from 'pino'
import { findBinaries } from '../../src/database/binaries.ts'
import type { Binaries } from '../../src/database/binaries.ts'
import { startEmbedded } from '../../src/database/embedded.ts'
import type { EmbeddedOptions, EmbeddedServer } from '../../src/database/embedded.ts'
import { isAlive } from '../../src/database/process.ts'
import type { Log } from '../../src/ops/log.ts'
import { binariesOf } from './majors.ts'

const run = promisify(execFile)

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
  /** Another major than the package's: from the system's packages, or from npm. */
  readonly major?: number
  readonly settings?: Readonly<Record<string, string>>
}

/** Starts a private server; it and its data go at teardown. */
export async function startPostgres(
  t: { teardown(handler: () => Promise<void>): unknown },
  options: TestPostgresOptions = {},
): Promise<TestPostgres> {
  const binaries = options.major === undefined ? await findBinaries() : await binariesOf(options.major)
  const directory = await databaseFolder(binaries)
  const embedded: EmbeddedOptions = {
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', ...options.settings },
    binaries,
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
      // Its children too, as far as they can be found: one that is at work would answer a while longer.
      const pids = [server.pid, ...(await childrenOf(server.pid))]
      for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
      while (pids.some(isAlive)) await delay(2)
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

async function childrenOf(pid: number): Promise<number[]> {
  const file = `/proc/${pid}/task/${pid}/children`
  if (!existsSync(file)) return []
  return (await readFile(file, 'utf8'))
    .split(' ')
    .map(Number)
    .filter((child) => child > 0)
}

/** A temporary folder that other users may enter, as the one that runs the server for root must. */
export async function openFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-test-'))
  await chmod(folder, 0o711)
  return folder
}

/** An `openFolder` with an empty database in it: a copy of one that was made once, which is ten times as fast. */
export async function databaseFolder(binaries: Binaries): Promise<string> {
  const code = await readFile(path.resolve(import.meta.dirname, '../../src/database/cluster.ts'))
  const key = createHash('sha256').update(code).update(binaries.version).digest('hex').slice(0, 12)
  const template = path.join(tmpdir(), `livemessages-template-${process.getuid?.() ?? ''}-${key}`)
  if (!existsSync(template)) await makeTemplate(template, binaries)
  const { uid } = await lstat(template)
  if (process.getuid !== undefined && uid !== process.getuid()) throw new Error(`${template} is not ours`)
  const folder = await openFolder()
  await run('cp', ['-a', `${template}/.`, folder])
  return folder
}

async function makeTemplate(template: string, binaries: Binaries): Promise<void> {
  const folder = await openFolder()
  try {
    const server = await startEmbedded({ directory: folder }, silent(), { binaries })
    await server.stop()
    await rm(path.join(folder, 'port')) // each copy finds one of its own
    await rename(folder, template)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    if (!existsSync(template)) throw error // else another test made it meanwhile
  }
}

/** A log that nobody reads, or the terminal with TEST_LOG=debug. */
export function silent(): Log {
  return pino({ level: process.env['TEST_LOG'] ?? 'silent' })
}
