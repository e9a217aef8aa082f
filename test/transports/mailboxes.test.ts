import t, { type Test } from 'tap'
import type { Connection } from '../../src/index.ts'
import { connect, type Frame, type TestClient } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { positionOf, SECRET, token } from './both.ts'

t.setTimeout(120_000)

const CONFIG: TestConfig = {
  ACTIONS: { inbox: {}, short: {}, chat: {}, open: {} },
  channels: {
    inbox: { access: 'user', delivery: 'mailbox' },
    short: { access: 'authenticated', delivery: 'mailbox', history: { count: 5 } },
    chat: { access: 'public', history: {} },
    open: { access: 'public', delivery: 'mailbox' },
  },
  journal: 'postgres',
  auth: { jwt: { secret: SECRET } },
}

interface Mail {
  readonly server: TestPostgres
  readonly daemon: TestDaemon
  /** A device of the user. */
  device(user: string, query?: string): Promise<TestClient>
  put(channel: string, ...data: unknown[]): Promise<string[]>
  again(config?: TestConfig): Promise<Mail>
}

async function start(t: Test, config: TestConfig = {}, server?: TestPostgres): Promise<Mail> {
  const database = server ?? (await startPostgres(t, { settings: { synchronous_commit: 'on' } }))
  const daemon = await startDaemon(
    t,
    { ...CONFIG, postgres: { url: database.url }, ...config },
    { migrate: true },
  )
  return {
    server: database,
    daemon,
    device: async (user, query = '') =>
      connect(t, daemon, { query: `token=${await token(user)}${query === '' ? '' : `&${query}`}` }),
    async put(channel, ...data) {
      const ids: string[] = []
      for (const one of data) {
        const { status, body } = await daemon.publish(channel, one)
        if (status !== 200) throw new Error(JSON.stringify(body))
        ids.push((body as { id: string }).id)
      }
      return ids
    },
    async again(other = config) {
      await daemon.stop()
      return start(t, other, database)
    },
  }
}

function messages(client: TestClient, channel?: string): Frame[] {
  return client.frames
    .flatMap((frame) => (frame.type === 'subscribed' ? (frame['messages'] as Frame[]) : [frame]))
    .filter((frame) => 'data' in frame && (channel === undefined || frame['channel'] === channel))
}

function datas(client: TestClient, channel?: string): unknown[] {
  return messages(client, channel)
    .filter((frame) => frame.type !== 'reply')
    .map((frame) => frame['data'])
}

function confirm(client: TestClient, cursor: string | undefined, channel = 'inbox:1'): Promise<Frame> {
  return client.ask({ type: 'confirm', channel, cursor })
}

void t.test('what was not confirmed comes again, in order, on every device and after restarts', async (t) => {
  const mail = await start(t)
  const ids = await mail.put('inbox:1', 1, 2, 3, 4)
  await mail.put('inbox:2', 'of another')
  const first = await mail.device('1')
  const answer = await first.subscribe('inbox:1')
  t.match(answer, { recovered: false, cursor: String })
  t.notOk('since' in answer, 'nothing was confirmed ever')
  t.same(datas(first), [1, 2, 3, 4], 'everything that is kept')
  t.match(await confirm(first, ids[1]), { type: 'reply', data: null })
  await first.close()
  const second = await mail.device('1')
  t.match(await second.subscribe('inbox:1'), { since: ids[1], recovered: true })
  t.same(datas(second), [3, 4])
  const [fifth] = await mail.put('inbox:1', 5)
  await second.next({ type: 'message', data: 5 })
  t.match(await confirm(second, ids[0]), { type: 'reply' }, 'backwards is no fault')
  const other = await mail.device('2')
  await other.subscribe('inbox:2')
  t.same(datas(other), ['of another'])
  const later = await mail.again()
  const third = await later.device('1', 'channel=inbox:1')
  t.match(await third.next({ type: 'subscribed' }), { since: ids[1], recovered: true })
  t.same(datas(third), [3, 4, 5])
  t.match(await confirm(third, fifth), { type: 'reply' })
  const fourth = await later.device('1')
  t.match(await fourth.subscribe('inbox:1'), { since: fifth, recovered: true, messages: [] })
  t.match(await fourth.subscribe('inbox:1', { since: ids[2]! }), { recovered: true }, 'a cursor of its own')
  t.same(datas(fourth), [4, 5])
  t.match(await fourth.subscribe('inbox:1', { last: 1 }), { recovered: false })
  t.equal(later.daemon.daemon.counts.confirms, 1)
})

void t.test('what a confirm must be', async (t) => {
  const mail = await start(t)
  const [id] = await mail.put('inbox:1', 1)
  const [chat] = await mail.put('chat:a', 1)
  const client = await mail.device('1')
  t.match(await confirm(client, id), { type: 'error', code: 'invalid_input', message: /not subscribed/ })
  await client.subscribe('inbox:1')
  await client.subscribe('chat:a')
  const ahead = String(id).replace(/\d+$/, (position) => String(Number(position) + 1_000_000))
  for (const [channel, cursor, code] of [
    ['inbox:1', 'nonsense', 'invalid_input'],
    ['inbox:1', undefined, 'invalid_input'],
    ['inbox:1', `abcdef123456-${positionOf(id)}`, 'invalid_input'],
    ['inbox:1', ahead, 'invalid_input'],
    ['inbox:2', id, 'invalid_input'],
    ['chat:a', chat, 'invalid_input'],
    ['none:a', id, 'unknown_channel'],
    ['nonsense', id, 'unknown_channel'],
  ] as const) {
    t.match(await confirm(client, cursor, channel), { type: 'error', code }, `${channel} ${cursor}`)
  }
  client.send({ type: 'confirm', channel: 'inbox:1', cursor: ahead })
  t.match(
    await client.next({ type: 'error' }),
    { id: undefined, code: 'invalid_input' },
    'told without an id',
  )
  const before = client.frames.length
  client.send({ type: 'confirm', channel: 'inbox:1', cursor: id })
  t.match(await confirm(client, id), { type: 'reply' })
  t.equal(client.frames.length, before + 1, 'one without an id is not answered')
  const nobody = await connect(t, mail.daemon)
  for (const range of [{}, { last: 1 }, { since: id! }]) {
    await t.rejects(
      nobody.subscribe('open:a', range),
      { code: 'unauthenticated' },
      'whatever its access says',
    )
  }
  t.match(await confirm(nobody, id, 'open:a'), { type: 'error', code: 'unauthenticated' })
  await client.ask({ type: 'unsubscribe', channel: 'inbox:1' })
  t.match(await confirm(client, id), { type: 'error', code: 'invalid_input' })
})

void t.test('retention took some: told so, and what is left comes all the same', async (t) => {
  const mail = await start(t)
  const [first] = await mail.put('short:a', 1, 2)
  const client = await mail.device('1')
  await client.subscribe('short:a')
  await confirm(client, first, 'short:a')
  await client.close()
  await mail.put('short:a', 3, 4, 5, 6, 7, 8, 9)
  const again = await mail.device('1')
  const answer = await again.subscribe('short:a')
  t.match(answer, { since: first, recovered: false })
  t.same(datas(again), [5, 6, 7, 8, 9])
  t.match(await confirm(again, messages(again)[1]!['id'] as string, 'short:a'), { type: 'reply' })
  await mail.put('short:a', 10)
  await again.next({ type: 'message', data: 10 })
  const third = await mail.device('1')
  t.match(await third.subscribe('short:a'), { recovered: true })
  t.same(datas(third), [7, 8, 9, 10])
})

void t.test('several mailboxes in the URL, each from its own place, beside other channels', async (t) => {
  const mail = await start(t, { limits: { recoveryMessages: 3 } })
  const a = await mail.put('open:a', 1, 2, 3, 4, 5, 6, 7, 8)
  const b = await mail.put('open:b', 1, 2, 3)
  const client = await mail.device('1', 'channel=open:a&channel=chat:a&channel=open:b')
  await client.next({ type: 'subscribed', channel: 'open:b' })
  t.same(datas(client, 'open:a'), [1, 2, 3, 4, 5, 6, 7, 8])
  t.match(await confirm(client, a[4], 'open:a'), { type: 'reply' })
  t.match(await confirm(client, b[2], 'open:b'), { type: 'reply' })
  const again = await mail.device('1', 'channel=open:a&channel=chat:a&channel=open:b')
  t.match(await again.next({ type: 'subscribed', channel: 'open:a' }), { since: a[4], recovered: true })
  t.match(await again.next({ type: 'subscribed', channel: 'open:b' }), { since: b[2], recovered: true })
  await again.next({ type: 'subscribed', channel: 'chat:a' })
  t.same(datas(again), [6, 7, 8])
  await mail.put('open:b', 4)
  await again.next({ type: 'message', data: 4 })
})

void t.test("a module puts a user on the mailbox: from the user's own place, and nobody else", async (t) => {
  const mail = await start(t, {
    hooks: {
      connect: (connection: Connection) => {
        void connection
          .subscribe('inbox:1')
          .catch((error: { code: string }) => connection.emit('no', error.code))
      },
    },
  })
  const [first] = await mail.put('inbox:1', 1, 2)
  const client = await mail.device('1')
  t.match(await client.next({ type: 'subscribed' }), { recovered: false, id: undefined })
  t.same(datas(client), [1, 2])
  t.match(await confirm(client, first), { type: 'reply' })
  const again = await mail.device('1')
  t.match(await again.next({ type: 'subscribed' }), { recovered: true, since: first })
  t.same(datas(again), [2])
  const nobody = await connect(t, mail.daemon)
  t.match(await nobody.next({ type: 'event', event: 'no' }), { args: ['unauthenticated'] })
})

void t.test('the database is away: a confirm is refused after its time, and nothing is lost', async (t) => {
  const mail = await start(t, { limits: { publishMs: 700 } })
  const ids = await mail.put('inbox:1', 1, 2, 3)
  const client = await mail.device('1')
  await client.subscribe('inbox:1')
  t.match(await confirm(client, ids[0]), { type: 'reply' })
  await mail.server.kill()
  const began = Date.now()
  t.match(await confirm(client, ids[1]), { type: 'error', code: 'unavailable' })
  t.ok(Date.now() - began < 10_000)
  t.match(await client.ask({ type: 'ping' }), { type: 'pong' }, 'others than confirms are served meanwhile')
  client.send({ type: 'confirm', channel: 'inbox:1', cursor: ids[1] })
  t.match(await client.next({ type: 'error' }), { id: undefined, code: 'unavailable' })
  await mail.server.restart()
  const again = await mail.device('1')
  const answer = await until('it is back', () => again.subscribe('inbox:1'))
  t.ok([ids[0], ids[1]].includes(answer['since'] as string), `since ${String(answer['since'])}`)
  t.same(datas(again).at(-1), 3)
  t.match(await confirm(again, ids[2]), { type: 'reply' })
})

void t.test(
  'under traffic and with many confirms: each unconfirmed one comes, none twice on a connection',
  async (t) => {
    const mail = await start(t, { limits: { recoveryMessages: 20, framesPerSecond: 100_000 } })
    const publisher = { running: true, last: 0 }
    const publishing = (async () => {
      while (publisher.running) {
        const batch = Array.from({ length: 10 }, () => ++publisher.last)
        await mail.put('inbox:1', ...batch)
      }
    })()
    let confirmed = 0
    for (let round = 0; round < 8; round++) {
      const device = await mail.device('1')
      await device.subscribe('inbox:1')
      await until('some came', () => messages(device).length >= 60)
      const seen = messages(device).filter(({ type }) => type !== 'reply')
      const numbers = seen.map((frame) => frame['data'] as number)
      t.same(
        numbers,
        numbers.map((_value, index) => confirmed + 1 + index),
      )
      const middle = seen[30]!
      for (const frame of seen.slice(0, 30)) {
        device.send({ type: 'confirm', channel: 'inbox:1', cursor: frame['id'] })
      }
      t.match(await confirm(device, middle['id'] as string), { type: 'reply' })
      confirmed = middle['data'] as number
      await device.close()
    }
    publisher.running = false
    await publishing
  },
)

/** Numbers from 1, in turn to each of so many users, all of this size; nothing of it is in the daemon's memory. */
async function backlog(t: Test, users: number, each: number, bytes: number): Promise<Mail> {
  const mail = await start(t, SMALL_WINDOW)
  await mail.server.psql(
    `SELECT count(livemessage.publish('inbox:' || u, jsonb_build_object('n', n, 'text', repeat('x', ${bytes}))))
     FROM generate_series(1, ${each}) AS n, generate_series(1, ${users}) AS u`,
  )
  return mail.again()
}

const SMALL_WINDOW: TestConfig = {
  limits: { windowBytes: '64kb' },
}

function ns(client: TestClient, channel?: string): number[] {
  return datas(client, channel).map((data) => (data as { n: number }).n)
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_value, index) => index + 1)

void t.test('many users come back at once to long mailboxes: each gets all, in order', async (t) => {
  const mail = await backlog(t, 300, 100, 2000)
  const users = Array.from({ length: 300 }, (_value, index) => String(index + 1))
  const clients = await Promise.all(users.map((user) => mail.device(user)))
  await Promise.all(clients.map((client, index) => client.subscribe(`inbox:${users[index]}`, {})))
  for (const client of clients) await until('all came', () => ns(client).length >= 100, 60_000)
  const wrong = clients.filter((client) => !isSame(ns(client), upTo(100)))
  t.equal(wrong.length, 0, `${wrong.length} did not get exactly all`)
  const queries = await queriesOf(mail)
  t.ok(queries > 0 && queries < 60, `${queries} queries`)
  const last = messages(clients[0]!).at(-1)!['id'] as string
  t.match(await confirm(clients[0]!, last), { type: 'reply' })
  const again = await mail.device('1')
  t.match(await again.subscribe('inbox:1'), { recovered: true, messages: [] })
})

void t.test('a mailbox larger than any page arrives whole', async (t) => {
  const mail = await backlog(t, 1, 400, 60_000)
  const client = await mail.device('1')
  await client.subscribe('inbox:1')
  await mail.put('inbox:1', { n: 401 })
  await until('all came', () => ns(client).includes(401), 30_000)
  t.same(ns(client), upTo(401))
  const newest = await mail.device('1')
  await newest.subscribe('inbox:1', { last: 350 })
  await until('all came', () => ns(newest).includes(401), 30_000)
  t.same(ns(newest), upTo(401).slice(-350), 'as many of the newest as were asked for')
})

void t.test('retention passes a client that reads its mailbox slowly: told so at each gap', async (t) => {
  const filling = await start(t, {
    limits: { windowBytes: '64kb', recoveryMessages: 20 },
    channels: { inbox: { access: 'user', delivery: 'mailbox', history: { count: 300 } } },
  })
  const fill = (from: number, last: number) =>
    filling.server.psql(
      `SELECT count(livemessage.publish('inbox:1', jsonb_build_object('n', n, 'text', repeat('x', 60000))))
       FROM generate_series(${from}, ${last}) AS n`,
    )
  await fill(1, 400)
  const mail = await filling.again()
  const client = await mail.device('1')
  client.pause()
  client.send({ type: 'subscribe', id: 's', channel: 'inbox:1' })
  await until('it is being given its mailbox', async () => (await queriesOf(mail)) > 0)
  await fill(401, 700)
  client.resume()
  await until('all came', () => ns(client).includes(700), 30_000)
  const seen: (number | 'told')[] = client.frames.flatMap((frame) => {
    if (frame.type === 'subscribed') return ['told' as const, ...(frame['messages'] as Frame[]).map(nOf)]
    return frame.type === 'message' ? [nOf(frame)] : []
  })
  t.same(seen.slice(0, 2), ['told', 101])
  const silent = seen.filter((one, index) => {
    const before = seen[index - 1]
    return typeof one === 'number' && typeof before === 'number' && one !== before + 1
  })
  t.same(silent, [], 'no gap of which it was not told')
  t.ok(seen.lastIndexOf('told') > 0 && seen.length < 600, 'there was one')
  t.ok(client.frames.every(({ type, recovered }) => type !== 'subscribed' || recovered === false))
})

void t.test('the newest of several channels, more than one page takes, come in one order', async (t) => {
  const mail = await start(t, SMALL_WINDOW)
  await mail.server.psql(
    `SELECT count(livemessage.publish('chat:' || (n % 3), jsonb_build_object('n', n, 'text', repeat('x', 60000))))
     FROM generate_series(1, 600) AS n`,
  )
  const { daemon, put } = await mail.again()
  const client = await connect(t, daemon, {
    query: { channel: ['chat:0', 'chat:none', 'chat:1', 'chat:2'], last: '190' },
  })
  for (let n = 601; n <= 620; n++) await put(n % 2 === 0 ? 'chat:none' : 'chat:1', { n })
  await until('all came', () => ns(client).includes(620), 30_000)
  t.same(ns(client), upTo(620).slice(30))
})

function nOf(message: Frame): number {
  return (message['data'] as { n: number }).n
}

function isSame(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((n, index) => n === other[index])
}

/** How many times the journal's table was asked for pages. */
async function queriesOf({ daemon }: Mail): Promise<number> {
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text()
  return Number(/^livemessages_journal_queries_total (\d+)$/m.exec(metrics)?.[1])
}
