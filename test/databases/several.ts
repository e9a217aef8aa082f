import { Client } from 'pg'
import { withDatabase } from '../../src/config/databases.ts'
import type { AuthenticateHook } from '../../src/registry/define.ts'
import { migrate } from '../../src/database/migrate.ts'
import type { TestConfig } from '../support/daemon.ts'
import { startPostgres, type TestPostgres, type TestPostgresOptions } from '../support/postgres.ts'
import type { Teardown } from '../support/wait.ts'

/** A server with a home database and further ones, all migrated. */
export interface Several {
  readonly server: TestPostgres
  readonly home: string
  urlOf(database: string): string
  /** Runs SQL in one of them, over a connection of its own. */
  sql(database: string, text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** Ends all connections to it, and lets none in. */
  cut(database: string): Promise<void>
  mend(database: string): Promise<void>
}

export async function startSeveral(
  t: Teardown,
  further: readonly string[],
  options: TestPostgresOptions & { readonly migrate?: boolean } = {},
): Promise<Several> {
  const server = await startPostgres(t, options)
  const home = 'livemessages'
  const urlOf = (database: string): string => withDatabase(server.url, database)
  for (const name of further) await server.psql(`CREATE DATABASE "${name}"`)
  if (options.migrate !== false) {
    await migrate(server.url, { database: { name: home, outbox: false } })
    for (const name of further) await migrate(urlOf(name), { database: { name, outbox: true } })
  }
  return {
    server,
    home,
    urlOf,
    async sql(database, text, values) {
      const client = new Client({ connectionString: urlOf(database) })
      await client.connect()
      try {
        const result = (await client.query(text, values)) as
          { rows: Record<string, unknown>[] } | { rows: Record<string, unknown>[] }[]
        return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? []
      } finally {
        await client.end()
      }
    },
    async cut(database) {
      await server.psql(`ALTER DATABASE "${database}" ALLOW_CONNECTIONS false`)
      await server.psql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}'`,
      )
    },
    async mend(database) {
      await server.psql(`ALTER DATABASE "${database}" ALLOW_CONNECTIONS true`)
    },
  }
}

/** Believes what the token says: `42` is the home database's user, `b/42` that of b. */
export const byToken: AuthenticateHook = ({ token }) => {
  if (token === null) return null
  const [id = '', database] = token.split('/').toReversed()
  return database === undefined ? { id } : { id, database }
}

/** Of every kind one: `chat` and `mail` of all databases, `messages` and `news` of each one. */
export const SUBSYSTEMS = {
  chat: { access: 'public', publish: 'authenticated', history: { count: 10_000 } },
  ticks: { access: 'public' },
  mail: { access: 'user', delivery: 'mailbox' },
  messages: { access: 'user', history: { count: 1000 }, perDatabase: true },
  news: { access: 'authenticated', publish: 'authenticated', perDatabase: true, presence: true },
  open: { access: 'public', history: { count: 100 }, perDatabase: true },
} as const satisfies NonNullable<TestConfig['channels']>

export function configOf(several: Several, databases: readonly string[], rest: TestConfig = {}): TestConfig {
  return {
    channels: SUBSYSTEMS,
    hooks: { authenticate: byToken },
    postgres: { url: several.server.url, databases: [...databases] },
    ...rest,
  }
}
