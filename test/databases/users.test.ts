import t from 'tap'
import { defineAction, type SenderDefinition } from '../../src/registry/define.ts'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { configOf, startSeveral } from './several.ts'

const where = defineAction({
  async handle(_input, { db, database, databases, user }) {
    const name = async (from: typeof db): Promise<unknown> =>
      (await from.query('SELECT current_database() AS name')).rows[0]?.['name']
    const all = await Promise.all(Object.entries(databases).map(async ([key, one]) => [key, await name(one)]))
    return { own: await name(db), database, user, all: Object.fromEntries(all) as unknown }
  },
})

const misspelled = defineAction({
  async handle(_input, { databases }) {
    try {
      await databases['shpo']?.query('SELECT 1')
      return 'nothing was said'
    } catch (error) {
      return String(error)
    }
  },
})

/** Hears its own NOTIFY name, in whichever database. */
const sender: SenderDefinition = {
  notify: 'told',
  route: ({ data }) => `messages:${(data as { to: string }).to}`,
  async format({ data, database }, { db }) {
    const { rows } = await db.query('SELECT current_database() AS name')
    return { ...(data as object), heardIn: database, readFrom: rows[0]?.['name'] }
  },
}

const publishing = defineAction({
  access: 'authenticated',
  async handle(input, { db, publish, database }) {
    const { channel, after } = input as { channel: string; after?: string }
    await db.transaction(async (tx) => {
      await tx.query('SELECT 1')
      await tx.publish(channel, { by: 'transaction', of: database })
      if (after !== undefined) await tx.publish(after, { by: 'transaction', of: database })
    })
    return publish(channel, { by: 'context' })
  },
})

const ACTIONS = { messages: { where, misspelled, publishing, sender } }

t.test('user 42 of one database is not user 42 of another', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop'], { ACTIONS }))
  const [home, shop, tab] = await Promise.all([
    connect(t, daemon.ws, { token: '42' }),
    connect(t, daemon.ws, { token: 'shop/42' }),
    connect(t, daemon.ws, { token: `${several.home}/42` }),
  ])
  const { hub } = daemon.daemon

  await t.test('the hub tells them apart, and the home one by its name too', async (t) => {
    t.equal(hub?.of('42').length, 2)
    t.equal(hub?.of('42', several.home).length, 2)
    t.same(
      hub?.of('42', 'shop').map(({ user, database }) => [user, database]),
      [['42', 'shop']],
    )
  })

  await t.test('an action has the pool of its user, and all others by name', async (t) => {
    const all = { [several.home]: several.home, shop: 'shop' }
    t.same(await home.call('messages.where'), { own: several.home, database: several.home, user: '42', all })
    t.same(await shop.call('messages.where'), { own: 'shop', database: 'shop', user: '42', all })
    t.equal(
      await shop.call('messages.misspelled'),
      `TypeError: databases: there is no 'shpo', expected one of ${several.home}, shop`,
    )
  })

  await t.test('an action over HTTP, too', async (t) => {
    const response = await fetch(`${daemon.url}/call/messages/where`, {
      method: 'POST',
      headers: { Authorization: 'Bearer shop/42', 'Content-Type': 'application/json' },
      body: 'null',
    })
    t.match(await response.json(), { data: { own: 'shop', user: '42' } })
  })

  await t.test('a channel of a user is that of the home one', async (t) => {
    t.match(await home.ask({ type: 'subscribe', channel: 'mail:42' }), { type: 'subscribed' })
    t.match(await shop.ask({ type: 'subscribe', channel: 'mail:42' }), { code: 'forbidden' })
  })

  await t.test('of a subsystem that runs per database each has its own', async (t) => {
    const ask = (client: typeof home, channel: string) => client.ask({ type: 'subscribe', channel })
    t.match(await ask(shop, 'messages:shop:42'), { type: 'subscribed' })
    t.match(await ask(home, `messages:${several.home}:42`), { type: 'subscribed' })
    t.match(await ask(shop, `messages:${several.home}:42`), { code: 'forbidden' })
    t.match(await ask(home, 'messages:shop:42'), { code: 'forbidden' })
    t.match(await ask(home, 'messages:42'), { code: 'unknown_channel' })
    t.match(await ask(home, 'messages:blog:42'), { code: 'unknown_channel' })
    for (const type of ['subscribe', 'presence', 'history']) {
      t.match(await shop.ask({ type, channel: `news:${several.home}:all` }), { code: 'forbidden' }, type)
    }
    t.match(
      await shop.ask({ type: 'publish', channel: `news:${several.home}:all`, data: 1 }),
      { code: 'forbidden' },
      'publish',
    )
    t.match(await ask(shop, `open:${several.home}:all`), { type: 'subscribed' }, 'public is public')
  })

  await t.test('SQL leaves the database out', async (t) => {
    for (const database of ['shop', several.home]) {
      await several.sql(database, `SELECT livemessage.publish('messages:42', '"${database}"')`)
      await several.sql(
        database,
        `SELECT livemessage.publish_many('[{"channel":"messages:42","data":"many ${database}"}]')`,
      )
    }
    for (const text of ['', 'many ']) {
      t.match(await shop.next({ type: 'message' }), { channel: 'messages:shop:42', data: `${text}shop` })
      t.match(await home.next({ type: 'message' }), {
        channel: `messages:${several.home}:42`,
        data: `${text}${several.home}`,
      })
    }
    await shop.subscribe('news:shop:all')
    await several.sql('shop', `SELECT livemessage.publish('news:all', '"transient"')`)
    t.match(await shop.next({ type: 'message' }), { channel: 'news:shop:all', data: 'transient' })
  })

  await t.test('a sender works for the database that it heard', async (t) => {
    await several.sql('shop', `SELECT pg_notify('told', '{"to":"42"}')`)
    t.match(await shop.next({ type: 'message' }), {
      channel: 'messages:shop:42',
      data: { to: '42', heardIn: 'shop', readFrom: 'shop' },
    })
    await several.sql(several.home, `SELECT pg_notify('told', '{"to":"42"}')`)
    t.match(await home.next({ type: 'message' }), {
      channel: `messages:${several.home}:42`,
      data: { heardIn: several.home, readFrom: several.home },
    })
  })

  await t.test('a module names the database; in a transaction, too', async (t) => {
    t.match(
      await shop.ask({ type: 'call', action: 'messages.publishing', data: { channel: 'messages:42' } }),
      {
        code: 'internal',
      },
    )
    await daemon.logged({ action: 'publishing', level: 'error' })
    await shop.call('messages.publishing', {
      channel: 'messages:shop:42',
      after: `messages:${several.home}:42`,
    })
    const both = [await shop.next({ type: 'message' }), await shop.next({ type: 'message' })]
    t.same(
      both.map(({ data }) => (data as { by: string }).by).sort(),
      ['context', 'transaction'],
      'by the outbox the one, into the journal the other',
    )
    t.match(await home.next({ type: 'message' }), { data: { by: 'transaction', of: 'shop' } })
  })

  await t.test('events and disconnects go to one of them', async (t) => {
    const post = (path: string, body: object) =>
      fetch(`${daemon.url}/api/${path}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      })
    t.match(await (await post('emit', { user: '42', event: 'hello' })).json(), { count: 2 })
    t.match(await (await post('emit', { user: '42', database: 'shop', event: 'hello' })).json(), { count: 1 })
    t.match(await shop.next({ type: 'event' }), { event: 'hello' })
    t.equal((await post('emit', { user: '42', database: 'shpo', event: 'x' })).status, 400)
    t.equal((await post('emit', { all: true, database: 'shop', event: 'x' })).status, 400)
    const listed = await fetch(`${daemon.url}/api/connections?user=42&database=shop`)
    t.match(await listed.json(), { count: 1, connections: [{ user: '42', database: 'shop' }] })
    t.match(await (await post('disconnect', { user: '42' })).json(), { count: 2 })
    await Promise.all([home.closed, tab.closed])
    t.equal(hub?.of('42', 'shop').length, 1)
  })
})

t.test('presence by user tells them apart, on all nodes', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const channels = { room: { access: 'public', presence: { by: 'user' } } } as const
  const config = configOf(several, ['shop'], { channels })
  const [one, two] = await Promise.all([startDaemon(t, config), startDaemon(t, config)])
  const home = await connect(t, one.ws, { token: '42' })
  const shop = await connect(t, two.ws, { token: 'shop/42' })
  await home.subscribe('room:a')
  await shop.subscribe('room:a')
  const seen = await until('both are seen on both nodes', async () => {
    const answers = await Promise.all(
      [home, shop].map((it) => it.ask({ type: 'presence', channel: 'room:a' })),
    )
    return answers.every(({ data }) => (data as { count: number }).count === 2) && answers
  })
  for (const { data } of seen === false ? [] : seen) {
    const { clients } = data as { clients: { user: string; database?: string }[] }
    const told = clients.map(({ user, database = 'home' }) => `${user} of ${database}`)
    t.same(
      told.toSorted((a, b) => a.localeCompare(b)),
      ['42 of home', '42 of shop'],
    )
  }
})

t.test('mailboxes, idempotency keys and limits are of the user of one database', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const channels = {
    box: { access: 'authenticated', delivery: 'mailbox' },
    talk: { access: 'authenticated', publish: 'authenticated', history: {} },
  } as const
  const daemon = await startDaemon(t, configOf(several, ['shop'], { channels }))
  const home = await connect(t, daemon.ws, { token: '42' })
  const shop = await connect(t, daemon.ws, { token: 'shop/42' })
  await daemon.publish('box:a', 'first')
  const opened = await home.subscribe('box:a')
  await shop.subscribe('box:a')
  const sent = await daemon.publish('box:a', 'second')
  const { id } = sent.body as { id: string }
  await shop.next({ type: 'message' })
  t.match(await shop.ask({ type: 'confirm', channel: 'box:a', cursor: id }), { type: 'reply' })
  const rows = await several.sql(several.home, 'SELECT user_id FROM livemessage.mailbox')
  t.same(rows, [{ user_id: 'shop\u001F42' }])
  t.ok(opened)
  const publish = (client: typeof home) =>
    client.ask({ type: 'publish', channel: 'talk:a', data: { by: client === home ? 1 : 2 }, key: 'k' })
  const ids = [await publish(home), await publish(shop), await publish(home)].map(
    ({ data }) => (data as { id: string }).id,
  )
  t.not(ids[0], ids[1], 'no conflict, no duplicate')
  t.equal(ids[0], ids[2])
})

t.test('a user of a database that is not served is nobody', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop']))
  const client = await connect(t, daemon.ws)
  const answer = await client.ask({ type: 'authenticate', token: 'blog/42' })
  t.match(answer, { type: 'error', code: 'unauthenticated', message: /blog/ })
  t.match(await client.closed, { code: 4401 })
})

t.test('who is revoked is a user of one database, the home one by its own name too', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop']))
  const ask = async (path: string, body: object) => {
    const answer = await fetch(`${daemon.url}${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    })
    return answer.json()
  }
  const home = await connect(t, daemon.ws, { token: '42' })
  const shop = await connect(t, daemon.ws, { token: 'shop/42' })
  t.match(await ask('/api/revoke', { user: '42', database: 'shop', for: '1h' }), { count: 1, missing: [] })
  t.match(await shop.closed, { code: 4401 })
  t.match(
    await home.call('no.action').catch((error: unknown) => error),
    { code: 'unknown_action' },
    'is here',
  )
  t.match(await ask('/api/revoke', { user: '42', database: several.home, for: '1h' }), { count: 1 })
  t.match(await home.closed, { code: 4401 })
  t.match(await ask('/api/unrevoke', { user: '42' }), { lifted: true }, 'it is the same one without a name')
  const again = await connect(t, daemon.ws, { token: '42' })
  await again.subscribe(`messages:${several.home}:42`)
  for (const path of ['/api/revoke', '/api/unrevoke', '/api/forget', '/api/disconnect']) {
    const refused = await ask(path, { user: '42', database: 'blog' })
    const message = /database: expected one of the config, got 'blog'/
    t.match(refused, { error: { code: 'invalid_input', message } }, path)
  }
})
