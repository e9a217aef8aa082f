import t from 'tap'
import type { Test } from 'tap'
import { resolveConfig } from '../../src/config/resolve.ts'
import type { OldPublishers } from '../../src/sources/longpolling.ts'
import { decodeNotify } from '../../src/sources/notify.ts'
import type { Notification } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

t.setTimeout(120_000)

const NAME = 'longpolling_channel'
/** Subsystems `im_user`, which has a sender, `tell` and `chat`, which have none. */
const OLD: OldPublishers = {
  names: [NAME],
  subsystem: 'chat',
  hasSender: (name) => (name === 'im_user' ? true : ['tell', 'chat'].includes(name) ? false : undefined),
}

const decode = (payload: unknown, senders: ReadonlyMap<string, readonly string[]> = new Map()) =>
  decodeNotify(NAME, typeof payload === 'string' ? payload : JSON.stringify(payload), {
    source: 'postgres',
    database: 'erp',
    channel: 'livemessages',
    notify: senders,
    old: OLD,
  })

const one = (payload: unknown): Partial<Notification> => {
  const heard = decode(payload)
  return Array.isArray(heard) && heard.length === 1 ? heard[0]!.notification : {}
}

t.test(
  'longpolling_channel: a channel that names a subsystem with a sender goes to that sender, whole',
  async (t) => {
    const payload = { channel: 'im_user', uid: 5, date: '2013-06-01 10:00:00', values: { to_id: 7 } }
    t.match(one(payload), { subsystem: 'im_user', data: payload, json: JSON.stringify(payload), name: NAME })
    t.match(one(payload), { database: 'erp', source: 'postgres', patience: 'wait' })
    t.equal(one(payload).channel, undefined)
  },
)

t.test(
  'longpolling_channel: without a sender it goes to the user of to_id, or to the one of uid',
  async (t) => {
    t.match(one({ channel: 'tell', uid: 5, date: 'x', values: { to_id: 7, message: 'hi' } }), {
      channel: 'tell:7',
      data: { to_id: 7, message: 'hi' },
    })
    t.match(one({ channel: 'tell', uid: 5, values: { message: 'hi' } }), { channel: 'tell:5' })
    t.match(one({ channel: 'tell', uid: 5, values: { to_id: null } }), { channel: 'tell:5' })
    t.match(one({ channel: 'tell', uid: 5, values: { to_id: 'a b' } }), { channel: 'tell:a=20b' })
  },
)

t.test(
  'longpolling_channel: a whole channel is that one, any other name is one of the subsystem',
  async (t) => {
    t.match(one({ channel: 'tell:9', uid: 5, values: [1] }), { channel: 'tell:9', data: [1] })
    t.match(one({ channel: 'sale.order', uid: 5, values: null }), { channel: 'chat:sale.order', data: null })
    t.match(one({ channel: 'the café', uid: 5, values: 1 }), { channel: 'chat:the=20caf=C3=A9' })
    const large = '{"channel":"notes","uid":1,"values":{"id":12345678901234567890}}'
    t.equal(one(large).json, '{"id":12345678901234567890}', 'as it was written')
  },
)

t.test('longpolling_channel: what is none says why', async (t) => {
  const code = (payload: unknown): unknown => {
    const heard = decode(payload)
    return Array.isArray(heard) ? heard : heard.code
  }
  for (const payload of ['', '{"half":', '[]', '5', { channel: 'tell', values: 1 }]) {
    t.equal(code(payload), 'bad_payload', JSON.stringify(payload))
  }
  for (const uid of ['', 1.5, true, {}, null, 1e300]) {
    t.equal(code({ channel: 'tell', uid, values: {} }), 'bad_payload', `uid ${JSON.stringify(uid)}`)
  }
  for (const channel of [undefined, null, '', 5, {}, ['tell'], 'x'.repeat(201), 'é'.repeat(100)]) {
    t.equal(code({ channel, uid: 1, values: {} }), 'bad_channel', `channel ${JSON.stringify(channel)}`)
  }
  t.equal(code({ channel: 'tell', uid: 'x'.repeat(201), values: {} }), 'bad_channel')
  t.equal(code({ channel: 'notes', uid: 1 }), 'no_data')
  t.equal(code({ channel: 'tell', uid: 1 }), 'no_data')
})

t.test(
  'longpolling_channel: a sender that has the name as its own hears it as any other of its names',
  async (t) => {
    const payload = { channel: 'tell', uid: 1, values: {} }
    const heard = decode(payload, new Map([[NAME, ['chat']]]))
    t.match(heard, [{ subsystem: 'chat', notification: { subsystem: 'chat', data: payload } }])
  },
)

t.test('predecessors.notify: its names, and when the subsystem needs a history', async (t) => {
  const resolve = (predecessors: unknown, postgres: unknown = 'embedded', aliases = {}) => {
    const channels = { chat: { history: {} }, live: {}, mail: { access: 'user', delivery: 'mailbox' } }
    const ACTIONS = { chat: { say: './say.ts' }, live: {}, mail: {} }
    const place = { root: process.cwd(), file: null }
    try {
      const config = { ACTIONS, channels, predecessors, postgres, calls: { aliases } }
      return resolveConfig({ config }, place).config.predecessors
    } catch (error) {
      return (error as Error).message
    }
  }
  const notify = NAME
  t.same(resolve({ subsystem: 'chat' }), { subsystem: 'chat', addresses: true, notify: [] })
  t.same(resolve({ subsystem: 'chat', notify }), { subsystem: 'chat', addresses: true, notify: [NAME] })
  t.same(resolve({ subsystem: 'live', notify: ['a', 'b', 'a'] }), {
    subsystem: 'live',
    addresses: false,
    notify: ['a', 'b'],
  })
  t.same(resolve({ subsystem: 'chat', addresses: false, notify }), {
    subsystem: 'chat',
    addresses: false,
    notify: [NAME],
  })
  t.match(resolve({ subsystem: 'mail', notify }), { addresses: false })
  t.match(
    resolve({ subsystem: 'live', addresses: true, notify }),
    /predecessors\.subsystem: .*channels\.live\.history/,
  )
  t.match(resolve({ subsystem: 'mail', addresses: true, notify }), /predecessors\.subsystem: .*mailboxes/)
  t.match(resolve({ subsystem: 'chat', addresses: false }), /predecessors\.subsystem: nothing is left/)
  t.match(resolve({ subsystem: 'chat', notify: 'livemessages' }), /predecessors\.notify: .*the daemon's own/)
  t.match(resolve({ subsystem: 'chat', notify }, false), /predecessors\.notify: .*no database/)
  for (const bad of ['', 5, [''], [5], 'x'.repeat(64), {}, null]) {
    t.match(
      resolve({ subsystem: 'chat', notify: bad }),
      /predecessors\.notify.*63 bytes/,
      JSON.stringify(bad),
    )
  }
  const taken = { '/messages': 'chat.say' }
  t.match(
    resolve({ subsystem: 'live', notify }, 'embedded', taken),
    { addresses: false },
    'the address is free',
  )
})

t.test('old publishers reach clients of two nodes unchanged', async (t) => {
  const server = await startPostgres(t)
  const heard: unknown[] = []
  const sender = {
    route: (notification: Notification) => {
      heard.push(notification.data)
      const { values } = notification.data as { values: { to_id: number } }
      return `im_user:${values.to_id}`
    },
    format: ({ data }: Notification) => ({ from: (data as { uid: number }).uid }),
  }
  const config: TestConfig = {
    ACTIONS: { im_user: { sender }, chat: {}, quick: {} },
    channels: {
      im_user: { access: 'public', history: { count: 10 } },
      chat: { access: 'public', history: { count: 10 } },
      quick: { access: 'public' },
    },
    postgres: { url: server.url },
    predecessors: { subsystem: 'chat', notify: NAME },
  }
  const first = await startDaemon(t, config, { migrate: true })
  const second = await startDaemon(t, config)
  const channels = ['im_user:7', 'chat:sale.order', 'quick:5', 'chat:room']
  const clientOf = async (t: Test, daemon: TestDaemon) => {
    const client = await connect(t, daemon)
    for (const channel of channels) await client.subscribe(channel)
    return client
  }
  const clients = [await clientOf(t, first), await clientOf(t, second)]
  // What Python's driver sends: NOTIFY with a literal, in a transaction of its own.
  const say = (payload: unknown): Promise<unknown> =>
    server.psql(`NOTIFY ${NAME}, '${typeof payload === 'string' ? payload : JSON.stringify(payload)}'`)
  const date = '2013-06-01 10:00:00'
  await say({ channel: 'im_user', uid: 5, date, values: { to_id: 7, message: 'hi' } })
  await say({ channel: 'sale.order', uid: 5, date, values: { id: 1 } })
  await say({ channel: 'quick', uid: 5, date, values: 'now' })
  await say('{"half":')
  await say({ channel: 'nobody:1', uid: 5, date, values: 1 })
  await say({ channel: 'chat:room', uid: 5, date, values: 'last' })
  for (const client of clients) {
    t.match(await client.next({ channel: 'im_user:7' }), { data: { from: 5 } })
    t.match(await client.next({ channel: 'chat:sale.order' }), { data: { id: 1 } })
    t.match(await client.next({ channel: 'quick:5' }), { data: 'now' })
    t.match(await client.next({ channel: 'chat:room' }), { data: 'last' })
    t.same(client.rest('message'), [], 'each once')
  }
  t.equal(heard.length, 1, 'the sender of a journaled subsystem runs on one node')
  let dead: Record<string, unknown>[] = []
  await until('the dead letters', async () => {
    dead = await server.psql('SELECT code FROM livemessage.dead')
    return dead.length >= 2
  })
  t.same(new Set(dead.map(({ code }) => code)), new Set(['bad_payload', 'unknown_channel']))
  t.equal(dead.length, 2, 'kept by one node')
})
