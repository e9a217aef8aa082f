import t from 'tap'
import type { Test } from 'tap'
import { checkSchema } from '../../src/database/compatible.ts'
import { CORE, migrate } from '../../src/database/migrate.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { LivemessageError } from '../../src/errors.ts'
import { silent, startPostgres } from '../support/postgres.ts'

const server = await startPostgres(t)
const own = CORE.migrations.length
let count = 0

/** A database with the first `versions` of the schema. */
async function database(t: Test, versions: number) {
  const name = `test${++count}`
  await server.psql(`CREATE DATABASE ${name}`)
  const url = server.url.replace(/[^/]+$/, name)
  if (versions > 0) {
    const core = { component: 'core', migrations: CORE.migrations.slice(0, versions) }
    await migrate(url, { components: [core] })
  }
  const pool = createDatabase({
    url,
    minConnections: 0,
    maxConnections: 2,
    cleanupTimeoutMs: 1000,
    log: silent(),
  })
  t.teardown(() => pool.stop())
  return pool
}

await t.test('the schema of this version is fine', async (t) => {
  await checkSchema(await database(t, own))
})

await t.test('a database that was never migrated, or not far enough, is refused', async (t) => {
  for (let version = 0; version < own; version++) {
    const error = await checkSchema(await database(t, version)).catch((error: unknown) => error)
    t.ok(error instanceof LivemessageError && error.exitCode === 3)
    t.match(error, { code: 'DATABASE_NOT_INSTALLED', message: /livemessage migrate/ }, `version ${version}`)
  }
})

await t.test('in a rolling upgrade older daemons go on, as long as the newer schema allows it', async (t) => {
  const pool = await database(t, own)
  await pool.query(
    `INSERT INTO livemessage.migration (component, version, name) VALUES ('core', $1, 'next')`,
    [own + 1],
  )
  await checkSchema(pool)
  await pool.query('UPDATE livemessage.meta SET compatible_since = $1', [own + 1])
  const error = await checkSchema(pool).catch((error: unknown) => error)
  t.ok(error instanceof LivemessageError && error.exitCode === 3)
  t.match(error, { code: 'DATABASE_INCOMPATIBLE', message: /upgrade livemessages/ })
})
