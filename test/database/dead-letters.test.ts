import t from 'tap'
import type { Test } from 'tap'
import { DeadLetters, type DeadLettersOptions } from '../../src/database/dead-letters.ts'
import { bodyOf, jsonOf } from '../../src/database/dead-rows.ts'
import { CORE, migrate } from '../../src/database/migrate.ts'
import { createDatabase } from '../../src/database/pool.ts'
import type { DeadLetter } from '../../src/dead-letter.ts'
import { recordLog } from '../sources/recorder.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

t.setTimeout(90_000)
const server = await startPostgres(t, { settings: { synchronous_commit: 'on' } })
let count = 0

/** In characters that every encoding of a database has. */
const PLAIN = {
  ...CORE,
  migrations: CORE.migrations.map((step) => ({ ...step, sql: step.sql.replaceAll('…', '') })),
}

/** Dead letters in a database of a test's own. */
const open = async (t: Test, options: Partial<DeadLettersOptions> = {}, encoding = 'UTF8') => {
  const name = `test${++count}`
  await server.psql(
    `CREATE DATABASE ${name} ENCODING '${encoding}' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`,
  )
  const url = server.url.replace(/[^/]+$/, name)
  await migrate(url, { components: [PLAIN] })
  const { log, lines } = recordLog()
  const pool = createDatabase({
    url,
    minConnections: 1,
    maxConnections: 4,
    cleanupTimeoutMs: 1000,
    log,
    connectMs: 500,
  })
  const letters = new DeadLetters({ pool, log, retry: { minMs: 5, maxMs: 20 }, ...options })
  t.teardown(async () => {
    await letters.stop()
    await pool.stop()
  })
  const rows = async (): Promise<Record<string, unknown>[]> => {
    const { rows } = await pool.query('SELECT * FROM livemessage.dead ORDER BY id')
    return rows
  }
  const said = (msg: string) => lines.filter((line) => line['msg'] === msg)
  return { letters, rows, pool, said, url }
}

const letter = (more: Partial<DeadLetter> = {}): DeadLetter => ({
  key: null,
  time: null,
  source: 'postgres',
  name: 'mail',
  channel: null,
  subsystem: 'mail',
  code: 'failed',
  reason: 'mail.sender failed',
  attempts: 5,
  body: '{"a":1}',
  headers: null,
  properties: null,
  database: 'app',
  ...more,
})

const never = new AbortController().signal

await t.test('letters are in the table, in their order, with all that a replay needs', async (t) => {
  const { letters, rows } = await open(t)
  letters.put(letter({ body: '1', time: 1_700_000_000_000, subsystem: null, channel: 'mail:1' }))
  letters.put(
    letter({ body: '2', source: 'amqp', headers: { a: [1, { b: null }] }, properties: { messageId: 'm' } }),
  )
  await until('both', async () => (await rows()).length === 2)
  const [first, second] = await rows()
  t.match(first, {
    source: 'postgres',
    name: 'mail',
    channel: 'mail:1',
    subsystem: 'mail',
    code: 'failed',
    reason: 'mail.sender failed',
    attempts: 5,
    body: '1',
    body_base64: false,
    database: 'app',
    time: new Date(1_700_000_000_000),
  })
  t.match(second, { headers: { a: [1, { b: null }] }, properties: { messageId: 'm' } })
  t.same(
    [...letters.total],
    [
      ['postgres', 1],
      ['amqp', 1],
    ],
  )
  await until('the gauge follows', () => letters.kept === 2)
})

await t.test('poison of every kind is kept to the byte', async (t) => {
  const bodies: (string | Buffer)[] = [
    Buffer.from([0xff, 0xfe, 0x00, 0x80]),
    'with \0 NUL',
    Buffer.from('with \0 NUL'),
    Buffer.alloc(5 * 1024 * 1024, 'ü'),
    '',
    'NULL',
    '{"quotes\\": "\'{,}\n"}',
    '\ufeffmarked, and \ud83d\ude00',
  ]
  for (const encoding of ['UTF8', 'LATIN1', 'SQL_ASCII']) {
    const { letters, rows } = await open(t, {}, encoding)
    await letters.keep(
      bodies.map((body) =>
        letter({ body, reason: 'Grüße \0 日本', headers: { 日本: 'a\0b', list: ['\ud800'] } }),
      ),
      never,
    )
    const kept = await rows()
    t.equal(kept.length, bodies.length, encoding)
    for (const [index, row] of kept.entries()) {
      const body = bodyOf(row['body'] as string, row['body_base64'] as boolean)
      t.ok(Buffer.from(bodies[index]!).equals(Buffer.from(body ?? 'null')), `${encoding}: body ${index}`)
      t.same(jsonOf(row['headers']), { 日本: 'a\0b', list: ['\ud800'] }, `${encoding}: headers ${index}`)
    }
  }
})

await t.test('a letter with an id is kept once, however often it comes', async (t) => {
  const { letters, rows } = await open(t)
  await letters.keep([letter({ key: 'one' }), letter({ key: 'two' })], never)
  await letters.keep([letter({ key: 'two' }), letter({ key: 'three' }), letter(), letter()], never)
  t.same((await rows()).map((row) => row['letter']).slice(0, 3), ['one', 'two', 'three'])
  t.equal((await rows()).length, 5)
})

// The database is killed: letters wait in memory, in order, and are in the table once each when it is back.
await t.test('an outage is waited for, in order, and told when it begins and when it ends', async (t) => {
  const { letters, rows, said } = await open(t)
  await letters.keep([letter({ body: '0' })], never)
  await server.kill()
  const sent = Array.from({ length: 500 }, (_value, index) => String(index + 1))
  for (const body of sent) letters.put(letter({ body }))
  await until('the outage is told', () => said('dead letters wait for the database').length > 0)
  await server.restart()
  await until('all', async () => (await rows()).length === 501)
  t.same(
    (await rows()).map((row) => row['body']),
    ['0', ...sent],
  )
  await until('the end is told', () => said('dead letters reach the database again').length > 0)
  t.equal(said('dead letters wait for the database').length, 1)
  t.equal(said('dead letters come in: see livemessage dead list').length, 1)
})

await t.test('more than may wait is dropped, counted and told', async (t) => {
  const { letters, rows, said } = await open(t, { maxWaiting: 10 })
  await server.kill()
  for (let n = 0; n < 25; n++) letters.put(letter({ body: String(n) }))
  t.equal(letters.dropped, 15)
  t.match(said('dead letters are lost: too many wait'), [{ source: 'postgres', code: 'failed', waiting: 10 }])
  await server.restart()
  await until('the oldest', async () => (await rows()).length === 10)
  t.equal((await rows()).at(-1)?.['body'], '9')
  await until('the end is told', () => said('dead letters are taken again').length === 1)
  t.match(said('dead letters are taken again'), [{ dropped: 15 }])
  letters.put(letter({ body: 'again' }))
  await until('the next', async () => (await rows()).length === 11)
})

await t.test('a burst is told when it begins and when it is over', async (t) => {
  const { letters, said } = await open(t, { quietMs: 50 })
  for (let n = 0; n < 20; n++) letters.put(letter())
  await until('its end', () => said('no more dead letters come in').length === 1)
  t.equal(said('dead letters come in: see livemessage dead list').length, 1)
  t.match(said('no more dead letters come in'), [{ letters: 20 }])
})

await t.test('a stop writes what waits, and ends in an outage too', async (t) => {
  const { letters, rows } = await open(t)
  for (let n = 0; n < 300; n++) letters.put(letter())
  await letters.stop()
  t.equal((await rows()).length, 300)

  const other = await open(t, { stopMs: 50 })
  await server.kill()
  other.letters.put(letter())
  await other.letters.stop()
  t.match(other.said('dead letters lost at the stop'), [{ letters: 1 }])
  t.equal(other.letters.dropped, 1)
  await server.restart()
})

await t.test('the table is swept by age, by number and by size, oldest first', async (t) => {
  const { letters, rows, pool, said } = await open(t, {
    limits: { maxAgeMs: 60_000, maxLetters: 10, maxBytes: 10_000 },
  })
  const bodies = async (): Promise<unknown[]> => (await rows()).map((row) => row['body'])
  for (let n = 0; n < 15; n++) await letters.keep([letter({ body: String(n) })], never)
  t.equal(await letters.sweep(), 5)
  t.same((await bodies())[0], '5')
  t.equal(await letters.sweep(), 0)
  await pool.query(`UPDATE livemessage.dead SET kept = now() - interval '2 minutes' WHERE body = '7'`)
  t.equal(await letters.sweep(), 3, 'those before it are older')
  await letters.keep([letter({ body: 'x'.repeat(9_000) }), letter({ body: 'y'.repeat(9_000) })], never)
  t.equal(await letters.sweep(), 8)
  t.match(await bodies(), [/^y+$/])
  await letters.keep([letter({ body: 'z'.repeat(20_000) })], never)
  await letters.sweep()
  t.match(await bodies(), [/^z+$/], 'the newest stays, whatever its size')
  t.match(said('dead letters deleted: too old, or too many')[0], { letters: 5 })
})

await t.test('a table of an older schema is waited for', async (t) => {
  const { letters, rows, pool, said } = await open(t)
  await pool.query('ALTER TABLE livemessage.dead RENAME COLUMN properties TO other')
  letters.put(letter())
  await until('told', () => said('dead letters wait for the database').length === 1)
  t.match(said('dead letters wait for the database'), [{ reason: /livemessage migrate/ }])
  await pool.query('ALTER TABLE livemessage.dead RENAME COLUMN other TO properties')
  await until('kept', async () => (await rows()).length === 1)
})

await t.test('what a trigger can not publish is a letter, too', async (t) => {
  const { rows, pool } = await open(t)
  await pool.query(`
    CREATE TABLE note (id int, room text);
    CREATE TRIGGER note AFTER INSERT ON note FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{room}', 'id')`)
  await pool.query('INSERT INTO note VALUES (1, NULL)')
  t.match(await rows(), [{ source: 'postgres', code: 'bad_channel', body: '{"id": 1}', letter: null }])
})
