import { Client } from 'pg'
import t from 'tap'
import { PGBOUNCER, skipWithout } from '../support/packages.ts'
import { startPgBouncer } from '../support/pgbouncer.ts'
import { startPostgres } from '../support/postgres.ts'
import { head, journalRows, listenJournal, sqlDatabase } from './sql-database.ts'

await t.test('through PgBouncer in transaction mode', { skip: skipWithout(PGBOUNCER) }, async (t) => {
  const db = await sqlDatabase(t, await startPostgres(t))
  const url = await startPgBouncer(t, db.url, 'application')
  const { heard } = await listenJournal(t, db)
  const clients = Array.from({ length: 20 }, () => new Client({ connectionString: url }))
  await Promise.all(clients.map((client) => client.connect()))
  t.teardown(() => Promise.all(clients.map((client) => client.end())))

  await t.test('many clients on few connections publish, each in its own order', async (t) => {
    await Promise.all(
      clients.map(async (client, n) => {
        for (let i = 0; i < 20; i++) {
          await client.query('BEGIN')
          await client.query('SELECT livemessage.publish($1, $2)', [`chat:${n}`, JSON.stringify(i)])
          await client.query(i % 4 === 3 ? 'ROLLBACK' : 'COMMIT')
        }
      }),
    )
    const wanted = Array.from({ length: 20 }, (_, i) => String(i)).filter((_, i) => i % 4 !== 3)
    const rows = await journalRows(db)
    for (const n of clients.keys()) {
      t.same(
        rows.filter(({ channel }) => channel === `chat:${n}`).map(({ data }) => data),
        wanted,
      )
    }
    t.same(
      (await heard()).map(({ first }) => first),
      rows.map(({ position }) => position),
    )
    const [row] = await db.sql(
      `SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'application'`,
    )
    t.ok((row?.['n'] as number) <= 3, 'they did share connections')
  })

  await t.test('a transaction leaves nothing to the next one on its connection', async (t) => {
    const before = await head(db)
    await db.sql(`SELECT livemessage.set_subsystems('{"quote":{"journaled":false}}')`)
    const bare = await db.connect(t)
    const payloads: unknown[] = []
    bare.on('notification', ({ payload }) => payloads.push(payload))
    await bare.query('LISTEN livemessages')
    for (const client of clients) {
      await client.query(
        `BEGIN; SELECT livemessage.publish('chat:a', '1'); SET CONSTRAINTS ALL IMMEDIATE; COMMIT`,
      )
      await client.query(`SELECT livemessage.publish('quote:a', '1'), livemessage.enqueue('chat:a', '1')`)
      await client.query(
        `SELECT livemessage.publish_many('[{"channel":"chat:a","data":2},{"channel":"chat:b"}]')`,
      )
    }
    await bare.query('SELECT 1')
    t.same(
      payloads,
      clients.map(() => '{"channel":"quote:a","data":1}'),
      'their numbers begin anew',
    )
    t.equal((await journalRows(db, before)).length, 3 * clients.length)
  })
})
