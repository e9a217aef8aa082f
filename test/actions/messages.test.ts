import { rm } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { signToken } from '../../src/auth/sign.ts'
import { type CallError, connect, type TestClient } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { openFolder, startPostgres } from '../support/postgres.ts'

const SECRET = 'a secret of thirty-two bytes, at least'

const CONFIG: TestConfig = {
  ACTIONS: {
    messages: {
      all: './actions/messages/all.ts',
      read: './actions/messages/read.ts',
      delete: './actions/messages/delete.ts',
      'not-read-count': './actions/messages/not-read-count.ts',
      sender: './actions/messages/sender.ts',
    },
  },
  channels: { messages: { access: 'user', history: {} } },
  auth: { jwt: { secret: SECRET } },
}

const postgres = await startPostgres(t)
const daemon = await startDaemon(t, { ...CONFIG, postgres: { url: postgres.url } }, { migrate: true })

/** A user of the test's own, connected. */
async function enter(t: Test, user: string, at: TestDaemon = daemon): Promise<TestClient> {
  return connect(t, at, { token: signToken(user, { secret: SECRET, algorithms: ['HS256'] })! })
}

/** Inserts messages in one transaction; resolves with their ids. */
async function write(...rows: { to: string; from?: string; subject?: string; text?: string }[]) {
  const inserted = await postgres.psql(
    `INSERT INTO livemessage_messages.message (to_user, from_user, subject, text)
     SELECT "to", "from", coalesce(subject, ''), coalesce(text, '')
     FROM jsonb_to_recordset($1) AS row("to" text, "from" text, subject text, text text)
     RETURNING id::float8 AS id`,
    [JSON.stringify(rows)],
  )
  return inserted.map(({ id }) => Number(id))
}

async function refusal(call: Promise<unknown>): Promise<CallError> {
  return call.then(
    (answer) => Promise.reject(new Error(`expected an error, got ${JSON.stringify(answer)}`)),
    (error: CallError) => error,
  )
}

await t.test('a row that is inserted arrives at its recipient, and at nobody else', async (t) => {
  const [ann, ben] = await Promise.all([enter(t, 'ann1'), enter(t, 'ben1')])
  await Promise.all([ann.subscribe('messages:ann1'), ben.subscribe('messages:ben1')])
  const before = Date.now()
  const [id] = await write({ to: 'ann1', from: 'psql', subject: 'Hello', text: '<b>"you"</b>\n😀' })
  const message = await ann.next({ type: 'message' })
  const record = { id, from_user: 'psql', subject: 'Hello', text: '<b>"you"</b>\n😀', read: false }
  t.match(message, { channel: 'messages:ann1', data: record })
  const { date, ...rest } = message['data'] as { date: number }
  t.same(rest, record, 'nothing else is told')
  t.ok(Math.abs(date - before) < 60_000, 'the date is in milliseconds')
  t.same(await ann.call('messages.all'), [message['data']], 'the list gives the very same record')
  await write({ to: 'ben1', subject: 'yours' })
  t.match(await ben.next({ type: 'message' }), { data: { subject: 'yours' } }, 'the first that ben saw')
})

await t.test('nothing comes of a transaction that is rolled back', async (t) => {
  const ann = await enter(t, 'ann2')
  await ann.subscribe('messages:ann2')
  await postgres.psql(`BEGIN; INSERT INTO livemessage_messages.message (to_user) VALUES ('ann2'); ROLLBACK`)
  const [id] = await write({ to: 'ann2' })
  t.match(await ann.next({ type: 'message' }), { data: { id, subject: '', text: '', from_user: null } })
})

await t.test('a message too long for a NOTIFY arrives whole', async (t) => {
  const ann = await enter(t, 'ann3')
  await ann.subscribe('messages:ann3')
  const text = 'ä'.repeat(10_000)
  const subject = 's'.repeat(9000)
  const [id] = await write({ to: 'ann3', from: 'ben', subject, text })
  t.match(await ann.next({ type: 'message' }), { data: { id, from_user: 'ben', subject, text, read: false } })
})

await t.test(
  'a long message that is gone before it could be fetched is refused, and others go on',
  async (t) => {
    const ann = await enter(t, 'ann4')
    await ann.subscribe('messages:ann4')
    await postgres.psql(`
    WITH gone AS (SELECT pg_notify('livemessage_messages',
      '{"id": 900719925474099, "to_user": "ann4", "truncated": true}')) SELECT 1 FROM gone`)
    await daemon.logged({ msg: 'notification refused', reason: 'message 900719925474099 is no longer there' })
    const [id] = await write({ to: 'ann4' })
    t.match(await ann.next({ type: 'message' }), { data: { id } })
  },
)

await t.test('who may publish can choose what a message says, and no id', async (t) => {
  const insert = (columns: string, values: string): Promise<unknown> =>
    postgres.psql(
      `SET ROLE livemessage_publisher; INSERT INTO livemessage_messages.message (${columns}) OVERRIDING SYSTEM VALUE VALUES (${values})`,
    )
  await insert('to_user, from_user, subject, text, date, read', `'ann4c', 'ben', '', '', now(), true`)
  await t.rejects(insert('id, to_user', `9223372036854775807, 'ann4c'`), /permission denied/)
})

await t.test("a user's id that a channel can't hold as it is gets its messages all the same", async (t) => {
  const user = 'Änne O’Hara/5'
  const anne = await enter(t, user)
  await anne.subscribe('messages:=C3=84nne=20O=E2=80=99Hara=2F5')
  const [id] = await write({ to: user })
  t.match(await anne.next({ type: 'message' }), { data: { id } })
})

await t.test('pages are newest first, by offset and size, of 100 at the most', async (t) => {
  const ann = await enter(t, 'ann5')
  const ids = await write(...Array.from({ length: 105 }, (_, n) => ({ to: 'ann5', subject: `${n}` })))
  ids.reverse()
  const page = async (data?: object) =>
    (await ann.call('messages.all', data)) as { readonly id: number; readonly subject: string }[]
  const idsOf = async (data?: object) => (await page(data)).map(({ id }) => id)
  t.same(await idsOf(), ids.slice(0, 25))
  t.same(await idsOf({ start: 25 }), ids.slice(25, 50))
  t.same(await idsOf({ start: 3, limit: 2 }), ids.slice(3, 5))
  t.same(await idsOf({ limit: 1_000_000 }), ids.slice(0, 100))
  t.same(await idsOf({ start: 1000 }), [])
  t.same(await idsOf({ start: Number.MAX_SAFE_INTEGER }), [])
})

await t.test('reading and deleting change the count, and each happens once', async (t) => {
  const ann = await enter(t, 'ann6')
  const count = () => ann.call('messages.not-read-count', null)
  const [first, second] = await write({ to: 'ann6' }, { to: 'ann6' }, { to: 'ann6' })
  t.same(await count(), { count: 3 })
  t.same(await ann.call('messages.read', { id: first }), { success: true })
  t.same(await ann.call('messages.read', { id: first }), { success: true }, 'it is read, and was')
  t.same(await count(), { count: 2 })
  t.same(await ann.call('messages.delete', { id: second }), { success: true })
  t.same(await ann.call('messages.delete', { id: second }), { success: false })
  t.same(await count(), { count: 1 })
  t.match(await ann.call('messages.all'), [{ read: false }, { id: first, read: true }])
})

await t.test(
  "another's message can neither be read nor deleted nor told from one that is not there",
  async (t) => {
    const [ann, ben] = await Promise.all([enter(t, 'ann7'), enter(t, 'ben7')])
    const [id] = await write({ to: 'ann7' })
    for (const action of ['messages.read', 'messages.delete']) {
      const [others, nobodys] = [
        await ben.ask({ type: 'call', action, data: { id } }),
        await ben.ask({ type: 'call', action, data: { id: 9_007_199_254_740_991 } }),
      ]
      t.same({ ...others, id: 0 }, { ...nobodys, id: 0 }, action)
      t.same(others['data'], { success: false })
    }
    t.same(await ben.call('messages.all'), [])
    t.match(await ann.call('messages.all'), [{ id, read: false }])
    t.match(await refusal(ben.subscribe('messages:ann7')), { code: 'forbidden' })
  },
)

await t.test('ids and pages that are none are refused, with what was expected', async (t) => {
  const ann = await enter(t, 'ann8')
  const wrong = [undefined, null, 0, -1, 1.5, 1e300, 2 ** 53, '1', '1; DROP TABLE x', true, [1], { id: 1 }]
  for (const action of ['messages.read', 'messages.delete']) {
    for (const id of wrong) {
      const error = await refusal(ann.call(action, { id }))
      t.match(
        error,
        { code: 'invalid_input', details: [{ path: ['id'] }] },
        `${action} ${JSON.stringify(id)}`,
      )
    }
  }
  // What JSON can't say at all: the text of the frame is a number that JavaScript makes infinite.
  ann.send('{"type":"call","id":"big","action":"messages.read","data":{"id":1e999}}')
  t.match(await ann.next({ id: 'big' }), { type: 'error', code: 'invalid_input' })
  for (const data of [
    { start: -1 },
    { limit: 0 },
    { start: '0' },
    { limit: 2.5 },
    { start: null },
    [],
    'all',
    7,
  ]) {
    t.match(await refusal(ann.call('messages.all', data)), { code: 'invalid_input' }, JSON.stringify(data))
  }
  const { details } = await refusal(ann.call('messages.read', { id: 'x'.repeat(500) }))
  t.ok(JSON.stringify(details).length < 150, 'not all of what came is sent back')
})

await t.test('nobody who is not authenticated gets anything', async (t) => {
  const stranger = await connect(t, daemon)
  for (const action of ['all', 'read', 'delete', 'not-read-count']) {
    t.match(
      await refusal(stranger.call(`messages.${action}`, { id: 1 })),
      { code: 'unauthenticated' },
      action,
    )
  }
  t.match(await refusal(stranger.call('messages.sender', {})), { code: 'unknown_action' })
  t.match(await refusal(stranger.subscribe('messages:ann1')), { code: 'unauthenticated' })
})

await t.test('a date that JSON has no number for is null, live and in the list', async (t) => {
  const ann = await enter(t, 'ann9')
  await ann.subscribe('messages:ann9')
  await postgres.psql(`INSERT INTO livemessage_messages.message (to_user, date) VALUES ('ann9', 'infinity')`)
  t.match(await ann.next({ type: 'message' }), { data: { date: null } })
  t.match(await ann.call('messages.all'), [{ date: null }])
})

await t.test('NOTIFYs that are no row are refused and logged, and rows go on arriving', async (t) => {
  const ann = await enter(t, 'ann10')
  await ann.subscribe('messages:ann10')
  for (const payload of [
    '[]',
    '"x"',
    '7',
    '{}',
    '{"to_user":"ann10"}',
    '{"to_user":5,"id":1}',
    '{"to_user":"","id":1}',
  ]) {
    await postgres.psql(`SELECT pg_notify('livemessage_messages', $1)`, [payload])
  }
  await daemon.logged({
    msg: 'notification refused',
    reason: 'expected a row of livemessage_messages.message',
  })
  await daemon.logged({ msg: 'notification refused', reason: 'id: expected a number' })
  await daemon.logged({ msg: 'notification refused', reason: 'to_user: expected a text' })
  const [id] = await write({ to: 'ann10' })
  t.match(await ann.next({ type: 'message' }), { data: { id } }, 'the first that came')
})

await t.test('without a database the actions answer that there is none', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const ann = await enter(t, 'ann', daemon)
  for (const action of ['all', 'not-read-count']) {
    t.match(await refusal(ann.call(`messages.${action}`)), { code: 'unavailable' })
  }
})

await t.test('the tables come with the modules when the daemon has a server of its own', async (t) => {
  const directory = await openFolder()
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const daemon = await startDaemon(t, { ...CONFIG, postgres: { directory } })
  const ann = await enter(t, 'ann', daemon)
  t.same(await ann.call('messages.all'), [])
  t.same(await ann.call('messages.not-read-count'), { count: 0 })
})
