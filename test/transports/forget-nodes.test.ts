import { Client } from 'pg'
import t, { type Test } from 'tap'
import { connect } from '../support/client.ts'
import { startNode } from '../support/cluster.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { install } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { SECRET, token } from './both.ts'

t.setTimeout(180_000)

const server = await startPostgres(t, { settings: { synchronous_commit: 'on' } })

const CHANNELS = {
  chat: { access: 'public', history: { count: 10_000, maxAge: '1h' } },
  inbox: { access: 'user', delivery: 'mailbox' },
  quotes: { access: 'public', delivery: 'transient', conflate: 'symbol' },
} as const

async function freshUrl(): Promise<string> {
  const url = new URL(server.url)
  url.pathname = `/forget_${Math.random().toString(36).slice(2)}`
  await server.psql(`CREATE DATABASE ${url.pathname.slice(1)}`)
  return url.href
}

/** Two daemons on one database; they know each other. */
async function pair(t: Test, input: TestConfig = {}): Promise<[TestDaemon, TestDaemon, string]> {
  const url = await freshUrl()
  const config: TestConfig = {
    channels: CHANNELS,
    auth: { jwt: { secret: SECRET } },
    postgres: { url },
    ...input,
  }
  const one = await startDaemon(t, config, { migrate: true })
  const two = await startDaemon(t, config)
  for (const { url: at } of [one, two]) {
    await until('they know each other', async () => {
      const stats = (await (await fetch(`${at}/api/stats`)).json()) as { nodes: unknown[] }
      return stats.nodes.length === 2
    })
  }
  return [one, two, url]
}

async function forget(at: { url: string }, body: object): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${at.url}/api/forget`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() }
}

interface Past {
  readonly messages: readonly { readonly id: string; readonly data: unknown }[]
}

async function history(at: { url: string }, channel: string): Promise<Past['messages']> {
  const response = await fetch(`${at.url}/api/history?channel=${channel}&last=1000`)
  return ((await response.json()) as Past).messages
}

async function put(at: { url: string }, channel: string, data: unknown): Promise<string> {
  const response = await fetch(`${at.url}/api/publish`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ channel, data }),
  })
  return ((await response.json()) as { id: string }).id
}

t.test('when one node has answered, no node gives it any more; those who watch are told', async (t) => {
  const [one, two] = await pair(t)
  const far = await connect(t, two)
  await far.subscribe('chat:a')
  for (let round = 0; round < 10; round++) {
    const id = await put(two, 'chat:a', round)
    t.match(await forget(one, { channel: 'chat:a', ids: [id] }), {
      body: { forgotten: 1, missing: [] },
    })
    t.same(await history(two, 'chat:a'), [])
    t.match(await far.next({ type: 'forgotten' }), { channel: 'chat:a', ids: [id] })
  }
  await put(one, 'quotes:x', { symbol: 'A', price: 1 })
  await until('it is at both', async () => {
    const { messages } = (await (await connect(t, two)).subscribe('quotes:x')) as unknown as Past
    return messages.length === 1
  })
  t.match(await forget(one, { channel: 'quotes:x' }), { body: { forgotten: 1, missing: [] } })
  t.match(await (await connect(t, two)).subscribe('quotes:x'), { messages: [] })
})

t.test('a channel is forgotten while both nodes publish to it at full speed', async (t) => {
  const [one, two] = await pair(t)
  const client = await connect(t, two)
  await client.subscribe('chat:a')
  const running = { now: true }
  let published = 0
  const load = [one, two].map(async (at, index) => {
    while (running.now) {
      const body = { channels: Array.from({ length: 10 }, (_value, n) => (n === 0 ? 'chat:b' : 'chat:a')) }
      await Promise.all([put(at, 'chat:a', `${index}`), put(at, 'chat:b', body.channels.length)])
      published++
    }
  })
  let before = await put(one, 'chat:a', 'first')
  for (let round = 0; round < 10; round++) {
    const to = round % 2 === 0 ? one : two
    t.match(await forget(to, { channel: 'chat:a' }), { status: 200, body: { missing: [] } })
    for (const at of [one, two]) {
      t.notOk((await history(at, 'chat:a')).some(({ id }) => id === before))
    }
    before = await put(one, 'chat:a', round)
    const back = await connect(t, at(round))
    t.match(await back.subscribe('chat:a', { since: before }), { recovered: true })
    await back.close()
  }
  running.now = false
  await Promise.all(load)
  t.ok(published > 10)
  const ids = client.frames
    .filter(({ type }) => type === 'message')
    .map(({ id }) => Number(String(id).split('-')[1]))
  t.same(
    ids,
    ids.toSorted((a, b) => a - b),
  )
  t.equal(new Set(ids).size, ids.length)

  function at(round: number): TestDaemon {
    return round % 2 === 0 ? two : one
  }
})

t.test(
  'who recovers a long way while it is forgotten joins the live stream, and is told no lie',
  async (t) => {
    const [one, two] = await pair(t, { limits: { recoveryMessages: 10, windowBytes: 4096 } })
    const start = await put(one, 'chat:a', 'start')
    const client = new Client({
      connectionString:
        two.config.postgres !== null && 'url' in two.config.postgres ? two.config.postgres.url : '',
    })
    await client.connect()
    t.teardown(() => client.end())
    await client.query(
      `SELECT livemessage.publish_many((SELECT jsonb_agg(jsonb_build_object('channel', 'chat:a', 'data', n)) FROM generate_series(1, 3000) AS n))`,
    )
    await until('both have them', async () => (await history(two, 'chat:a')).at(-1)?.data === 3000)
    const slow = await Promise.all(
      [one, two, one, two].map(async (at) => {
        const reader = await connect(t, at)
        reader.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: start })
        return reader
      }),
    )
    t.match(await forget(one, { channel: 'chat:a' }), { status: 200, body: { missing: [] } })
    await put(one, 'chat:a', 'live')
    for (const reader of slow) {
      await reader.next((frame) => frame.type === 'message' && frame['data'] === 'live')
      const answers = reader.frames.filter(({ type }) => type === 'subscribed')
      t.same(
        answers.map(({ recovered }) => recovered),
        [true],
      )
      const datas = reader.frames.filter(({ type }) => type === 'message').map(({ data }) => data)
      t.equal(datas.filter((data) => data === 'live').length, 1)
      const numbers = datas.filter((data) => typeof data === 'number')
      t.same(
        numbers,
        numbers.toSorted((a, b) => a - b),
        `${numbers.length} came before it was forgotten`,
      )
    }
  },
)

t.test('a user: the own channels, the places in mailboxes, dead letters; nobody else', async (t) => {
  const [one, two, url] = await pair(t)
  const db = new Client({ connectionString: url })
  await db.connect()
  t.teardown(() => db.end())
  for (const user of ['42', '43']) {
    const client = await connect(t, one, { token: await token(user) })
    const id = await put(one, `inbox:${user}`, 'hello')
    await client.subscribe(`inbox:${user}`)
    await client.ask({ type: 'confirm', channel: `inbox:${user}`, cursor: id })
    await put(one, `inbox:${user}`, 'again')
    await db.query(
      `INSERT INTO livemessage.dead (source, channel, code, reason) VALUES ('test', $1, 'x', 'x')`,
      [`inbox:${user}`],
    )
    await client.close()
  }
  t.same(await forget(two, { user: '42' }), {
    status: 200,
    body: { forgotten: 2, letters: 1, records: 0, mailboxes: 1, missing: [] },
  })
  t.same((await db.query('SELECT user_id FROM livemessage.mailbox')).rows, [{ user_id: '43' }])
  t.same((await db.query('SELECT channel FROM livemessage.dead')).rows, [{ channel: 'inbox:43' }])
  const back = await connect(t, one, { token: await token('42') })
  t.match(await back.subscribe('inbox:42'), { messages: [] })
  const other = await connect(t, one, { token: await token('43') })
  t.match(await other.subscribe('inbox:43'), { messages: [{ data: 'again' }] })
  t.match(await forget(one, { user: '42' }), { body: { forgotten: 0, mailboxes: 0 } })
})

t.test(
  'nodes killed before and after the answer: what was answered holds, the rest can be asked again',
  async (t) => {
    const it = await install(t)
    const url = await freshUrl()
    const config = { ACTIONS: {}, channels: CHANNELS, postgres: { url }, host: '127.0.0.1' }
    const { migrate } = await import('../../src/database/migrate.ts')
    await migrate(url)
    const one = await startNode(t, it, config)
    const two = await startNode(t, it, config)
    const kept: string[] = []
    for (let round = 0; round < 3; round++) {
      const id = await put(one, 'chat:a', round)
      kept.push(await put(two, 'chat:b', round))
      t.match(await forget(one, { channel: 'chat:a', ids: [id] }), { status: 200 })
      one.kill('SIGKILL')
      await until('the other has it', async () => (await history(two, 'chat:a')).length === 0)
      await one.restart()
      t.same(await history(one, 'chat:a'), [], 'what was answered holds')

      for (let n = 0; n < 20; n++) await put(two, 'chat:a', n)
      const asked = forget(one, { channel: 'chat:a' }).catch(() => null)
      await new Promise((resolve) => setTimeout(resolve, round * 4))
      one.kill('SIGKILL')
      await asked
      await one.restart()
      t.match(await forget(two, { channel: 'chat:a' }), { status: 200 })
      for (const at of [one, two]) {
        await until('both have forgotten', async () => (await history(at, 'chat:a')).length === 0)
        t.same(
          (await history(at, 'chat:b')).map((message) => message.id),
          kept,
        )
      }
    }
  },
)
