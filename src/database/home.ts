import { type EmbeddedConfig, isEmbedded, type PostgresConfig } from '../config/config.ts'
import { messageOf } from '../errors.ts'
import type { Part } from '../ops/health.ts'
import type { Log } from '../ops/log.ts'
import type { EmbeddedServer } from './embedded.ts'
import { CORE, type Migrations, migrate } from './migrate.ts'
import { createDatabase, type DatabasePool, noDatabase } from './pool.ts'

/** The database that the daemon calls its own, wherever it runs. */
export interface Home {
  readonly pool: DatabasePool
  /** Null without a database. */
  readonly url: string | null
  /** For the LISTEN connection. */
  readonly listenUrl: string | null
  readonly embedded: boolean
  /** For `/readyz`; null without a database. */
  part(): Part | null
  /** Looks whether it can be reached, for `part`. */
  check(): Promise<void>
  stop(): Promise<void>
}

/**
 * Opens the database of the config. An embedded server is started, its schema installed; of any other one is
 * found out whether it can be reached, and the daemon goes on without it until it can.
 * @throws {LivemessageError} DATABASE_… where the embedded server can't be had
 */
export async function openHome(
  postgres: PostgresConfig | EmbeddedConfig | null,
  migrations: readonly Migrations[],
  log: Log,
): Promise<Home> {
  if (postgres === null) {
    const nothing = (): Promise<void> => Promise.resolve()
    const none = { url: null, listenUrl: null, embedded: false }
    return { ...none, pool: noDatabase(), part: () => null, check: nothing, stop: nothing }
  }
  const server = isEmbedded(postgres) ? await startServer(postgres, migrations, log) : null
  const url = server?.url ?? (postgres as PostgresConfig).url
  const { minConnections, maxConnections, cleanupTimeoutMs } = postgres
  const pool = createDatabase({ url, minConnections, maxConnections, cleanupTimeoutMs, log })
  let reason: string | null = 'not reached yet'
  return {
    pool,
    url,
    listenUrl: isEmbedded(postgres) ? url : postgres.listenUrl,
    embedded: server !== null,
    part: () => ({
      name: 'database',
      state: reason === null ? 'up' : 'down',
      ready: reason === null,
      reason,
    }),
    async check() {
      try {
        await pool.ping()
        reason = null
      } catch (error) {
        reason = messageOf(error)
      }
    },
    async stop() {
      await pool.stop()
      await server?.stop()
    },
  }
}

async function startServer(
  config: EmbeddedConfig,
  migrations: readonly Migrations[],
  log: Log,
): Promise<EmbeddedServer> {
  // Loaded only where it is needed: most daemons in production have a database of their own.
  const { startEmbedded } = await import('./embedded.ts')
  const server = await startEmbedded(config, log)
  try {
    await migrate(server.url, { components: [CORE, ...migrations] })
  } catch (error) {
    await server.stop()
    throw error
  }
  return server
}
