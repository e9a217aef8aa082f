import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'
import { pino } from 'pino'
import t from 'tap'
import { z } from 'zod'
import type { Test } from 'tap'
import { noDatabase } from '../../src/database/none.ts'
import { createDatabase } from '../../src/database/pool.ts'
import type { DatabaseOptions } from '../../src/database/pool.ts'
import { silent, startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until, within } from '../support/wait.ts'

const server = await startPostgres(t)

function open(t: Test, options: Partial<DatabaseOptions> = {}) {
  const database = createDatabase({
    url: server.url,
    minConnections: 1,
    maxConnections: 5,
    cleanupTimeoutMs: 50,
    connectMs: 2000,
    stopMs: 200,
    log: silent(),
    ...options,
  })
  t.teardown(() => database.stop())
  return database
}

const LINE = z.record(z.string(), z.unknown())

/** What runs at the server with this text in it. */
async function running(text: string): Promise<number> {
  const rows = await server.psql(
    `SELECT FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid() AND query LIKE $1`,
    [`%${text}%`],
  )
  return rows.length
}

await t.test('a query has rows and their number, under the application name', async (t) => {
  const db = open(t)
  t.same(await db.query('SELECT $1::int AS n', [7]), { rows: [{ n: 7 }], rowCount: 1 })
  t.same((await db.query('SHOW application_name')).rows, [{ application_name: 'livemessages' }])
  await t.rejects(db.query('SELECT nonsense'), { code: '42703' })
})

await t.test(
  'start opens the minimum, load the maximum, and idle ones above the minimum close',
  async (t) => {
    const db = open(t, { minConnections: 2, maxConnections: 4 })
    await db.start()
    t.equal(db.counts.connections, 2)
    const load = Array.from({ length: 12 }, () => db.query('SELECT pg_sleep(0.02)'))
    await until('the maximum', () => db.counts.connections === 4 && db.counts.waiting > 0)
    await Promise.all(load)
    await until('the cleanup', () => db.counts.connections === 2)
    await delay(150) // thrice the timeout: the minimum stays
    t.equal(db.counts.connections, 2)
  },
)

await t.test(
  'a transaction is committed when the work resolves and rolled back when it rejects',
  async (t) => {
    const db = open(t)
    await db.query('CREATE TABLE one (n int)')
    const result = await db.transaction(async (tx) => {
      await tx.query('INSERT INTO one VALUES (1)')
      return 'done'
    })
    t.equal(result, 'done')
    await t.rejects(
      db.transaction(async (tx) => {
        await tx.query('INSERT INTO one VALUES (2)')
        throw new Error('changed my mind')
      }),
      { message: 'changed my mind' },
    )
    t.same((await db.query('SELECT n FROM one')).rows, [{ n: 1 }])
  },
)

await t.test('a transaction within a transaction is a savepoint', async (t) => {
  const db = open(t, { maxConnections: 1 })
  await db.query('CREATE TABLE two (n int)')
  await db.transaction(async (tx) => {
    await tx.query('INSERT INTO two VALUES (1)')
    await tx.transaction(async (inner) => {
      await inner.query('INSERT INTO two VALUES (2)')
      await t.rejects(
        inner.transaction(async (innermost) => {
          await innermost.query('INSERT INTO two VALUES (3)')
          await innermost.query('SELECT nonsense')
        }),
        { code: '42703' },
      )
    })
    await t.rejects(
      tx.transaction(() => Promise.reject(new Error('no'))),
      { message: 'no' },
    )
    const both = [
      tx.transaction((inner) => inner.query('SELECT pg_sleep(0.01)')),
      tx.transaction(() => Promise.resolve()),
    ]
    t.match(await Promise.allSettled(both), [
      { status: 'fulfilled' },
      { status: 'rejected', reason: { message: /is open already/ } },
    ])
  })
  t.same((await db.query('SELECT n FROM two ORDER BY n')).rows, [{ n: 1 }, { n: 2 }])
})

await t.test('a failed statement that the work hides is not taken for a commit', async (t) => {
  const db = open(t)
  await db.query('CREATE TABLE three (n int)')
  const hiding = db.transaction(async (tx) => {
    await tx.query('INSERT INTO three VALUES (1)')
    await tx.query('SELECT nonsense').catch(() => 'hidden')
  })
  await t.rejects(hiding, { message: /was rolled back: a statement in it had failed/ })
  t.same((await db.query('SELECT n FROM three')).rows, [])
})

await t.test('the db of a transaction is of no use after its end', async (t) => {
  const db = open(t)
  const leaked = await db.transaction((tx) => Promise.resolve(tx))
  await t.rejects(leaked.query('SELECT 1'), { message: /this transaction has ended/ })
  await t.rejects(
    leaked.transaction(() => Promise.resolve()),
    { message: /this transaction has ended/ },
  )
})

await t.test('an abort cancels the statement at the server, and harms no later one', async (t) => {
  const db = open(t, { maxConnections: 1 })
  const abort = new AbortController()
  const query = db.withSignal(abort.signal).query(`SELECT pg_sleep(60), 'cancelled'`)
  await until('the statement runs', () => running(`'cancelled'`))
  abort.abort(new Error('too late'))
  await t.rejects(query, { message: 'too late' })
  await until('the statement has ended', async () => (await running(`'cancelled'`)) === 0)
  t.same((await db.query('SELECT 1 AS one')).rows, [{ one: 1 }])
  await t.rejects(db.withSignal(abort.signal).query('SELECT 1'), { message: 'too late' })
  t.equal(db.counts.connections, 1)
})

await t.test('an abort ends the wait for a connection, which then serves others', async (t) => {
  const db = open(t, { maxConnections: 1 })
  const busy = db.query('SELECT pg_sleep(0.1)')
  await t.rejects(db.withSignal(AbortSignal.timeout(20)).query('SELECT 1'), { name: 'TimeoutError' })
  await busy
  await db.query('SELECT 1')
})

await t.test('an abort rolls a transaction back, even where its work waits for something else', async (t) => {
  const db = open(t, { maxConnections: 1 })
  await db.query('CREATE TABLE four (n int)')
  const abort = new AbortController()
  const work = db.withSignal(abort.signal).transaction(async (tx) => {
    await tx.query('INSERT INTO four VALUES (1)')
    abort.abort(new Error('too late'))
    await new Promise(() => {})
  })
  await t.rejects(work, { message: 'too late' })
  t.same((await db.query('SELECT n FROM four')).rows, [])
})

await t.test('a server that restarts: statements fail as unavailable, then work again', async (t) => {
  const lines: z.infer<typeof LINE>[] = []
  const log = pino({ level: 'info' }, { write: (line) => lines.push(LINE.parse(JSON.parse(line))) })
  const db = open(t, { minConnections: 2, log })
  await db.start()
  const [inStatement, inTransaction] = [
    db.query('SELECT pg_sleep(60)'),
    db.transaction(async (tx) => {
      await tx.query('SELECT 1')
      await until('the server is gone', () => lines.length > 0)
      await tx.query('SELECT 2')
    }),
  ]
  const outcomes = Promise.allSettled([inStatement, inTransaction])
  await until('the statement runs', () => running('pg_sleep(60)'))
  await server.kill()
  t.match(await outcomes, [
    { status: 'rejected', reason: { code: 'unavailable' } },
    { status: 'rejected', reason: { code: 'unavailable' } },
  ])
  await t.rejects(db.query('SELECT 1'), {
    code: 'unavailable',
    message: 'the database can not be reached at the moment',
  })
  await t.rejects(db.ping(), { code: 'ECONNREFUSED' })
  await server.restart()
  await until('it works again', () => db.query('SELECT 1'))
  await db.ping()
  t.match(lines, [
    { level: 40, msg: 'database connection lost' },
    { level: 30, msg: 'database answers again' },
  ])
  t.equal(lines.length, 2, 'one line for the outage, one for its end')
  t.notMatch(JSON.stringify(lines), new URL(server.url).password)
})

await t.test('a ping of a server that says nothing ends', async (t) => {
  const proxy = await startProxy(t, server.url)
  const db = open(t, { url: proxy.url(server.url) })
  await db.start()
  proxy.blackhole(true)
  await t.rejects(db.ping(50), { message: 'no answer within 50 ms' })
})

await t.test('start says where nothing answers', async (t) => {
  const db = open(t, { url: 'postgres://me:secret@127.0.0.1:1/none' })
  await t.rejects(db.start(), {
    code: 'DATABASE_UNREACHABLE',
    message: /^postgres 127.0.0.1:1\/none: .*ECONNREFUSED/,
  })
})

await t.test('stop waits for what is under way, a deadline long, and refuses what comes', async (t) => {
  const db = open(t, { stopMs: 300 })
  const short = db.query('SELECT pg_sleep(0.05), 1 AS one')
  const long = db.query('SELECT pg_sleep(60)')
  const hung = db.transaction(() => new Promise(() => {}))
  const outcomes = Promise.allSettled([short, long])
  await until('all have a connection', () => db.counts.connections === 3 && db.counts.idle === 0)
  const stopped = db.stop()
  t.equal(db.stop(), stopped)
  await t.rejects(db.query('SELECT 1'), { code: 'unavailable', message: 'the daemon is stopping' })
  await stopped
  t.match(await outcomes, [{ status: 'fulfilled' }, { status: 'rejected', reason: { code: 'unavailable' } }])
  t.equal(db.counts.connections, 0)
  void hung
})

await t.test('a stop ends although a connection comes after its deadline only', async (t) => {
  const proxy = await startProxy(t, server.url)
  proxy.delay(150) // each way, and connecting takes several of them
  const db = open(t, { url: proxy.url(server.url), stopMs: 100 })
  const hung = t.rejects(
    db.transaction(() => new Promise(() => {})),
    { code: 'unavailable', message: 'the daemon is stopping' },
  )
  await within('the stop', db.stop())
  await hung
})

await t.test('neither a log nor a dump shows the password', (t) => {
  const db = open(t)
  const { password } = new URL(server.url)
  t.same(JSON.parse(JSON.stringify(db)), {
    place: new URL(server.url).host + '/livemessages',
    connections: 0,
    idle: 0,
    waiting: 0,
  })
  t.notMatch(inspect(db, { depth: 9, showHidden: true }), password)
  t.end()
})

await t.test('without a database each use says so', async (t) => {
  const db = noDatabase()
  const refusal = { code: 'unavailable', message: 'no database is configured (postgres: false)' }
  await t.rejects(db.query('SELECT 1'), refusal)
  await t.rejects(
    db.transaction(() => Promise.resolve()),
    refusal,
  )
  await t.rejects(db.withSignal(AbortSignal.timeout(1000)).query('SELECT 1'), refusal)
  await db.start()
  await db.stop()
})
