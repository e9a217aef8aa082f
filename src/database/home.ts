import { type EmbeddedConfig, isEmbedded, type PostgresConfig } from '../config/config.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Part } from '../ops/health.ts'
import type { Log } from '../ops/log.ts'
import { type FurtherDatabase, openFurther } from './databases.ts'
import type { EmbeddedServer } from './embedded.ts'
import type { Migrations } from './migration.ts'
import { noDatabase } from './none.ts'
import type { DatabasePool } from './pool.ts'

/** The database that the daemon calls its own, wherever it runs. */
export interface Home {
  readonly pool: DatabasePool
  /** Null without a database. */
  readonly url: string | null
  /** For the LISTEN connection. */
  readonly listenUrl: string | null
  readonly embedded: boolean
  /** The other databases: none of them in the way of another. */
  readonly further: readonly FurtherDatabase[]
  /** For `/readyz`; null without a database. */
  part(): Part | null
  /** Looks whether it can be reached, for `part`, and the further ones. */
  check(): Promise<void>
  /**
   * Brings the tables of an embedded server's databases up to date; those of any other one are for `livemessage migrate`.
   * @throws {LivemessageError} DATABASE_UNREACHABLE, DATABASE_FAILED
   */
  install(migrations: readonly Migrations[]): Promise<void>
  stop(): Promise<void>
}

/**
 * Opens the database of the config. An embedded server is started; of any other one is found out whether it can be
 * reached, and the daemon goes on without it until it can.
 * @param migrations what an embedded server is brought up to date with, the daemon's own tables included; null: nothing
 * @throws {LivemessageError} DATABASE_… where the embedded server can't be had
 */
export async function openHome(
  postgres: PostgresConfig | EmbeddedConfig | null,
  migrations: readonly Migrations[] | null,
  log: Log,
): Promise<Home> {
  if (postgres === null) {
    const nothing = (): Promise<void> => Promise.resolve()
    const none = { url: null, listenUrl: null, embedded: false, further: [] }
    return { ...none, pool: noDatabase(), part: () => null, check: nothing, install: nothing, stop: nothing }
  }
  // Loaded where it is needed: without a database there need be no driver.
  const { createDatabase } = await import('./pool.ts')
  const server = isEmbedded(postgres) ? await startServer(postgres, migrations, log) : null
  const url = server?.url ?? (postgres as PostgresConfig).url
  const { minConnections, maxConnections, cleanupTimeoutMs } = postgres
  const further = await openAll(postgres, server, migrations, log)
  const pool = createDatabase({ url, minConnections, maxConnections, cleanupTimeoutMs, log })
  let reason: string | null = 'not reached yet'
  return {
    pool,
    url,
    listenUrl: isEmbedded(postgres) ? url : postgres.listenUrl,
    embedded: server !== null,
    further,
    part: () => ({
      name: 'database',
      state: reason === null ? 'up' : 'down',
      ready: reason === null,
      reason,
    }),
    async check() {
      const others = further.map((one) => one.check())
      try {
        await pool.ping()
        reason = null
      } catch (error) {
        reason = messageOf(error)
      }
      await Promise.all(others)
    },
    install: async (components) => {
      if (server === null) return
      for (const one of [server, ...further]) await install(one.url, components)
    },
    async stop() {
      await Promise.all([pool, ...further.map((one) => one.pool)].map((one) => one.stop()))
      await server?.stop()
    },
  }
}

async function startServer(
  config: EmbeddedConfig,
  migrations: readonly Migrations[] | null,
  log: Log,
): Promise<EmbeddedServer> {
  const { startEmbedded } = await import('./embedded.ts')
  let server: EmbeddedServer
  try {
    server = await startEmbedded(config, log)
  } catch (error) {
    if (error instanceof LivemessageError) throw error
    // A file system may refuse in more ways than anyone foresees: each is a database that can't be had.
    const message = `postgres: the embedded server in ${config.directory} can't be started: ${messageOf(error)}`
    throw new LivemessageError('DATABASE_FAILED', message, { cause: error })
  }
  try {
    if (migrations !== null) await install(server.url, migrations)
  } catch (error) {
    await server.stop()
    throw error
  }
  return server
}

/** An embedded server does not outlive a start that fails. */
async function openAll(
  postgres: PostgresConfig | EmbeddedConfig,
  server: EmbeddedServer | null,
  migrations: readonly Migrations[] | null,
  log: Log,
): Promise<readonly FurtherDatabase[]> {
  try {
    const further = await openFurther(postgres, server?.url ?? null, log)
    if (server !== null && migrations !== null) for (const { url } of further) await install(url, migrations)
    return further
  } catch (error) {
    await server?.stop()
    throw error
  }
}

async function install(url: string, migrations: readonly Migrations[]): Promise<void> {
  const { CORE, migrate } = await import('./migrate.ts')
  await migrate(url, { components: [CORE, ...migrations] })
}
