import { existsSync } from 'node:fs'
import { chmod, readdir } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { z } from 'zod'
import { ClientError, type ConfigInput, defineAction, defineSender } from '../../src/index.ts'
import { CallError, startTestDaemon } from '../../src/testing/index.ts'

// On a machine with much to do.
const PATIENT = { root: import.meta.dirname, deadlineMs: 20_000 }

const add = defineAction({
  input: z.object({ a: z.number(), b: z.coerce.number() }),
  handle: ({ a, b }) => ({ sum: a + b, at: new Date(0) }),
})
const fail = defineAction({
  access: 'public',
  handle(): void {
    throw new TypeError('no such table')
  },
})
const whoami = (_input: object, { user }: { user: string | null }): string | null => user
const sender = defineSender({
  route: ({ data }) => {
    if (data === 'bad') throw new ClientError('invalid_input', 'bad notification')
    return 'orders:all'
  },
  format: ({ data }) => ({ heard: data }),
})
const ACTIONS = { orders: { cancel: './cancel.ts', add, fail, whoami, sender } } as const
const channels = {
  orders: { access: 'authenticated', history: { count: 10 } },
} satisfies ConfigInput['channels']

t.test('a client calls an action by path, answers what it asks, and gets what it publishes', async (t) => {
  await using daemon = await startTestDaemon({ ACTIONS, channels }, PATIENT)
  const ann = await daemon.connect({ user: 'ann' })
  t.equal(ann.user, 'ann')
  t.match(await ann.subscribe('orders:all'), { recovered: false, messages: [] })
  const reply = ann.call('orders.cancel', 7)
  t.strictSame((await ann.event('notice')).args, ['cancelling', 7], 'an event that was not awaited first')
  const asked = await ann.event('sure')
  t.strictSame(asked.args, [7])
  asked.ack(true)
  t.strictSame(await reply, { ok: true })
  t.match(await ann.message(), { channel: 'orders:all', data: { cancelled: 7 }, id: /-1$/ })

  const unsure = ann.call('orders.cancel', 8)
  ;(await ann.event('sure')).ack(false)
  await t.rejects(unsure, {
    name: 'CallError',
    code: 'forbidden',
    message: 'not sure',
    details: { asked: 'ann' },
  })
  const notice = await ann.event()
  t.strictSame(notice.args, ['cancelling', 8])
  t.throws(() => notice.ack(1), /event 'notice' asks for no answer/)
  t.strictSame(await ann.rest(), [])
})

t.test('the types of inputs and answers come from the definitions', async (t) => {
  await using daemon = await startTestDaemon({ ACTIONS, channels }, PATIENT)
  const ann = await daemon.connect({ user: 'ann' })
  const { sum, at } = await ann.call('orders.add', { a: 1, b: '2' })
  const number: number = sum
  // As JSON has it: a Date is a text by then.
  const text: string = at
  t.strictSame([number, text], [3, '1970-01-01T00:00:00.000Z'])
  const me: string | null = await ann.call('orders.whoami', {})
  t.equal(me, 'ann')
  // @ts-expect-error the validator takes a number
  await t.rejects(ann.call('orders.add', { a: 'x', b: 1 }), {
    code: 'invalid_input',
    details: [{ path: ['a'] }],
  })
  // @ts-expect-error no such action
  await t.rejects(ann.call('orders.ad', {}), { code: 'unknown_action' })
  // @ts-expect-error a sender is no action
  await t.rejects(ann.call('orders.sender', {}), { code: 'unknown_action' })
  const other = await daemon.connect<{ orders: { cancel: typeof add } }>({ user: 'bob' })
  void (async (): Promise<number> => (await other.call('orders.cancel', { a: 1, b: 1 })).sum)().catch(() => 0)
  t.equal((await daemon.call('orders.add', { a: 1, b: 1 }, { user: 'ann' })).sum, 2, 'and by HTTP')
})

t.test('what an action threw is the cause of an internal error, by WebSocket and by HTTP', async (t) => {
  await using daemon = await startTestDaemon({ ACTIONS, channels }, PATIENT)
  const guest = await daemon.connect()
  t.equal(guest.user, null)
  for (const failing of [guest.call('orders.fail'), daemon.call('orders.fail', undefined)]) {
    const error: unknown = await failing.catch((caught: unknown) => caught)
    t.ok(error instanceof CallError)
    t.match(error, {
      code: 'internal',
      cause: { name: 'TypeError', message: 'no such table', stack: /daemon\.test/ },
    })
  }
  await t.rejects(guest.call('orders.whoami', {}), { code: 'unauthenticated' })
  await t.rejects(daemon.call('orders.whoami', {}), { code: 'unauthenticated' })
})

t.test('publish, history and a second connection that comes back', async (t) => {
  await using daemon = await startTestDaemon({ ACTIONS, channels }, PATIENT)
  const ann = await daemon.connect({ user: 'ann' })
  const { id } = await daemon.publish('orders:all', 1)
  await daemon.publish('orders:all', 2, { key: 'once' })
  await daemon.publish('orders:all', 2, { key: 'once' })
  t.match((await ann.subscribe('orders:all', { last: 5 })).messages, [{ data: 1 }, { data: 2 }])
  await daemon.publish('orders:all', 3, { exclude: ann.session })
  await daemon.publish('orders:all', 4)
  t.match(await ann.message('orders:all'), { data: 4 })
  t.match(await ann.close(), { code: 1000 })
  const again = await daemon.connect({ user: 'ann' })
  const missed = await again.subscribe('orders:all', { since: String(id) })
  t.match(missed, { recovered: true, messages: [{ data: 2 }, { data: 3 }, { data: 4 }] })
  await again.unsubscribe('orders:all')
  await again.drop()
  await t.rejects(daemon.publish('nobody:1', 1), { code: 'unknown_channel' })
  await t.rejects(daemon.publish('orders:', 1), { name: 'CallError' })
  t.match(await daemon.api('/api/stats'), {})
})

t.test('notify runs the sender, and tells what it throws', async (t) => {
  await using daemon = await startTestDaemon({ ACTIONS, channels }, PATIENT)
  const ann = await daemon.connect({ user: 'ann' })
  await ann.subscribe('orders:all')
  await daemon.notify('orders', { id: 5 })
  t.match(await ann.message(), { data: { heard: { id: 5 } } })
  await t.rejects(daemon.notify('orders', 'bad'), { name: 'CallError' })
  t.strictSame(await ann.rest(), [])
})

t.test('a wait that is in vain says for what, how long, and what came instead', async (t) => {
  await using daemon = await startTestDaemon({ ACTIONS, channels }, { ...PATIENT, deadlineMs: 1000 })
  const ann = await daemon.connect({ user: 'ann' })
  await t.rejects(ann.event('sure'), /^ann: no event 'sure' within 1000 ms; nothing came that was not taken$/)
  await ann.subscribe('orders:all')
  await daemon.publish('orders:all', 'hello')
  const waiting = ann.message('orders:7')
  await t.rejects(
    waiting,
    /ann: no message on orders:7 within 1000 ms; what came instead:\n {2}.*"data":"hello"/,
  )
  const pending = ann.event('sure')
  pending.catch(() => undefined)
  await daemon.stop()
  await t.rejects(pending, /ann: the daemon closed with 1000 '.*', while it waited for: event 'sure'/)
  t.match(await ann.closed, { code: 1000 })
})

t.test('a bad token, a token with channels, and tokens that the test can not sign', async (t) => {
  await using daemon = await startTestDaemon({ ACTIONS, channels: { orders: { access: 'none' } } }, PATIENT)
  await t.rejects(daemon.connect({ token: 'a.b.c' }), { name: 'CallError', code: 'unauthenticated' })
  const ann = await daemon.connect({ user: 'ann', channels: { subscribe: ['orders:7'] } })
  await ann.subscribe('orders:7')
  await t.rejects(ann.subscribe('orders:8'), { code: 'forbidden' })
  const token = daemon.token({ user: 'bob' })
  t.equal((await daemon.connect({ token })).user, 'bob')

  const secret = 'x'.repeat(32)
  await using own = await startTestDaemon({ auth: { jwt: { secret, audience: 'web' } } }, PATIENT)
  t.equal((await own.connect({ user: 'ann' })).user, 'ann', "the config's own secret")
  await using foreign = await startTestDaemon({ auth: { jwt: { jwksUrl: 'https://issuer.example/keys' } } })
  await t.rejects(foreign.connect({ user: 'ann' }), /a key that the test does not have: leave auth\.jwt out/)
})

t.test(
  'what is wrong with the config or a module is told as the daemon tells it, and nothing stays',
  async (t) => {
    await t.rejects(startTestDaemon({ ACTIONS: { orders: { cancel: './cancle.ts' } } }, PATIENT), {
      code: 'ACTION_NOT_FOUND',
      message: /did you mean '\.\/cancel\.ts'/,
    })
    await t.rejects(startTestDaemon({ postgres: 'embeded' }), { code: 'CONFIG_INVALID' })
  },
)

const notes = {
  component: 'test_notes',
  migrations: [{ version: 1, name: 'note', sql: 'CREATE TABLE note (text text)' }],
}

t.test('an embedded database: fresh, with the tables of the modules, and gone at the end', async (t) => {
  const write = defineAction({
    access: 'public',
    migrations: notes,
    handle: async (text, { db }) => (await db.query('INSERT INTO note VALUES ($1)', [text])).rowCount,
  })
  const config = {
    ACTIONS: { notes: { write } },
    channels: { notes: { access: 'public', history: {} } },
  } as const
  const daemon = await startTestDaemon({ ...config, postgres: 'embedded' }, PATIENT)
  t.teardown(() => daemon.stop())
  const ann = await daemon.connect()
  await ann.subscribe('notes:all')
  t.equal(await ann.call('notes.write', 'hello'), 1)
  t.strictSame((await daemon.db.query('SELECT text FROM note')).rows, [{ text: 'hello' }])
  await daemon.db.query(`SELECT livemessage.publish('notes:all', '{"by":"SQL"}')`)
  t.match(await ann.message(), { data: { by: 'SQL' } })

  await using second = await startTestDaemon({ ...config, postgres: String(daemon.databaseUrl) }, PATIENT)
  const bob = await second.connect()
  await bob.subscribe('notes:all')
  await daemon.publish('notes:all', 'on both nodes')
  t.match(await bob.message(), { data: 'on both nodes' })
  await second.stop()

  const [place] = (await daemon.db.query<{ data_directory: string }>('SHOW data_directory')).rows
  // <the test's folder>/server/data
  const folder = path.resolve(String(place?.data_directory), '../..')
  t.ok(existsSync(folder))
  await Promise.all([daemon.stop(), daemon.stop()])
  t.notOk(existsSync(folder))
})

t.test('a start that fails leaves neither a server nor a folder behind, wherever its data was', async (t) => {
  const { TMPDIR } = process.env
  t.teardown(() => {
    if (TMPDIR === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = TMPDIR
  })
  const folder = t.testdir()
  // As root the data then goes where the server's user can enter.
  await chmod(folder, 0o700)
  process.env['TMPDIR'] = folder
  const sql = 'no SQL'
  const broken = defineAction({
    migrations: { component: 'broken', migrations: [{ version: 1, name: 'broken', sql }] },
    handle: () => 1,
  })
  const starting = startTestDaemon({ ACTIONS: { notes: { broken } }, postgres: 'embedded' }, PATIENT)
  await t.rejects(starting, { code: 'DATABASE_FAILED', message: /migration broken 1/ })
  t.strictSame(await readdir(folder), [])
})

t.test('two stop it, one is late, one comes to nobody', async (t) => {
  const daemon = await startTestDaemon({ ACTIONS, channels }, PATIENT)
  const ann = await daemon.connect({ user: 'ann' })
  const waiting = ann.call('orders.cancel', 1)
  waiting.catch(() => undefined)
  await ann.event('sure')
  await Promise.all([daemon.stop(), daemon.stop(), ann.close()])
  await t.rejects(waiting, /while it waited for: answer to the call of orders\.cancel/)
  await t.rejects(daemon.connect(), /ECONNREFUSED.* while it waited for: welcome/)
  await t.rejects(ann.message(), /the daemon closed with/)
})

t.test('a user who was revoked comes back with a new token', async (t) => {
  const daemon = await startTestDaemon({ channels: { chat: { access: 'public' } } })
  t.teardown(() => daemon.stop())
  const before = await daemon.connect({ user: 'ann' })
  const old = daemon.token({ user: 'ann' })
  t.match(await daemon.api('/api/revoke', { user: 'ann' }), { count: 1 })
  t.match(await before.closed, { code: 4401 })
  await t.rejects(daemon.connect({ user: 'ann', token: old }), { code: 'unauthenticated' })
  await sleep(10)
  t.equal((await daemon.connect({ user: 'ann' })).user, 'ann')
})
