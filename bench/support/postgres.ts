import { Client } from 'pg'
import { pino } from 'pino'
import type { Binaries } from '../../src/database/binaries.ts'
import { startEmbedded } from '../../src/database/embedded.ts'
import { migrate } from '../../src/database/migrate.ts'
import { OTHER_CORE, pin } from './process.ts'
import { newFolder, removeFolder } from './server.ts'
import { median } from './stats.ts'

/** A private PostgreSQL server. Nothing but what is said differs from its defaults: fsync and synchronous_commit are on. */
export interface Postgres {
  /** Of its first database. */
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Where `data` and the log are. */
  readonly directory: string
  /** A new database with the daemon's tables and the controls'. Its URL. */
  newDatabase(): Promise<string>
  stop(): Promise<void>
}

export interface PostgresOptions {
  readonly settings?: Readonly<Record<string, string>>
  /** @default those of the package */
  readonly binaries?: Binaries
  /** @default the other core, away from the server that is measured */
  readonly cores?: string
}

export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  const { settings = {}, binaries, cores = OTHER_CORE } = options
  const folder = await newFolder()
  // A server inherits the cores of who starts it.
  await pin(process.pid, cores)
  try {
    const server = await startEmbedded({ directory: `${folder}/postgres` }, pino({ level: 'warn' }), {
      settings,
      ...(binaries ? { binaries } : {}),
    })
    let databases = 0
    return {
      url: server.url,
      port: server.port,
      pid: server.pid,
      directory: server.directory,
      async newDatabase() {
        const name = `bench${++databases}`
        await withClient(server.url, (client) => client.query(`CREATE DATABASE ${name}`))
        const url = new URL(server.url)
        url.pathname = name
        await migrate(url.href)
        await withClient(url.href, (client) => client.query(CONTROLS))
        return url.href
      },
      async stop() {
        await server.stop()
        await removeFolder(folder)
      },
    }
  } catch (error) {
    await removeFolder(folder)
    throw error
  } finally {
    await pin(process.pid, OTHER_CORE)
  }
}

/** One connection for some statements. */
export async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** A number of the first row of a statement. */
export async function numberOf(client: Client, sql: string, values: unknown[] = []): Promise<number> {
  const { rows } = await client.query<Record<string, unknown>>(sql, values)
  return Number(Object.values(rows[0] ?? {})[0])
}

/** What one commit after another takes, each with a row to be made durable: of what commits in turn, the ceiling. */
export async function commitMs(url: string): Promise<number> {
  return withClient(url, async (client) => {
    const times: number[] = []
    for (let n = 0; n < 200; n++) {
      const begun = performance.now()
      await client.query({ name: 'work', text: `INSERT INTO control.work (note) VALUES ('one')` })
      times.push(performance.now() - begun)
    }
    return median(times)
  })
}

/*
 * What the controls write to: the journal's columns and indexes, and a position from a sequence where it is inserted,
 * not at commit. With an application's own table beside it.
 */
const CONTROLS = `
-- As a daemon that was here before has left it.
SELECT livemessage.set_subsystems('{"kept": {"journaled": true}}');
CREATE SCHEMA control;
CREATE TABLE control.journal (
  position bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  channel text COLLATE "C" NOT NULL,
  time bigint NOT NULL,
  tag bigint NOT NULL,
  data text NOT NULL,
  exclude text,
  mark text
);
CREATE INDEX ON control.journal (channel, position);
CREATE TABLE control.work (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL);
`
