import { databaseNames, withDatabase } from '../config/databases.ts'
import { type EmbeddedConfig, isEmbedded, type PostgresConfig } from '../config/config.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Part } from '../ops/health.ts'
import type { Log } from '../ops/log.ts'
import type { DatabasePool } from './pool.ts'

/** A database beside the home one, as modules use it. */
export interface FurtherDatabase {
  readonly name: string
  readonly url: string
  /** For the LISTEN connection. */
  readonly listenUrl: string
  readonly pool: DatabasePool
  /** For `/readyz`. */
  part(): Part
  /** Looks whether it can be reached, for `part`. */
  check(): Promise<void>
}

/**
 * The further databases of the config, none of them connected yet. What the embedded server does not have is made.
 * @param serverUrl of the embedded server, where there is one
 * @throws {LivemessageError} DATABASE_FAILED where the embedded server can't make one
 */
export async function openFurther(
  postgres: PostgresConfig | EmbeddedConfig,
  serverUrl: string | null,
  log: Log,
): Promise<readonly FurtherDatabase[]> {
  const { further } = databaseNames(postgres)
  if (further.length === 0) return []
  if (serverUrl !== null) await make(serverUrl, further)
  const url = serverUrl ?? (postgres as PostgresConfig).url
  const listenUrl = isEmbedded(postgres) ? url : postgres.listenUrl
  const { createDatabase } = await import('./pool.ts')
  const { minConnections, maxConnections, cleanupTimeoutMs } = postgres
  return further.map((name) => {
    const own = withDatabase(url, name)
    const pool = createDatabase({ url: own, minConnections, maxConnections, cleanupTimeoutMs, log })
    let reason: string | null = 'not reached yet'
    return {
      name,
      url: own,
      listenUrl: withDatabase(listenUrl, name),
      pool,
      part: () => ({
        name: `database:${name}`,
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
    }
  })
}

async function make(serverUrl: string, names: readonly string[]): Promise<void> {
  const { Client, escapeIdentifier } = await import('pg')
  const client = new Client({ connectionString: serverUrl, application_name: 'livemessages' })
  try {
    await client.connect()
    for (const name of names) {
      const { rows } = await client.query('SELECT FROM pg_database WHERE datname = $1', [name])
      if (rows.length === 0)
        await client.query(`CREATE DATABASE ${escapeIdentifier(name)}`).catch(unlessThere)
    }
  } catch (error) {
    throw new LivemessageError(
      'DATABASE_FAILED',
      `postgres.databases: the embedded server can't make ${names.join(', ')}: ${messageOf(error)}`,
      { cause: error },
    )
  } finally {
    await client.end()
  }
}

/** Another node was quicker: either code, by when it noticed. */
function unlessThere(error: unknown): void {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  if (code !== '42P04' && code !== '23505') throw error
}
