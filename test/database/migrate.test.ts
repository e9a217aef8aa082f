import { Client } from 'pg'
import t from 'tap'
import { messages } from '../../actions/messages/migration.ts'
import { CORE, migrate } from '../../src/database/migrate.ts'
import { LivemessageError } from '../../src/errors.ts'
import { startPostgres } from '../support/postgres.ts'
import type { TestPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

const server = await startPostgres(t)
let count = 0

/** A database of a test's own, and its URL. */
async function database(at: TestPostgres = server): Promise<string> {
  const name = `test${++count}`
  await at.psql(`CREATE DATABASE ${name}`)
  return at.url.replace(/[^/]+$/, name)
}

async function rows(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows
  } finally {
    await client.end()
  }
}

const components = [CORE, messages]
/** The newest version of the daemon's own schema. */
const core = CORE.migrations.length

await t.test('several databases of one server at once make one role', async (t) => {
  t.same(await server.psql(`SELECT FROM pg_roles WHERE rolname = 'livemessage_publisher'`), [])
  const urls = [await database(), await database(), await database()]
  const outcomes = await Promise.all(urls.map((url) => migrate(url)))
  for (const { applied } of outcomes) t.equal(applied.length, core)
})

await t.test('a second migration finds nothing to do', async (t) => {
  const url = await database()
  const first = await migrate(url, { components })
  t.same(first.from, { core: 0, messages: 0 })
  t.same(first.to, { core, messages: messages.migrations.length })
  t.same(first.applied, [
    ...CORE.migrations.map(({ version, name }) => ({ component: 'core', version, name })),
    { component: 'messages', version: 1, name: 'message' },
    { component: 'messages', version: 2, name: 'push' },
  ])
  t.same(first.notices, [])
  const second = await migrate(url, { components })
  t.same(second, { from: first.to, to: first.to, applied: [], notices: [] })
})

await t.test('of several at once, one does the work and the others wait for it', async (t) => {
  const url = await database()
  const outcomes = await Promise.all(Array.from({ length: 6 }, () => migrate(url, { components })))
  t.equal(outcomes.filter(({ applied }) => applied.length === core + messages.migrations.length).length, 1)
  t.equal(outcomes.filter(({ applied }) => applied.length === 0).length, 5)
  t.same(await rows(url, 'SELECT count(*)::int AS n FROM livemessage.migration'), [
    { n: core + messages.migrations.length },
  ])
})

await t.test('a long transaction that has published holds up the migration, and nobody else', async (t) => {
  const url = await database()
  await migrate(url, { components: [{ component: 'core', migrations: CORE.migrations.slice(0, 3) }] })
  const [long, other] = [new Client({ connectionString: url }), new Client({ connectionString: url })]
  for (const client of [long, other]) await client.connect()
  t.teardown(() => Promise.all([long.end(), other.end()]))
  const publish = "SELECT livemessage.publish('chat:a', '1')"
  await long.query('BEGIN')
  await long.query(publish)
  await t.rejects(migrate(url, { lockMs: 500, lockTryMs: 100 }), {
    code: 'DATABASE_FAILED',
    message: /core 6 \(outbox\).*lock timeout.*Nothing was changed.*still open/,
  })
  const migrating = migrate(url, { lockTryMs: 100 })
  let over = false
  const watched = migrating.finally(() => (over = true))
  await until('it waits', async () => {
    const waiting = await rows(url, 'SELECT FROM pg_locks WHERE NOT granted')
    return waiting.length > 0
  })
  await other.query(`SET statement_timeout = 10000; ${publish}`)
  t.notOk(over, 'it waits still')
  await long.query('COMMIT')
  t.equal((await watched).to['core'], core)
  const { rows: kept } = await other.query('SELECT channel FROM livemessage.journal')
  t.equal(kept.length, 2)
})

await t.test('what an older schema has is there afterwards', async (t) => {
  const url = await database()
  await migrate(url, { components: [{ component: 'core', migrations: CORE.migrations.slice(0, 3) }] })
  await rows(url, `SELECT livemessage.set_subsystems('{"chat":{"journaled":true,"max_bytes":100}}')`)
  await rows(url, "SELECT livemessage.publish('chat:a', '1')")
  await rows(url, "SELECT livemessage.enqueue('chat:a', '2')")
  await rows(url, "INSERT INTO livemessage.mailbox VALUES ('42', 'chat:a', 1)")
  await rows(
    url,
    "INSERT INTO livemessage.dead (source, code, reason, letter) VALUES ('http', 'x', 'y', 'z')",
  )
  const all = `SELECT (SELECT m.epoch FROM livemessage.meta AS m) AS epoch,
    (SELECT json_agg(j) FROM livemessage.journal AS j) AS journal, (SELECT json_agg(q) FROM livemessage.queue AS q) AS queue,
    (SELECT json_agg(b) FROM livemessage.mailbox AS b) AS mailbox, (SELECT json_agg(d) FROM livemessage.dead AS d) AS dead,
    (SELECT json_agg((s.name, s.journaled, s.max_bytes, s.most_bytes)) FROM livemessage.subsystem AS s) AS subsystems`
  const before = await rows(url, all)
  t.same((await migrate(url)).from, { core: 3 })
  t.same(await rows(url, all), before)
  await rows(url, "SELECT livemessage.publish('chat:a', '3')")
  t.same(await rows(url, 'SELECT data FROM livemessage.journal ORDER BY position'), [
    { data: '1' },
    { data: '3' },
  ])
  await t.rejects(
    rows(url, `SELECT livemessage.publish('chat:a', to_jsonb(repeat('x', 200)))`),
    /limit is 100/,
  )
})

await t.test('messages of 0.1.0 stay, and are pushed as new ones are', async (t) => {
  const url = await database()
  const old = [
    { component: 'core', migrations: CORE.migrations.slice(0, 1) },
    { component: 'messages', migrations: messages.migrations.slice(0, 1) },
  ]
  await migrate(url, { components: old })
  await rows(url, "INSERT INTO livemessage_messages.message (to_user, text) VALUES ('42', 'old')")
  t.same((await migrate(url, { components })).from, { core: 1, messages: 1 })
  await rows(url, `SELECT livemessage.set_subsystems('{"messages":{"journaled":true}}')`)
  await rows(url, "SELECT livemessage_messages.send('42', NULL, '', 'new')")
  await rows(url, 'UPDATE livemessage_messages.message SET read = true')
  const pushed = await rows(
    url,
    "SELECT data::json ->> 'text' AS text FROM livemessage.journal ORDER BY position",
  )
  t.same(pushed, [{ text: 'new' }, { text: null }, { text: null }])
})

await t.test('a dry run changes nothing, and its SQL does the same', async (t) => {
  const url = await database()
  const dry = await migrate(url, { components, dryRun: true })
  t.same(dry.to, { core, messages: messages.migrations.length })
  t.same(await rows(url, `SELECT to_regnamespace('livemessage') AS there`), [{ there: null }])
  await rows(url, dry.sql ?? '')
  const after = await migrate(url, { components, dryRun: true })
  t.same([after.applied, after.sql], [[], ''])
})

await t.test('components come one by one, also later', async (t) => {
  const url = await database()
  t.same((await migrate(url)).to, { core })
  const later = await migrate(url, { components: [messages] })
  t.same(later.applied, [
    { component: 'messages', version: 1, name: 'message' },
    { component: 'messages', version: 2, name: 'push' },
  ])
})

await t.test('a step that fails leaves nothing behind, and is named', async (t) => {
  const url = await database()
  const broken = {
    component: 'broken',
    migrations: [
      { version: 1, name: 'fine', sql: 'CREATE TABLE fine ()' },
      { version: 2, name: 'bad', sql: 'CREATE TABLE also (); SELECT nonsense' },
    ],
  }
  const error = await migrate(url, { components: [broken] }).catch((error: unknown) => error)
  t.match(error, {
    code: 'DATABASE_FAILED',
    message: /migration broken 2 \(bad\): column "nonsense".*Nothing was changed$/,
  })
  t.same(await rows(url, `SELECT to_regclass('fine') AS fine, to_regnamespace('livemessage') AS core`), [
    { fine: null, core: null },
  ])
})

await t.test('a gap in the versions is refused before anything runs', async (t) => {
  const gap = { component: 'gap', migrations: [{ version: 2, name: 'second', sql: '' }] }
  await t.rejects(migrate('postgres://127.0.0.1:1/never', { components: [CORE, gap] }), {
    code: 'DATABASE_UNREACHABLE',
  })
  await t.rejects(migrate(await database(), { components: [CORE, gap] }), { message: /migrations of gap/ })
})

await t.test('a role that may not create roles migrates all the same, and is told', async (t) => {
  // A server of its own: roles are common to all databases.
  const fresh = await startPostgres(t)
  await fresh.psql(`CREATE ROLE plain LOGIN PASSWORD 'plain'`)
  const url = fresh.url.replace(/livemessages:[^@]+@/, 'plain:plain@')
  await t.rejects(migrate(url, { components }), { message: /permission denied.* needs the right to create/ })
  await fresh.psql('GRANT CREATE ON DATABASE livemessages TO plain')
  const { applied, notices } = await migrate(url, { components })
  t.equal(applied.length, core + messages.migrations.length)
  t.match(notices, [/livemessage_publisher was not created: plain may not create roles.*CREATE ROLE/s])
  t.same(await rows(url, `SELECT livemessage.publish('chat:general', '1') IS NULL AS done`), [
    { done: false },
  ])
})

await t.test('a role that may create nothing is told what it lacks, and what to do', async (t) => {
  await server.psql(`CREATE ROLE poor LOGIN PASSWORD 'poor'`)
  const url = (await database()).replace(/livemessages:[^@]+@/, 'poor:poor@')
  const error = await migrate(url).catch((error: unknown) => error)
  t.ok(error instanceof LivemessageError)
  t.match(error, { code: 'DATABASE_FAILED', message: /permission denied for database.*--dry-run/s })
})

await t.test('a database that is not there is unreachable, and the password is not told', async (t) => {
  const error = await migrate('postgres://user:secret@127.0.0.1:1/none').catch((error: unknown) => error)
  t.match(error, { code: 'DATABASE_UNREACHABLE', message: /^migrate 127.0.0.1:1\/none: .*ECONNREFUSED/ })
  t.notMatch(String(error), /secret/)
})
