import path from 'node:path'
import { Client } from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { sender } from '../../examples/odoo-bus/bridge.ts'
import odoo from '../../examples/odoo-bus/livemessages.config.ts'
import { CORE, migrate } from '../../src/database/migrate.ts'
import { connect, type TestClient } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

t.setTimeout(180_000)

const server = await startPostgres(t)
const url = new URL(server.url)
url.pathname = '/odoo'
await server.psql('CREATE DATABASE odoo')

const postgres = new URL(server.url)
postgres.pathname = '/postgres'
const notifier = new Client({ connectionString: postgres.href })
await notifier.connect()
t.teardown(() => notifier.end())

/** As Odoo's ORM makes them, as far as the bridge looks. */
const client = new Client({ connectionString: url.href })
await client.connect()
t.teardown(() => client.end())
await client.query(`
  CREATE TABLE bus_bus (
    id serial PRIMARY KEY, channel varchar, message varchar,
    create_uid integer, create_date timestamp, write_uid integer, write_date timestamp);
  CREATE TABLE res_users (id serial PRIMARY KEY, partner_id integer NOT NULL);
  INSERT INTO res_users VALUES (42, 3);
  INSERT INTO bus_bus (channel, message) VALUES ('["odoo","res.partner",3]', '"before the daemon was there"')`)

const config: TestConfig = {
  ...odoo,
  postgres: { url: url.href, databases: ['postgres'] },
  hooks: {
    ...odoo.hooks,
    authenticate: ({ token }) => (token === null ? null : { id: token }),
  },
}

t.test('`livemessage migrate` prepares the database of the NOTIFY, too, which has no bus', async (t) => {
  const components = [CORE, sender.migrations!]
  t.match(await migrate(postgres.href, { components, database: { name: 'postgres', outbox: true } }), {
    to: { 'odoo-bus': 1 },
  })
})

const start = (t: Test): Promise<TestDaemon> =>
  startDaemon(t, config, { migrate: true, root: path.resolve('examples/odoo-bus') })

/** What `_sendone` does in a transaction; the ids are taken here. */
const insert = async (db: Client, channel: unknown, message: unknown): Promise<void> => {
  await db.query(
    `INSERT INTO bus_bus (channel, message, create_date, write_date)
     VALUES ($1, $2, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')`,
    [JSON.stringify(channel), JSON.stringify(message)],
  )
}
/** What Odoo does after each commit: on a connection of its own, in the database `postgres`. */
const notify = (...channels: unknown[]): Promise<unknown> =>
  notifier.query("SELECT pg_notify('imbus', $1)", [JSON.stringify(channels)])

const send = async (channel: unknown, message: unknown): Promise<void> => {
  await insert(client, channel, message)
  await notify(channel)
}
const open = async (t: Test): Promise<Client> => {
  const db = new Client({ connectionString: url.href })
  await db.connect()
  t.teardown(() => db.end())
  await db.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
  return db
}
const listen = async (t: Test, daemon: TestDaemon, since?: string): Promise<TestClient> => {
  const ws = await connect(t, daemon, { token: '42' })
  await ws.subscribe('odoo:res.partner:3', since === undefined ? {} : { since })
  return ws
}
const partner = ['odoo', 'res.partner', 3]

t.test('the bus of Odoo: each row once, in order, on its channel, whatever the version writes', async (t) => {
  const [one, two] = [await start(t), await start(t)]
  const clients = [await listen(t, one), await listen(t, two)]
  for (const ws of clients) await ws.subscribe('odoo:broadcast')
  // 15 to 18: type and payload. 13 and 14: anything.
  await send(partner, { type: 'mail.message/insert', payload: { id: 1 } })
  await send(partner, [1, 'x', { a: null }])
  await send(['odoo', 'broadcast'], { type: 'bundle_changed', payload: {} })
  await send('broadcast', 'a text')
  for (const ws of clients) {
    t.match(await ws.next({ type: 'message' }), { data: { type: 'mail.message/insert', payload: { id: 1 } } })
    t.match(await ws.next({ type: 'message' }), {
      channel: 'odoo:res.partner:3',
      data: [1, 'x', { a: null }],
    })
    t.match(await ws.next({ type: 'message' }), {
      channel: 'odoo:broadcast',
      data: { type: 'bundle_changed' },
    })
    t.match(await ws.next({ type: 'message' }), { channel: 'odoo:broadcast', data: 'a text' })
    t.same(ws.rest('message'), [], 'nothing twice, and nothing from before')
  }
  t.match(await clients[0]!.ask({ type: 'subscribe', channel: 'odoo:res.partner:4' }), { code: 'forbidden' })
  t.match(await clients[0]!.ask({ type: 'subscribe', channel: 'odoo:mail.channel:3' }), { code: 'forbidden' })
})

t.test('the bus of Odoo: what took its id first and commits last is not lost', async (t) => {
  const daemons = [await start(t), await start(t)]
  const clients = await Promise.all(daemons.map((daemon) => listen(t, daemon)))
  const [slow, slower, never] = [await open(t), await open(t), await open(t)]
  await insert(slow, partner, 'slow')
  await slower.query('SAVEPOINT a')
  await insert(slower, partner, 'slower')
  await slower.query('RELEASE SAVEPOINT a')
  await insert(never, partner, 'rolled back')
  for (const text of ['first', 'second', 'third']) {
    await send(partner, text)
    for (const ws of clients) t.match(await ws.next({ type: 'message' }), { data: text })
  }
  await slow.query('COMMIT')
  await notify(partner)
  for (const ws of clients) t.match(await ws.next({ type: 'message' }), { data: 'slow' })
  await never.query('ROLLBACK')
  await send(partner, 'fourth')
  for (const ws of clients) t.match(await ws.next({ type: 'message' }), { data: 'fourth' })
  await slower.query('COMMIT')
  await notify(partner)
  for (const ws of clients) t.match(await ws.next({ type: 'message' }), { data: 'slower' })
  for (const ws of clients) t.same(ws.rest('message'), [], 'each once')
})

t.test('the bus of Odoo: a row that can not be published holds up no other', async (t) => {
  const daemon = await start(t)
  const ws = await listen(t, daemon)
  await client.query(`INSERT INTO bus_bus (channel, message) VALUES
    ('no json', '1'), ('["odoo","res.partner",3]', 'no json'), (NULL, NULL), ('["odoo"]', '1'),
    ('["odoo","${'x'.repeat(300)}"]', '1'), ('["odoo","res.partner",3]', '"${'x'.repeat(70_000)}"')`)
  await send(partner, 'after them')
  t.match(await ws.next({ type: 'message' }), { data: 'after them' })
  // It may arrive before the bridge has its answer.
  const told = () => daemon.lines.filter(({ msg }) => msg === 'a row of bus_bus can not be published')
  await until('all are told', () => told().length === 6)
})

t.test('the bus of Odoo: what is committed while no daemon is there comes when one is back', async (t) => {
  const before = await start(t)
  const ws = await listen(t, before)
  await send(partner, 'seen')
  const { id } = await ws.next({ type: 'message' })
  await before.stop()
  await send(partner, 'missed')
  await send(partner, 'missed, too')
  const after = await start(t)
  const back = await connect(t, after, { token: '42' })
  await until('both', async () => {
    const { rowCount } = await client.query("SELECT 1 FROM livemessage.journal WHERE data LIKE '%missed%'")
    return rowCount === 2
  })
  const subscribed = await back.subscribe('odoo:res.partner:3', { since: String(id) })
  t.match(subscribed, { recovered: true, messages: [{ data: 'missed' }, { data: 'missed, too' }] })
})

t.test('the bus of Odoo: thousands of rows at once, with two nodes that read them', async (t) => {
  const daemons = [await start(t), await start(t)]
  const [ws] = await Promise.all(daemons.map((daemon) => listen(t, daemon)))
  await client.query(`INSERT INTO bus_bus (channel, message)
    SELECT '["odoo","res.partner",3]', n FROM generate_series(1, 1200) n`)
  // Both at once: a third one reads at its start what the leader reads for the NOTIFY.
  const [third] = await Promise.all([start(t), notify(partner)])
  await until('all', () => ws!.frames.filter(({ type }) => type === 'message').length >= 1200)
  await send(partner, 'end')
  await ws!.next({ data: 'end' })
  const data = ws!.frames.filter(({ type }) => type === 'message').map((frame) => frame['data'])
  t.same(data, [...Array.from({ length: 1200 }, (_, n) => n + 1), 'end'], 'each once, in order')
  await third.stop()
})
