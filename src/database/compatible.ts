import { LivemessageError } from '../errors.ts'
import { CORE } from './migrate.ts'
import type { DatabasePool } from './pool.ts'

/** The version of the schema that this daemon was written for. */
const SCHEMA_VERSION = CORE.migrations.length

/**
 * Refuses a schema that this daemon can't work with: an older one, and a newer one that needs newer daemons. A newer
 * one that does not is fine: a rolling upgrade migrates first, and the older daemons go on.
 * @throws {LivemessageError} DATABASE_NOT_INSTALLED, DATABASE_INCOMPATIBLE
 */
export async function checkSchema({ query }: Pick<DatabasePool, 'query'>): Promise<void> {
  const { rows } = await query<{ there: boolean }>(
    "SELECT to_regclass('livemessage.meta') IS NOT NULL AS there",
  )
  if (rows[0]?.there !== true) {
    throw new LivemessageError(
      'DATABASE_NOT_INSTALLED',
      "the database lacks the journal's tables: run 'livemessage migrate' first",
    )
  }
  const { rows: found } = await query<{ version: number; since: number }>(FOUND)
  const { version = 0, since = 0 } = found[0] ?? {}
  if (version < SCHEMA_VERSION) {
    throw new LivemessageError(
      'DATABASE_NOT_INSTALLED',
      `the database's schema has version ${version}, this daemon needs ${SCHEMA_VERSION}: run 'livemessage migrate' first`,
    )
  }
  if (since > SCHEMA_VERSION) {
    throw new LivemessageError(
      'DATABASE_INCOMPATIBLE',
      `the database's schema has version ${version} and needs daemons of ${since} or newer, this one is of ` +
        `${SCHEMA_VERSION}: upgrade livemessages on this machine`,
    )
  }
}

const FOUND = `
SELECT m.compatible_since AS since,
  (SELECT max(g.version) FROM livemessage.migration AS g WHERE g.component = 'core') AS version
FROM livemessage.meta AS m`
