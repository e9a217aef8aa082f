import t from 'tap'
import { messages } from '../../actions/messages/migration.ts'
import { tasks } from '../../actions/tasks/migration.ts'
import type { Notification } from '../../src/index.ts'
import { CORE, migrate } from '../../src/database/migrate.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { byToken, startSeveral } from './several.ts'

t.setTimeout(120_000)

const ACTIONS: NonNullable<TestConfig['ACTIONS']> = {
  messages: {
    all: './actions/messages/all.ts',
    read: './actions/messages/read.ts',
    'not-read-count': './actions/messages/not-read-count.ts',
    sender: './actions/messages/sender.ts',
    forget: './actions/messages/forget.ts',
  },
  tasks: {
    all: './actions/tasks/all.ts',
    sender: './actions/tasks/sender.ts',
    forget: './actions/tasks/forget.ts',
  },
}

const KINDS = {
  'in the journal': { access: 'user', history: { count: 1000 }, perDatabase: true },
  transient: { access: 'user', perDatabase: true },
} as const satisfies Record<string, NonNullable<TestConfig['channels']>[string]>

for (const [kind, policy] of Object.entries(KINDS)) {
  t.test(`messages and tasks of two databases, ${kind}: each user has those of its own`, async (t) => {
    const several = await startSeveral(t, ['shop'])
    const { home } = several
    for (const name of [home, 'shop']) {
      await migrate(several.urlOf(name), { components: [CORE, messages, tasks] })
    }
    const daemon = await startDaemon(t, {
      ACTIONS,
      channels: { messages: policy, tasks: policy },
      hooks: { authenticate: byToken },
      postgres: { url: several.server.url, databases: ['shop'] },
    })
    const ofHome = await connect(t, daemon.ws, { token: '42' })
    const ofShop = await connect(t, daemon.ws, { token: 'shop/42' })
    for (const subsystem of ['messages', 'tasks']) {
      await ofHome.subscribe(`${subsystem}:${home}:42`)
      await ofShop.subscribe(`${subsystem}:shop:42`)
    }

    for (const [client, database] of [
      [ofHome, home],
      [ofShop, 'shop'],
    ] as const) {
      const text = `of ${database}`
      const long = 'é'.repeat(5000)
      await several.sql(
        database,
        `INSERT INTO livemessage_messages.message (to_user, from_user, subject, text) VALUES ('42', '7', 'one', $1)`,
        [text],
      )
      await client.next({
        type: 'message',
        channel: `messages:${database}:42`,
        data: { from_user: '7', subject: 'one', text },
      })
      // Longer than a NOTIFY, and shorter than the limit of the journal.
      await several.sql(
        database,
        `INSERT INTO livemessage_messages.message (to_user, subject, text) VALUES ('42', 'two', $1)`,
        [long],
      )
      await client.next({
        type: 'message',
        channel: `messages:${database}:42`,
        data: { subject: 'two', text: long },
      })
      t.match(await client.call('messages.all'), [{ subject: 'two' }, { subject: 'one', text }])
      t.same(await client.call('messages.not-read-count'), { count: 2 })

      await several.sql(database, `SELECT livemessage.task_progress(livemessage.task_create('42', $1), 40)`, [
        text,
      ])
      await client.next({
        type: 'message',
        channel: `tasks:${database}:42`,
        data: { title: text, status: 'running', progress: 40 },
      })
      t.match(await client.call('tasks.all'), [{ title: text, progress: 40 }])
    }

    await t.test(
      'an id that has a channel without the database and none with it fails no insert',
      async (t) => {
        const user = 'u'.repeat(198)
        await several.sql(
          'shop',
          `INSERT INTO livemessage_messages.message (to_user, text) VALUES ($1, 'x')`,
          [user],
        )
        await several.sql('shop', `SELECT livemessage.task_create($1, 'x')`, [user])
        t.pass()
      },
    )

    await t.test('by AMQP or HTTP', async (t) => {
      const answer = await fetch(`${daemon.url}/api/notify`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ subsystem: 'messages', data: { to_user: '42', subject: 'three' } }),
      })
      t.ok(answer.ok, await answer.text())
      await ofHome.next({ type: 'message', channel: `messages:${home}:42`, data: { subject: 'three' } })
    })

    await t.test('forgetting the one leaves the other as it is', async (t) => {
      const answer = await fetch(`${daemon.url}/api/forget`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: '{"user":"42","database":"shop"}',
      })
      t.match(await answer.json(), { records: 3 })
      t.same(await ofShop.call('messages.all'), [])
      t.same(await ofShop.call('tasks.all'), [])
      t.match(await ofHome.call('messages.all'), [
        { subject: 'three' },
        { subject: 'two' },
        { subject: 'one' },
      ])
      t.equal(((await ofHome.call('tasks.all')) as unknown[]).length, 1)
    })
  })
}

t.test('old publishers of two databases reach the users of each', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const { home } = several
  const daemon = await startDaemon(t, {
    ACTIONS: { im_user: { sender: { route: ({ data }: Notification) => `im_user:${toOf(data)}` } } },
    channels: {
      im_user: { access: 'user', history: {}, perDatabase: true },
      tell: { access: 'user', history: {}, perDatabase: true },
      quick: { access: 'user', perDatabase: true },
      chat: { access: 'authenticated', history: {}, perDatabase: true },
    },
    hooks: { authenticate: byToken },
    postgres: { url: several.server.url, databases: ['shop'] },
    predecessors: { subsystem: 'chat', notify: 'longpolling_channel' },
  })
  for (const database of ['shop', home]) {
    const client = await connect(t, daemon.ws, { token: `${database}/7` })
    const say = (payload: object) =>
      several.sql(database, 'SELECT pg_notify($1, $2)', ['longpolling_channel', JSON.stringify(payload)])
    const values = { to_id: 7, message: `in ${database}` }
    const channels = ['im_user', 'tell', 'quick'].map((name) => `${name}:${database}:7`)
    for (const channel of [...channels, `chat:${database}:sale.order`]) await client.subscribe(channel)
    for (const name of ['im_user', 'tell', 'quick', 'sale.order', 'tell:7']) {
      await say({ channel: name, uid: 5, date: '2013-06-01 10:00:00', values })
    }
    await client.next({ type: 'message', channel: `im_user:${database}:7`, data: { uid: 5, values } })
    for (const channel of channels.slice(1)) await client.next({ type: 'message', channel, data: values })
    await client.next({ type: 'message', channel: `chat:${database}:sale.order`, data: values })
    await client.next({ type: 'message', channel: `tell:${database}:7`, data: values })
    t.same(client.rest('message'), [], `nothing but what was said in ${database}`)
  }
})

function toOf(data: unknown): number {
  return (data as { values: { to_id: number } }).values.to_id
}
