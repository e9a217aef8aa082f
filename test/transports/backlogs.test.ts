import t, { type Test } from 'tap'
import { connect, type Frame, type TestClient } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { confirm, datas, type Mail, messages, startMail } from './mail.ts'

t.setTimeout(120_000)

/** Numbers from 1, in turn to each of so many users, all of this size; nothing of it is in the daemon's memory. */
async function backlog(t: Test, users: number, each: number, bytes: number): Promise<Mail> {
  const mail = await startMail(t, SMALL_WINDOW)
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
  const filling = await startMail(t, {
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
  const mail = await startMail(t, SMALL_WINDOW)
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
