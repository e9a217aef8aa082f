import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import t, { type Test } from 'tap'
import { type ActionContext, ClientError } from '../../src/index.ts'
import { migrate } from '../../src/database/migrate.ts'
import { startNode } from '../support/cluster.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { install, project } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { SECRET, token } from './both.ts'
import { post, receive } from './upstream.ts'

// A session is at one node; its requests come to any.

const postgres = await startPostgres(t)
await migrate(postgres.url)

const CONFIG: TestConfig = {
  ACTIONS: {
    chat: {
      who: (data: unknown, { user, session, connection }: ActionContext) => ({
        data: data ?? null,
        user,
        session,
        transport: connection?.transport,
      }),
      greet: (data: unknown, { connection }: ActionContext) => connection?.emit('greeting', data) ?? false,
      refuses: () => {
        throw new ClientError('conflict', 'twice', { seen: [1, 'ü'] })
      },
      large: () => 'x'.repeat(3 * 1024 ** 2),
      slow: () => sleep(300, 'done'),
      hangs: () => new Promise(() => undefined),
    },
    live: {},
  },
  channels: {
    chat: { access: 'public', publish: 'public', history: {} },
    live: { access: 'public', publish: 'none' },
  },
  auth: { jwt: { secret: SECRET } },
  postgres: { url: postgres.url },
  api: { keys: ['a-key'] },
  limits: { callMs: '1s', publishMs: '1s' },
}

/** Two nodes that know each other. */
async function startTwo(t: Test, more: TestConfig = {}): Promise<readonly [TestDaemon, TestDaemon]> {
  const config = { ...CONFIG, ...more }
  const nodes = [await startDaemon(t, config), await startDaemon(t, { ...config, listener: 'node' })] as const
  for (const node of nodes) await know(node.url, 2)
  return nodes
}

/** Waits until the node knows so many, itself included. */
async function know(url: string, count: number): Promise<void> {
  await until(`${count} nodes`, async () => {
    const response = await fetch(`${url}/api/stats`, { headers: { Authorization: 'Bearer a-key' } })
    const { nodes } = (await response.json()) as { nodes: readonly unknown[] }
    return nodes.length === count
  })
}

t.test('a request to another node acts as the connection where that is', async (t) => {
  const [a, b] = await startTwo(t)
  const Authorization = `Bearer ${await token('42')}`
  const page = await receive(t, a, 'channel=chat:a', { Authorization })
  const { pass, session } = page
  const who = await post(b, '/call/chat/who', '{"n":1}', pass)
  t.match(who, { status: 200, body: { data: { data: { n: 1 }, user: '42', session, transport: 'sse' } } })
  t.match(await post(b, '/call/chat/greet', '"hello"', pass), { body: { data: true } })
  t.match(await page.next('event'), { data: { event: 'greeting', args: ['hello'] } })

  t.match(await post(b, '/command', { type: 'subscribe', id: 1, channel: 'live:x' }, pass), {
    status: 200,
    body: { type: 'subscribed', id: 1, channel: 'live:x', cursor: null },
  })
  await b.publish('live:x', 'by another node')
  await page.next('message', 'by another node')

  const sent = '{"n":12345678901234567890}'
  t.match(await post(b, '/publish?channel=chat:a', sent, pass), { status: 200, body: { id: String } })
  t.match(await post(b, '/publish?channel=chat:a', '"not me"', { ...pass, Exclude: session }), {
    status: 200,
  })
  await a.publish('chat:a', 'last')
  await page.next('message', '"last"')
  t.match(await page.next('message', sent), { event: 'message' }, 'with every digit')
  t.equal(page.messages.length, 3)
  t.match(await post(b, '/publish?channel=live:x', '1', pass), { status: 403 })

  t.same((await post(b, '/call/chat/refuses', {}, pass)).body, {
    error: { code: 'conflict', message: 'twice', details: { seen: [1, 'ü'] } },
  })
  t.match(await post(b, '/command', { type: 'call', id: 'q', action: 'chat.refuses' }, pass), {
    status: 409,
    body: { type: 'error', id: 'q', code: 'conflict', details: { seen: [1, 'ü'] } },
  })
  t.match(await post(b, '/call/chat/hangs', {}, pass), { status: 503, body: { error: { code: 'timeout' } } })
  t.match(await post(b, '/call/chat/large', {}, pass), {
    status: 413,
    body: { error: { code: 'too_large' } },
  })
  t.equal((await post(a, '/call/chat/large', {}, pass)).status, 200)
  t.equal((await post(b, '/command', '{"type":"nothing"}', pass)).status, 400)

  page.close()
  await until('the end of the stream', () => a.daemon.hub?.size === 0)
  t.match(await post(b, '/call/chat/who', {}, pass), {
    status: 404,
    body: { error: { code: 'unknown_session' } },
  })
})

t.test('a wrong secret is refused by the node that has the session, and not asked for often', async (t) => {
  // Without a proxy that is named, addresses of this machine may be everyone's, and are spared.
  const [a, b] = await startTwo(t, { trustedProxies: ['192.0.2.1'] })
  const page = await receive(t, a)
  const other = await receive(t, a)
  const wrong = { ...page.pass, 'Livemessage-Secret': other.secret }
  t.match(await post(b, '/call/chat/who', {}, wrong), { status: 403, body: { error: { code: 'forbidden' } } })
  t.match(await post(b, '/publish?channel=live:x', '1', page.pass), { status: 403 }, 'the policy refused')
  for (let n = 1; n < 20; n++) await post(b, '/call/chat/who', {}, wrong)
  t.match(await post(b, '/call/chat/who', {}, wrong), {
    status: 429,
    body: { error: { code: 'rate_limited' } },
  })
  t.equal((await post(a, '/call/chat/who', {}, page.pass)).status, 200)
})

t.test('the secret itself does not cross the bus', async (t) => {
  const [a, b] = await startTwo(t)
  const page = await receive(t, a)
  const listener = new Client({ connectionString: postgres.url })
  await listener.connect()
  t.teardown(() => listener.end())
  const heard: string[] = []
  listener.on('notification', ({ payload = '' }) => heard.push(payload))
  await listener.query('LISTEN livemessages_bus')
  t.equal((await post(b, '/call/chat/who', '"overhear me"', page.pass)).status, 200)
  await until('the memo', () => heard.some((text) => text.includes('overhear me')))
  t.notOk(heard.some((text) => text.includes(page.secret.slice(13))))
})

t.test('a node that stops answers what it was asked', async (t) => {
  const [a, b] = await startTwo(t)
  const page = await receive(t, a)
  const answer = post(b, '/call/chat/slow', {}, page.pass)
  await until('the call', () => a.daemon.counts.calls === 1)
  const stopped = a.stop()
  t.match(await answer, { status: 200, body: { data: 'done' } })
  await stopped
  await know(b.url, 1)
  t.match(await post(b, '/call/chat/who', {}, page.pass), {
    status: 404,
    body: { error: { code: 'unknown_session' } },
  })
})

t.test('a node that was killed or hangs: an answer in bounded time', async (t) => {
  const it = await install(t)
  const folder = await project(t, { 'who.mjs': 'export default (data, { session }) => session' })
  const config = {
    ...CONFIG,
    ACTIONS: { chat: { who: `${folder}/who.mjs` } },
    channels: { chat: { access: 'public' } },
    auth: {},
  }
  const [a, b] = await Promise.all([startNode(t, it, config), startNode(t, it, config)])
  for (const node of [a, b]) await know(node.url, 2)
  const page = await receive(t, a)
  t.same((await post(b, '/call/chat/who', {}, page.pass)).body, { data: page.session })

  a.kill('SIGSTOP')
  let begun = performance.now()
  const hanging = await post(b, '/call/chat/who', {}, page.pass)
  t.match(hanging, { status: 503, body: { error: { code: 'unavailable', message: /may have been done/ } } })
  t.ok(performance.now() - begun < 6_000, `${Math.round(performance.now() - begun)} ms`)
  a.kill('SIGCONT')
  await until('an answer', async () => (await post(b, '/call/chat/who', {}, page.pass)).status === 200)

  a.kill('SIGKILL')
  await a.daemon.ended
  begun = performance.now()
  const dead = await post(b, '/call/chat/who', {}, page.pass)
  t.match(dead, { status: 503, body: { error: { code: 'unavailable' } } })
  t.ok(performance.now() - begun < 6_000)
  await until(
    'the other to be forgotten',
    async () => (await post(b, '/call/chat/who', {}, page.pass)).status === 404,
    40_000,
  )
})
