import { Client } from 'pg'
import t, { type Test } from 'tap'
import { userRest } from '../../src/protocol/names.ts'
import type { TestClient } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { CONFIG, enter } from './subsystems.ts'

// What is pushed of messages, by whatever way; and counts, when many change them at once.

const postgres = await startPostgres(t)
const daemon = await startDaemon(t, { ...CONFIG, postgres: { url: postgres.url } }, { migrate: true })

const TRANSIENT: TestConfig = {
  ...CONFIG,
  channels: { messages: { access: 'user' }, tasks: { access: 'user' } },
}

async function application(t: Test, role?: string): Promise<Client> {
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  t.teardown(() => client.end())
  if (role !== undefined) await client.query(`SET ROLE ${role}`)
  return client
}

async function write(to: string, text = '', db = postgres): Promise<number> {
  const [row] = await db.psql(
    'INSERT INTO livemessage_messages.message (to_user, text) VALUES ($1, $2) RETURNING id::float8 AS id',
    [to, text],
  )
  return Number(row?.['id'])
}

function pushed(client: TestClient): Record<string, unknown>[] {
  return client.frames.filter(({ type }) => type === 'message').map(({ data }) => data as never)
}

await t.test("what is read or deleted on one device is told to the user's others, once", async (t) => {
  const [here, there] = await Promise.all([enter(t, daemon, 'ann1'), enter(t, daemon, 'ann1')])
  await there.subscribe('messages:ann1')
  const [first, second] = [await write('ann1'), await write('ann1')]
  await here.call('messages.read', { id: first })
  await here.call('messages.read', { id: first })
  await here.call('messages.delete', { id: first })
  await here.call('messages.delete', { id: second })
  await here.call('messages.delete', { id: second })
  const last = await write('ann1')
  await there.next({ data: { id: last } })
  t.same(
    pushed(there).slice(2, -1),
    [
      { id: first, read: true },
      { id: first, read: true, deleted: true },
      { id: second, read: false, deleted: true },
    ],
    'and whether a deleted one was unread',
  )
})

await t.test('a message that is given to somebody else goes from the one to the other', async (t) => {
  const [ann, ben] = await Promise.all([enter(t, daemon, 'ann2'), enter(t, daemon, 'ben2')])
  await Promise.all([ann.subscribe('messages:ann2'), ben.subscribe('messages:ben2')])
  const id = await write('ann2', 'moves')
  await postgres.psql(`UPDATE livemessage_messages.message SET to_user = 'ben2' WHERE id = ${id}`)
  await ann.next({ data: { id, deleted: true } })
  t.match(await ben.next({ type: 'message' }), { data: { id, text: 'moves', read: false } })
})

await t.test('without a history the sender brings the same records', async (t) => {
  const own = await startPostgres(t)
  const daemon = await startDaemon(t, { ...TRANSIENT, postgres: { url: own.url } }, { migrate: true })
  const [here, there] = await Promise.all([enter(t, daemon, 'ann'), enter(t, daemon, 'ann')])
  await there.subscribe('messages:ann')
  const id = await write('ann', 'hello', own)
  const long = await write('ann', 'ü'.repeat(9000), own)
  await here.call('messages.read', { id })
  await here.call('messages.delete', { id })
  t.match(await there.next({ data: { id, text: 'hello' } }), { data: { read: false, subject: '' } })
  t.match(await there.next({ data: { id: long } }), { data: { text: 'ü'.repeat(9000) } })
  t.same((await there.next({ data: { id, read: true } }))['data'], { id, read: true })
  t.same((await there.next({ data: { id } }))['data'], { id, read: true, deleted: true })
  const late = await own.psql('SELECT count(*)::int AS n FROM livemessage.journal')
  t.same(late, [{ n: 0 }])
})

await t.test('with a history an insert is durable: no daemon has to be there', async (t) => {
  const own = await startPostgres(t)
  const config = { ...CONFIG, postgres: { url: own.url } }
  const first = await startDaemon(t, config, { migrate: true })
  const { cursor } = await (await enter(t, first, 'ann')).subscribe('messages:ann')
  await first.stop()
  const id = await write('ann', 'while nobody listens', own)
  await own.psql(`UPDATE livemessage_messages.message SET read = true WHERE id = ${id}`)
  const second = await startDaemon(t, config)
  const { recovered, messages } = await (
    await enter(t, second, 'ann')
  ).subscribe('messages:ann', { since: String(cursor) })
  t.equal(recovered, true)
  t.match(messages, [{ data: { id, text: 'while nobody listens' } }, { data: { id, read: true } }])
})

await t.test('a record over the limit of publications is pushed without its text, and says so', async (t) => {
  const own = await startPostgres(t)
  const config = { ...CONFIG, limits: { publicationBytes: 2000 }, postgres: { url: own.url } }
  const daemon = await startDaemon(t, config, { migrate: true })
  const ann = await enter(t, daemon, 'ann')
  await ann.subscribe('messages:ann')
  const id = await write('ann', 'x'.repeat(5000), own)
  const { data } = await ann.next({ type: 'message' })
  t.match(data, { id, subject: '', read: false, truncated: true })
  t.notOk('text' in (data as object))
  t.match(await ann.call('messages.all'), [{ id, text: 'x'.repeat(5000) }])
})

await t.test('no insert fails for what it has to push', async (t) => {
  const ann = await enter(t, daemon, 'ann5')
  await ann.subscribe('messages:ann5')
  for (const to of ['', 'x'.repeat(201), 'x'.repeat(10_000), ' ', '\n', 'ä'.repeat(100)]) await write(to)
  await postgres.psql(`INSERT INTO livemessage_messages.message (to_user, date) VALUES ('ann5', '-infinity')`)
  t.match(await ann.next({ type: 'message' }), { data: { date: null } })
})

await t.test("a user's channel is the same in SQL and in the daemon, for each byte", async (t) => {
  const users = [
    ...Array.from({ length: 127 }, (_, n) => `u${String.fromCharCode(n + 1)}`),
    ...Array.from({ length: 128 }, (_, n) => String.fromCodePoint(n + 128)),
    'ä',
    '€',
    '😀',
    'a=20b',
    'Änne O’Hara/5',
    'a b:c@d.e-f_g',
    '\u0001',
    '=',
    '%41',
  ]
  for (const subsystem of ['messages', 'tasks']) {
    const rows = await postgres.psql(
      `SELECT livemessage_${subsystem}.channel(u) AS channel FROM unnest($1::text[]) WITH ORDINALITY AS d(u, n) ORDER BY n`,
      [users],
    )
    t.same(
      rows.map(({ channel }) => channel),
      users.map((user) => `${subsystem}:${userRest(user)}`),
    )
  }
})

await t.test('unread counts are right however many insert, read and delete at once', async (t) => {
  const [ann, watcher] = await Promise.all([enter(t, daemon, 'ann6'), enter(t, daemon, 'ann6')])
  await watcher.subscribe('messages:ann6')
  const apps = await Promise.all(Array.from({ length: 6 }, () => application(t)))
  const ids = await Promise.all(Array.from({ length: 30 }, () => write('ann6')))
  const calls: Promise<unknown>[] = []
  for (const [n, id] of ids.entries()) {
    // Twice at once what each device may do, and both of them to the same message.
    if (n % 3 !== 0) calls.push(ann.call('messages.read', { id }), watcher.call('messages.read', { id }))
    if (n % 2 === 0) calls.push(ann.call('messages.delete', { id }), watcher.call('messages.delete', { id }))
  }
  const inserting = apps.map(async (app, at) => {
    for (let n = 0; n < 20; n++) {
      await app.query('BEGIN')
      await app.query(`INSERT INTO livemessage_messages.message (to_user) VALUES ('ann6'), ('ben6')`)
      await app.query(`UPDATE livemessage_messages.message SET read = true WHERE id = $1`, [
        ids[(n * 7 + at) % 30],
      ])
      await app.query(n % 4 === 0 ? 'ROLLBACK' : 'COMMIT')
    }
  })
  await Promise.all([...calls, ...inserting])
  const [row] = await postgres.psql(
    `SELECT count(*)::int AS n FROM livemessage_messages.message WHERE to_user = 'ann6' AND NOT read`,
  )
  const unread = Number(row?.['n'])
  t.same(await ann.call('messages.not-read-count'), { count: unread })
  t.same(await ann.call('messages.countNotRead'), { count: unread })
  t.same(await ann.call('messages.count-not-read'), { count: unread })
  const last = await write('ann6', 'last')
  await watcher.next({ data: { id: last, text: 'last' } })
  let counted = 0
  for (const { read, deleted, subject } of pushed(watcher)) {
    if (subject !== undefined) counted += read === true ? 0 : 1
    else if (deleted === true) counted -= read === true ? 0 : 1
    else counted -= 1
  }
  t.equal(counted, unread + 1, 'and so is what a page adds up from what it was pushed')
})

await t.test('a read is one statement, and one for a message that was read changes no count', async (t) => {
  const ann = await enter(t, daemon, 'ann7')
  const id = await write('ann7')
  const answers = await Promise.all(Array.from({ length: 40 }, () => ann.call('messages.read', { id })))
  t.ok(answers.every((answer) => (answer as { success: boolean }).success))
  t.same(await ann.call('messages.not-read-count'), { count: 0 })
})

await t.test('a message sent with a key is there once, and stays deleted', async (t) => {
  const send = (text: string, key: string | null = 'k-1') =>
    postgres.psql(`SELECT livemessage_messages.send('ann8', 'ben', 'hi', $1, $2)::float8 AS id`, [text, key])
  const answers = await Promise.all(Array.from({ length: 10 }, () => send('once')))
  t.equal(new Set(answers.map(([row]) => row?.['id'])).size, 1)
  await t.rejects(send('another'), { code: '23505' })
  await postgres.psql(`DELETE FROM livemessage_messages.message WHERE to_user = 'ann8'`)
  await send('once')
  t.same(await postgres.psql(`SELECT FROM livemessage_messages.message WHERE to_user = 'ann8'`), [])
  await postgres.psql(`UPDATE livemessage_messages.key SET time = now() - interval '25 hours'`)
  await send('new', 'k-2')
  t.same(await postgres.psql('SELECT key FROM livemessage_messages.key'), [{ key: 'k-2' }], 'keys age')
  await Promise.all([send('', null), send('', null)])
  const [row] = await postgres.psql(
    `SELECT count(*)::int AS n FROM livemessage_messages.message WHERE to_user = 'ann8'`,
  )
  t.equal(row?.['n'], 3)
})

await t.test('who publishes may send, and neither read nor change nor push past the table', async (t) => {
  const publisher = await application(t, 'livemessage_publisher')
  const ann = await enter(t, daemon, 'ann9')
  await ann.subscribe('messages:ann9')
  await publisher.query(`INSERT INTO livemessage_messages.message (to_user, text) VALUES ('ann9', 'plain')`)
  await publisher.query(`SELECT livemessage_messages.send('ann9', NULL, '', 'sent')`)
  t.match(await ann.next({ type: 'message' }), { data: { text: 'plain' } })
  t.match(await ann.next({ type: 'message' }), { data: { text: 'sent' } })
  for (const text of [
    'SELECT text FROM livemessage_messages.message',
    'UPDATE livemessage_messages.message SET read = true',
    'DELETE FROM livemessage_messages.message',
    'SELECT FROM livemessage_messages.key',
    `SELECT livemessage_messages.push('ann9', '{}')`,
  ]) {
    await t.rejects(publisher.query(text), { code: '42501' }, text)
  }
})

await t.test('a transaction may keep quiet, or leave it to the sender', async (t) => {
  const ann = await enter(t, daemon, 'ann10')
  await ann.subscribe('messages:ann10')
  const insert = (text: string) =>
    `INSERT INTO livemessage_messages.message (to_user, text) VALUES ('ann10', '${text}')`
  await postgres.psql(`BEGIN; SET LOCAL livemessage_messages.push = 'off'; ${insert('quiet')}; COMMIT`)
  await postgres.psql(
    `BEGIN; SET LOCAL livemessage_messages.push = 'sender'; ${insert('by the sender')}; COMMIT`,
  )
  t.match(await ann.next({ type: 'message' }), { data: { text: 'by the sender' } })
})
