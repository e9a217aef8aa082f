import { Client, Pool } from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import type { Teardown } from '../support/wait.ts'
import type { TestPostgres } from '../support/postgres.ts'

/** A database of a suite's own, migrated, with a role that may publish and one that may not. */
export interface SqlDatabase {
  readonly server: TestPostgres
  readonly url: string
  /** A connection of the owner's, or of the role `application` or `stranger`; closed at teardown. */
  connect(t: Teardown, role?: 'application' | 'stranger'): Promise<Client>
  /** Runs one statement of the owner's. */
  sql(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
}

let databases = 0

export async function sqlDatabase(t: Teardown, server: TestPostgres): Promise<SqlDatabase> {
  const name = `sql_${process.pid}_${++databases}`
  await server.psql(`CREATE DATABASE ${name}`)
  const url = server.url.replace(/[^/]+$/, name)
  await migrate(url)
  await server.psql(`DO $$ BEGIN
    IF to_regrole('application') IS NULL THEN
      CREATE ROLE application LOGIN PASSWORD 'application' IN ROLE livemessage_publisher;
      CREATE ROLE stranger LOGIN PASSWORD 'stranger';
    END IF;
  END $$`)
  const pool = new Pool({ connectionString: url, max: 8 })
  // Its end does not wait for the sockets': the server's own end may come before.
  pool.on('error', (error) => {
    if (!pool.ending) throw error
  })
  t.teardown(() => pool.end())
  async function connect(t: Teardown, role?: string): Promise<Client> {
    const client = new Client({
      connectionString: role === undefined ? url : url.replace(/livemessages:[^@]+@/, `${role}:${role}@`),
    })
    await client.connect()
    t.teardown(() => client.end())
    return client
  }
  return {
    server,
    url,
    connect,
    sql: async (text, values) => (await pool.query<Record<string, unknown>>(text, values)).rows,
  }
}

/** What a NOTIFY of the journal says. */
export interface Notice {
  readonly first: number
  readonly count: number
  readonly time: number
  readonly tag: string
  /** `<channel> [!<exclude>] [~<mark>] <json>` each; empty where they did not fit. */
  readonly lines: readonly string[]
}

/** A session that listens to the journal; `heard` are its NOTIFYs until now. */
export async function listenJournal(t: Teardown, database: SqlDatabase) {
  const client = await database.connect(t)
  const notices: Notice[] = []
  client.on('notification', ({ payload = '' }) => notices.push(parse(payload)))
  await client.query('LISTEN livemessages_journal')
  return {
    // Notifications of earlier commits come before the answer to a later query.
    heard: async () => {
      await client.query('SELECT 1')
      return notices.splice(0)
    },
  }
}

/** Position, channel and data of all rows, in the order of the positions. */
export async function journalRows(database: SqlDatabase, after = 0) {
  const rows = await database.sql(
    `SELECT position::int, channel, data FROM livemessage.journal WHERE position > $1 ORDER BY position`,
    [after],
  )
  return rows as { position: number; channel: string; data: string }[]
}

/** The newest position. */
export async function head(database: SqlDatabase): Promise<number> {
  const [row] = await database.sql('SELECT coalesce(max(position), 0)::int AS n FROM livemessage.journal')
  return row?.['n'] as number
}

function parse(payload: string): Notice {
  const [header = '', ...lines] = payload.split('\n')
  if (Buffer.byteLength(payload) > 7999 || !/^\d+ \d+ \d+ -?\d+$/.test(header)) {
    throw new Error(`no NOTIFY of the journal: ${payload}`)
  }
  const [first, count, time, tag] = header.split(' ')
  const some = lines.length === 1 && lines[0] === '' ? [] : lines
  return { first: Number(first), count: Number(count), time: Number(time), tag: tag!, lines: some }
}
