import { readdir, symlink } from 'node:fs/promises'
import path from 'node:path'
import { io } from 'socket.io-client'
import t from 'tap'
import type { Test } from 'tap'
import { loadConfig } from '../../src/config/load.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { nextEvent, until, within } from '../support/wait.ts'
import { configOf, folderWith, readPage, type Page } from './snippets.ts'

t.setTimeout(180_000)

const server = await startPostgres(t)
let count = 0

/** A database of the test's own. */
const database = async (): Promise<string> => {
  const name = `guide${++count}`
  await server.psql(`CREATE DATABASE ${name}`)
  const url = new URL(server.url)
  url.pathname = `/${name}`
  return url.href
}

/** The page's files in a folder, as its reader has them. */
const projectOf = async (t: Test, page: Page): Promise<string> => {
  const folder = await folderWith(t, Object.fromEntries(page.marked.map(({ name, text }) => [name, text])))
  await symlink(path.resolve('node_modules'), path.join(folder, 'node_modules'))
  return folder
}

const ask = (daemon: TestDaemon, address: string, user: string, data: unknown): Promise<unknown> =>
  fetch(daemon.url + address, {
    method: 'POST',
    headers: { Authorization: `Bearer ${user}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(data),
  }).then((response) => response.json())

const byToken = {
  authenticate: ({ token }: { token: string | null }) => (token === null ? null : { id: token }),
}

const browse = (daemon: TestDaemon, auth: object) => {
  const socket = io(daemon.url, { transports: ['websocket'], reconnection: false, auth, forceNew: true })
  const said: [string, unknown[]][] = []
  socket.onAny((event: string, ...args: unknown[]) => said.push([event, args]))
  return { socket, said }
}

t.test(
  'docs/migrating/from-livemessages.md: the INI file is read as it is, actions and senders work',
  async (t) => {
    const page = await readPage('migrating/from-livemessages.md')
    const root = await projectOf(t, page)
    const { config: resolved } = await loadConfig({ cwd: root, env: {} })
    t.match(resolved.postgres, { maxConnections: 10, cleanupTimeoutMs: 30_000 })
    const url = await database()
    const input = await configOf(t, page.snippet('livemessages.config.ts'), {
      'postgres://m3@localhost/m3': url,
    })
    // Whose the cookies are, Django says: docs/publishing/django.md.
    const daemon = await startDaemon(t, { ...input, auth: {}, hooks: byToken }, { migrate: true, root })
    const client = await connect(t, daemon, { token: '42' })
    await client.subscribe('messages:42')
    await client.subscribe('orders:42')
    const sql = async (text: string): Promise<void> => {
      const { Client } = await import('pg')
      const db = new Client({ connectionString: url })
      await db.connect()
      try {
        await db.query(text)
      } finally {
        await db.end()
      }
    }
    await sql(page.snippet('message.sql'))
    t.match(await client.next({ channel: 'messages:42' }), {
      data: { id: 1, from_user: 'ann', subject: 'Hello', read: false },
    })
    await sql(`NOTIFY order_changed, '{"id":1,"owner":42,"status":"paid","margin":3}'`)
    t.match(await client.next({ channel: 'orders:42' }), { data: { id: 1, status: 'paid' } })
    t.match(await ask(daemon, '/roles/messages/all', '42', { start: 0, limit: 25 }), {
      data: [{ id: 1, read: false }],
    })
    t.match(await ask(daemon, '/roles/messages/count', '42', null), { data: { count: 1 } })
    t.match(await ask(daemon, '/call/messages/read', '42', { id: 1 }), { data: { success: true } })
    await daemon.logged({ msg: 'a message was read', user: '42', id: 1 })
    t.match(await ask(daemon, '/roles/messages/count', '42', null), { data: { count: 0 } })
  },
)

t.test('docs/migrating/from-web-socketio.md: old publishers, Socket.IO clients and mailboxes', async (t) => {
  const page = await readPage('migrating/from-web-socketio.md')
  const root = await projectOf(t, page)
  const url = await database()
  const input = await configOf(t, page.snippet('livemessages.config.ts'), {
    'postgres://openerp@localhost/openerp': url,
  })
  const daemon = await startDaemon(t, input, { migrate: true, root })
  const { Client } = await import('pg')
  const db = new Client({ connectionString: url })
  await db.connect()
  t.teardown(() => db.end())
  await db.query("CREATE TABLE session (id text, uid int); INSERT INTO session VALUES ('s5', 5), ('s7', 7)")
  const { socket, said } = browse(daemon, { token: 's7', channels: ['im_user:7'] })
  t.teardown(() => socket.disconnect())
  await until('the subscription', () => said.some(([event]) => event === 'subscribed'))
  const heard = (text: string): unknown =>
    said.find(([event, [first]]) => event === 'message' && JSON.stringify(first).includes(text))?.[1][0]
  const old = {
    channel: 'im_user',
    uid: 5,
    date: '2013-06-01 10:00:00',
    values: { to_id: 7, message: 'by NOTIFY' },
  }
  await db.query(`NOTIFY longpolling_channel, '${JSON.stringify(old)}'`)
  const first = await until('the message', () => heard('by NOTIFY'))
  t.match(first, { channel: 'im_user:7', data: { from: 5, message: 'by NOTIFY' } })
  const { id } = first as { id: string }
  await socket.emitWithAck('confirm', 'im_user:7', id)

  const other = browse(daemon, { token: 's5' }).socket
  t.teardown(() => other.disconnect())
  t.same(await within('the answer', other.emitWithAck('write', 7, 'by an action')), { success: true })
  t.match(await until('the message', () => heard('by an action')), {
    data: { from: 5, message: 'by an action' },
  })
  t.match(await other.emitWithAck('write', 'seven', ''), { error: { code: 'invalid_input' } })
  socket.disconnect()

  const again = browse(daemon, { token: 's7', channels: ['im_user:7'] })
  t.teardown(() => again.socket.disconnect())
  const subscribed = await until('the mailbox', () => again.said.find(([event]) => event === 'subscribed'))
  const messages = (subscribed[1][0] as { messages: { data: unknown }[] }).messages
  t.same(
    messages.map(({ data }) => data),
    [{ from: 5, message: 'by an action' }],
    'what was not confirmed comes again',
  )
  const refused = browse(daemon, { token: 'none', channels: ['im_user:7'] }).socket
  t.teardown(() => refused.disconnect())
  await Promise.race([nextEvent(refused as never, 'connect_error'), nextEvent(refused as never, 'error')])
})

t.test('docs/migrating/from-django-realtime.md: names, notices and leaving', async (t) => {
  const page = await readPage('migrating/from-django-realtime.md')
  const root = await projectOf(t, page)
  const input = await configOf(t, page.snippet('livemessages.config.ts'))
  const daemon = await startDaemon(t, input, { root })
  const [ann, bob] = [browse(daemon, {}), browse(daemon, {})]
  for (const { socket } of [ann, bob]) t.teardown(() => socket.disconnect())
  t.same(await within('join', ann.socket.emitWithAck('join', 'Ann')), ['Ann'])
  t.same(((await within('join', bob.socket.emitWithAck('join', 'Bob'))) as string[]).toSorted(), [
    'Ann',
    'Bob',
  ])
  await until('the notice', () =>
    ann.said.some(([event, args]) => event === 'notice' && args[0] === 'Bob has joined'),
  )
  bob.socket.send('hello')
  await until('the text', () =>
    ann.said.some(([event, args]) => event === 'message' && args[0] === 'Bob: hello'),
  )
  t.notOk(
    bob.said.some(([event]) => event === 'message'),
    'all but this one',
  )
  bob.socket.disconnect()
  await until('the notice', () => ann.said.some(([, args]) => args[0] === 'Bob has left'))
})

t.test('docs/migrating/from-socketio.md: rooms, callbacks and recovery', async (t) => {
  const page = await readPage('migrating/from-socketio.md')
  const root = await projectOf(t, page)
  const input = await configOf(t, page.snippet('livemessages.config.ts'))
  const daemon = await startDaemon(t, input, { root })
  const chat = (auth: object) => {
    const socket = io(`${daemon.url}/chat`, {
      transports: ['websocket'],
      reconnection: false,
      auth,
      forceNew: true,
    })
    const said: [string, unknown[]][] = []
    socket.onAny((event: string, ...args: unknown[]) => said.push([event, args]))
    t.teardown(() => socket.disconnect())
    return { socket, said }
  }
  const [ann, bob] = [chat({}), chat({})]
  t.same(await within('enter', ann.socket.emitWithAck('enter', 'kitchen')), { ok: true })
  t.match(await bob.socket.emitWithAck('enter', 'No Room!'), { error: { code: 'invalid_input' } })
  t.same(await bob.socket.emitWithAck('say', { room: 'kitchen', text: 'hello' }), { ok: false })
  await until('both', () => ['message', 'said'].every((name) => ann.said.some(([event]) => event === name)))
  t.match(ann.said.find(([event]) => event === 'said')?.[1], [{ by: null, text: 'hello' }])
  const [message] = ann.said.find(([event]) => event === 'message')![1] as [{ id: string; data: unknown }]
  t.same(message.data, { by: null, text: 'hello' })
  await bob.socket.emitWithAck('say', { room: 'kitchen', text: 'missed' })
  const back = chat({ channels: ['kitchen'], since: message.id })
  const subscribed = await until('what was missed', () => back.said.find(([event]) => event === 'subscribed'))
  t.match(subscribed[1][0], { recovered: true, messages: [{ data: { text: 'missed' } }] })
})

t.test('the guides: every link leads somewhere', async (t) => {
  for (const folder of ['migrating', 'publishing']) {
    for (const file of await readdir(path.resolve('docs', folder))) {
      const page = await readPage(`${folder}/${file}`)
      const missing = page.links.filter(({ found }) => !found).map(({ target }) => target)
      t.same(missing, [], `${folder}/${file}`)
    }
  }
})
