import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import t from 'tap'
import {
  type ActionContext,
  ClientError,
  type Credentials,
  defineAction,
  type HookContext,
} from '../../src/index.ts'
import type { TestConfig } from '../support/daemon.ts'
import { collectGarbage } from '../support/garbage.ts'
import { until } from '../support/wait.ts'
import { onBoth, SECRET, startParts, token } from './both.ts'
import { type HeadersOf, post, receive } from './upstream.ts'

const who = (data: unknown, { user, session, connection }: ActionContext): object => ({
  data: data ?? null,
  user,
  session,
  connected: connection !== null,
})

/** Takes `{ n: number }`. */
const NUMBERS: StandardSchemaV1<{ n: number }> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) =>
      typeof (value as { n?: unknown } | null)?.n === 'number'
        ? { value: value as { n: number } }
        : { issues: [{ message: 'expected a number', path: ['n'] }] },
  },
}

const CONFIG: TestConfig = {
  ACTIONS: {
    open: {
      who,
      deep: { handle: who },
      refuses: () => {
        throw new ClientError('conflict', 'twice', { seen: 1 })
      },
      throws: () => {
        throw new Error('select password from users')
      },
      later: async (data: unknown) => {
        await sleep(20)
        return data
      },
      hangs: defineAction({ timeout: 50, handle: () => new Promise(() => undefined) }),
      numbers: defineAction({ input: NUMBERS, handle: ({ n }) => n + 1 }),
    },
    closed: { who },
  },
  channels: { open: { access: 'public' } },
  auth: { jwt: { secret: SECRET }, cookie: 'token' },
  origins: ['https://app.example'],
}

onBoth('an action is called by POST, without a connection', async (t, start) => {
  const daemon = await start(CONFIG)
  const nobody = { user: null, session: null, connected: false }
  const { status, body, headers } = await post(daemon, '/call/open/who', { a: 1 })
  t.equal(status, 200)
  t.same(body, { data: { data: { a: 1 }, ...nobody } })
  t.equal(headers.get('cache-control'), 'no-store')
  t.same((await post(daemon, '/call/open/who')).body, { data: { data: null, ...nobody } }, 'no body: no data')
  t.same((await post(daemon, '/call/open/later', [1])).body, { data: [1] })
  t.same((await post(daemon, '/call/open/who', 'null')).body, { data: { data: null, ...nobody } })
})

onBoth(
  'who calls is known by header, query and cookie; without, what is closed stays closed',
  async (t, start) => {
    const daemon = await start(CONFIG)
    t.match(await post(daemon, '/call/closed/who', {}), {
      status: 401,
      body: { error: { code: 'unauthenticated' } },
    })
    const jwt = await token('42')
    const known = { status: 200, body: { data: { user: '42', session: null } } }
    t.match(await post(daemon, '/call/closed/who', {}, { Authorization: `Bearer ${jwt}` }), known)
    t.match(await post(daemon, `/call/closed/who?token=${jwt}`, {}), known)
    const cookie = { Cookie: `token=${jwt}`, Origin: 'https://app.example' }
    t.match(await post(daemon, '/call/closed/who', {}, cookie), known)
    const wrong = await post(daemon, '/call/closed/who', {}, { Authorization: `Bearer ${jwt}x` })
    t.match(wrong, { status: 401, body: { error: { code: 'unauthenticated' } } })
    const expired = await post(
      daemon,
      '/call/open/who',
      {},
      { Authorization: `Bearer ${await token('42', -10)}` },
    )
    t.equal(expired.status, 401, 'a bad token is told, and not taken for none')
  },
)

onBoth('auth.required holds for calls too', async (t, start) => {
  const daemon = await start({ ...CONFIG, auth: { jwt: { secret: SECRET }, required: true } })
  t.equal((await post(daemon, '/call/open/who', {})).status, 401)
  t.equal((await post(daemon, `/call/open/who?token=${await token('1')}`, {})).status, 200)
})

onBoth('the hooks see calls without a connection, and refuse them', async (t, start) => {
  const seen: unknown[] = []
  const daemon = await start({
    ...CONFIG,
    hooks: {
      authenticate: ({ headers }: Credentials) =>
        headers['x-user'] === undefined ? null : { id: headers['x-user'] },
      message: ({ type, action }: Readonly<Record<string, unknown>>, { user, connection }: HookContext) => {
        seen.push(['message', type, action, user, connection])
      },
      call: ({ action, data }: { action: string; data: unknown }, { user }: HookContext) => {
        seen.push(['call', action, data, user])
        if (user === 'bad') throw new ClientError('forbidden', 'not you')
      },
    },
  })
  t.equal((await post(daemon, '/call/closed/who', { a: 1 }, { 'X-User': 'ann' })).status, 200)
  t.same(seen, [
    ['message', 'call', 'closed.who', 'ann', null],
    ['call', 'who', { a: 1 }, 'ann'],
  ])
  t.match(await post(daemon, '/call/closed/who', {}, { 'X-User': 'bad' }), {
    status: 403,
    body: { error: { code: 'forbidden', message: 'not you' } },
  })
})

onBoth('every failure has its status and its code, and tells no more than it must', async (t, start) => {
  const daemon = await start(CONFIG)
  const error = async (path: string, body?: unknown): Promise<unknown[]> => {
    const { status, body: told, text } = await post(daemon, path, body)
    t.notMatch(text, /password|node_modules|at /)
    const { code, details } = told['error'] as { code: string; details?: unknown }
    return details === undefined ? [status, code] : [status, code, details]
  }
  t.same(await error('/call/open/nothing', {}), [404, 'unknown_action'])
  t.same(await error('/call/open', {}), [404, 'unknown_action'])
  t.same(await error('/call/open/who/more', {}), [404, 'unknown_action'])
  t.same(await error('/call/open.who', {}), [404, 'unknown_action'])
  t.same(await error('/call/open/refuses', {}), [409, 'conflict', { seen: 1 }])
  t.same(await error('/call/open/throws', {}), [500, 'internal'])
  t.same(await error('/call/open/hangs', {}), [503, 'timeout'])
  t.same(await error('/call/open/numbers', {}), [
    400,
    'invalid_input',
    [{ path: ['n'], message: 'expected a number' }],
  ])
  t.same((await post(daemon, '/call/open/numbers', { n: 1 })).body, { data: 2 })
  for (const body of ['{', '{"a":1}x', '1,"type":"publish","channel":"open:x"', '\u00ff']) {
    t.same(await error('/call/open/who', body), [400, 'invalid_input'])
  }
  const bytes = await fetch(`${daemon.url}/call/open/who`, {
    method: 'POST',
    body: Buffer.from([0x22, 0xff, 0x22]),
  })
  t.equal(bytes.status, 400, 'no UTF-8')
})

onBoth('only POST calls', async (t, start) => {
  const daemon = await start({ ...CONFIG, calls: { aliases: { '/roles/who': 'open.who' } } })
  for (const path of ['/call/open/who', '/roles/who', '/command']) {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) {
      const response = await fetch(daemon.url + path, { method })
      await response.arrayBuffer()
      t.same([response.status, response.headers.get('allow')], [405, 'POST, OPTIONS'], `${method} ${path}`)
    }
  }
})

onBoth('prefix and aliases serve the addresses that pages know already', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    calls: { prefix: '/roles/live', aliases: { '/roles/messages/all': 'open.who' } },
  })
  t.match(await post(daemon, '/roles/messages/all', { a: 1 }), {
    status: 200,
    body: { data: { data: { a: 1 } } },
  })
  t.match(await post(daemon, '/roles/live/open/who', 7), { status: 200, body: { data: { data: 7 } } })
  t.equal((await post(daemon, '/call/open/who', 7)).status, 404)
})

onBoth('bodies: up to the limit, never more', async (t, start, kind) => {
  const daemon = await start({ ...CONFIG, limits: { frameBytes: 64 * 1024 } })
  const fits = JSON.stringify('x'.repeat(64 * 1024 - 2))
  t.equal((await post(daemon, '/call/open/later', fits)).status, 200)
  t.match(await post(daemon, '/call/open/later', `${fits} `), {
    status: 413,
    body: { error: { code: 'too_large' } },
  })
  // A body that never comes is none; the daemon goes on, and stops.
  const socket = connectTcp(daemon.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => undefined)
  socket.write(`POST /call/open/who HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"a"`)
  t.equal((await post(daemon, '/call/open/who', {})).status, 200, kind)
})

onBoth('a stop waits for calls that are under way, and answers them', async (t, start) => {
  let begun = false
  let goOn: () => void = () => undefined
  const daemon = await start({
    ...CONFIG,
    ACTIONS: {
      open: {
        slow: async () => {
          begun = true
          await new Promise<void>((resolve) => (goOn = resolve))
          return 'done'
        },
      },
    },
  })
  const answer = post(daemon, '/call/open/slow', {})
  await until('the call', () => begun)
  const stopped = daemon.stop()
  await sleep(50)
  goOn()
  t.match(await answer, { status: 200, body: { data: 'done' } })
  await stopped
})

onBoth('nothing is left of ten thousand requests', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    trustedProxies: ['127.0.0.1'],
    limits: { callsPerSecond: 100_000, callBurst: 100_000, framesPerSecond: 100_000 },
  })
  const page = await receive(t, daemon)
  const jwt = await token('42')
  const bodies = ['{"a":1}', '{', '[]', '']
  const requests: readonly [string, HeadersOf][] = [
    ['/call/open/who', {}],
    ['/call/closed/who', {}],
    ['/call/open/nothing', page.pass],
    ['/call/open/later', page.pass],
    [`/call/closed/who?token=${jwt}`, {}],
    ['/call/open/who', { ...page.pass, 'Livemessage-Secret': 'aaaaaaaaaaaa.wrong' }],
    ['/command', page.pass],
  ]
  const textOf = (n: number): string => {
    const [path, headers] = requests[n % requests.length]!
    const body = bodies[n % bodies.length]!
    const all = { ...headers, 'X-Forwarded-For': `192.0.2.${n % 250}`, 'Content-Length': String(body.length) }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    return `POST ${path} HTTP/1.1\r\nHost: x\r\n${lines.join('')}\r\n${body}`
  }
  // Sockets that send the next request when an answer is there: uWebSockets.js takes no pipelines.
  const rounds = async (count: number): Promise<void> => {
    let next = 0
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = connectTcp(daemon.port, '127.0.0.1').setEncoding('latin1')
        for (; next < count;) {
          socket.write(textOf(next++))
          await once(socket, 'data')
        }
        socket.destroy()
      }),
    )
  }
  const used = async (): Promise<number> => {
    await sleep(50)
    collectGarbage()
    return process.memoryUsage().heapUsed
  }
  await rounds(3_000)
  const before = await used()
  await rounds(10_000)
  const grown = (await used()) - before
  t.ok(grown < 2 * 1024 ** 2, `${Math.round(grown / 1024)} KiB more`)
  t.equal(daemon.daemon.hub?.size, 1)
})

void t.test('once everybody is told to go nothing is begun any more', async (t) => {
  let begun = 0
  const count = (): number => ++begun
  const channels = { open: { access: 'public' } } as const
  const { transports, port } = await startParts(t, { ACTIONS: { open: { count } }, channels })
  const node = { url: `http://127.0.0.1:${port}` }
  t.match(await post(node, '/call/open/count'), { status: 200, body: { data: 1 } })
  await transports.dismiss('restart')
  t.match(await post(node, '/call/open/count'), { status: 503, body: { error: { code: 'unavailable' } } })
  t.equal(begun, 1)
})

onBoth('idempotency keys of those without a name are those of their address', async (t, start) => {
  const daemon = await start({
    ACTIONS: { chat: {} },
    channels: { chat: { access: 'public', publish: 'public', history: {} } },
    hooks: { authenticate: () => null },
    trustedProxies: ['127.0.0.1'],
  })
  const publish = async (address: string, text: string): Promise<number> => {
    const response = await fetch(`${daemon.url}/publish?channel=chat:a`, {
      method: 'POST',
      headers: { cookie: 'id=1', 'Idempotency-Key': '1', 'X-Forwarded-For': address, Origin: daemon.url },
      body: JSON.stringify(text),
    })
    await response.arrayBuffer()
    return response.status
  }
  t.equal(await publish('192.0.2.1', 'one'), 200)
  t.equal(await publish('192.0.2.2', 'two'), 200)
  t.equal(await publish('192.0.2.1', 'other'), 409)
})
