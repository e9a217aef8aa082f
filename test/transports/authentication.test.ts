import { setTimeout as sleep } from 'node:timers/promises'
import type { ActionContext, Credentials } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { onBoth, SECRET, startParts, token } from './both.ts'

const CONFIG: TestConfig = {
  ACTIONS: { messages: {}, chat: { who: (_input: unknown, { user }: { user: string | null }) => user } },
  channels: {
    messages: { access: 'user', publish: 'user', history: {} },
    chat: { access: 'authenticated', publish: 'authenticated', history: {} },
  },
  auth: { jwt: { secret: SECRET }, cookie: 'session' },
}

onBoth(
  'a token counts in the header, in the query, in the cookie, and in the first frame',
  async (t, start) => {
    const daemon = await start(CONFIG)
    const jwt = await token('42')
    const clients = [
      await connect(t, daemon, { headers: { Authorization: `Bearer ${jwt}` } }),
      await connect(t, daemon, { query: { token: jwt } }),
      await connect(t, daemon, { headers: { Cookie: `a=b; session=${jwt}; c=d` } }),
    ]
    for (const client of clients) t.equal(client.welcome!['user'], '42')
    const late = await connect(t, daemon)
    t.equal(late.welcome!['user'], null)
    t.match(await late.ask({ type: 'subscribe', channel: 'messages:42' }), { code: 'unauthenticated' })
    const answer = await late.ask({ type: 'authenticate', token: jwt })
    t.match(answer, { type: 'reply', data: { user: '42', expires: Number } })
    for (const client of [...clients, late]) {
      t.match(await client.subscribe('messages:42'), { type: 'subscribed' })
      t.match(await client.ask({ type: 'subscribe', channel: 'messages:43' }), { code: 'forbidden' })
      t.equal(await client.call('chat.who'), '42')
    }
    t.equal(daemon.daemon.hub!.of('42').length, 4)
  },
)

onBoth('what needs a user is refused without one, and the connection goes on', async (t, start) => {
  const client = await connect(t, await start(CONFIG))
  for (const frame of [
    { type: 'subscribe', channel: 'chat:a' },
    { type: 'history', channel: 'chat:a' },
    { type: 'publish', channel: 'chat:a', data: 1 },
    { type: 'call', action: 'chat.who' },
  ]) {
    t.match(await client.ask(frame), { type: 'error', code: 'unauthenticated' }, frame.type)
  }
})

onBoth(
  'a bad token closes with 4401, an expired one with 4453, in the URL and in a frame',
  async (t, start) => {
    const daemon = await start(CONFIG)
    const good = await token('42')
    const cases: [string, number][] = [
      ['nonsense', 4401],
      [`${good.slice(0, -4)}AAAA`, 4401],
      ['x'.repeat(10_000), 4401],
      [await token('42', -3600), 4453],
    ]
    for (const [bad, code] of cases) {
      if (bad.length < 2000) {
        const url = await connect(t, daemon, { query: { token: bad }, paused: true })
        url.resume()
        t.match(await url.next(), { type: 'error', code: 'unauthenticated' })
        t.match(await url.closed, { code })
        t.same(url.rest(), [], 'not even welcomed')
      }
      const frame = await connect(t, daemon)
      t.match(await frame.ask({ type: 'authenticate', token: bad }), { code: 'unauthenticated' })
      t.match(await frame.closed, { code })
    }
  },
)

onBoth(
  'a connection ends when its token does, unless it brings a new one of the same user',
  async (t, start) => {
    const daemon = await start(CONFIG)
    // The clocks of who signs and of the daemon may differ by 5 s: the deadline is the token's own.
    const short = await token('42', 2)
    const [ends, goesOn] = [
      await connect(t, daemon, { token: short }),
      await connect(t, daemon, { token: short }),
    ]
    t.match(await goesOn.ask({ type: 'authenticate', token: await token('43') }), { code: 'forbidden' })
    t.match(await goesOn.ask({ type: 'authenticate', token: await token('42') }), { data: { user: '42' } })
    t.match(await ends.closed, { code: 4453 })
    t.match(await goesOn.ask({ type: 'ping' }), { type: 'pong' })
    t.equal(await goesOn.call('chat.who'), '42')
  },
)

onBoth('a new token that opens less ends what the old one opened, and nothing else', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    ACTIONS: {
      ...CONFIG.ACTIONS,
      shut: {
        join: (_input: unknown, { connection }: ActionContext) => connection!.subscribe('shut:server'),
      },
    },
    channels: { ...CONFIG.channels, shut: { access: 'none' } },
  })
  const strong = await token('42', 3600, { channels: { subscribe: ['shut:a', 'messages:43'] } })
  const client = await connect(t, daemon, { token: strong })
  for (const channel of ['shut:a', 'messages:42', 'messages:43', 'chat:a']) await client.subscribe(channel)
  await client.call('shut.join')
  const again = await client.ask({ type: 'authenticate', token: strong })
  t.match(again, { type: 'reply' })
  await client.ask({ type: 'ping' })
  t.same(client.rest('unsubscribed'), [], 'the same grants again')
  const weak = await token('42', 3600, { channels: { subscribe: ['shut:a'] } })
  t.match(await client.ask({ type: 'authenticate', token: weak }), { data: { user: '42' } })
  t.match(await client.next({ type: 'unsubscribed' }), { channel: 'messages:43', code: 'forbidden' })
  await client.ask({ type: 'authenticate', token: await token('42') })
  t.match(await client.next({ type: 'unsubscribed' }), { channel: 'shut:a', code: 'forbidden' })
  for (const channel of ['shut:a', 'messages:43', 'messages:42', 'chat:a', 'shut:server']) {
    await daemon.publish(channel, channel)
  }
  for (const channel of ['messages:42', 'chat:a', 'shut:server']) {
    t.match(await client.next({ type: 'message' }), { channel })
  }
})

onBoth(
  'auth.required: nothing else before authentication, and 4452 when it does not come',
  async (t, start) => {
    const auth = { ...CONFIG.auth, required: true }
    const daemon = await start({ ...CONFIG, auth, limits: { authenticationMs: 400 } })
    const [never, late, url] = [
      await connect(t, daemon),
      await connect(t, daemon),
      await connect(t, daemon, { query: { channel: 'chat:a' } }),
    ]
    t.match(await url.next(), { type: 'error', code: 'unauthenticated' })
    t.match(await url.closed, { code: 4401 })
    for (const frame of [
      { type: 'subscribe', channel: 'chat:a' },
      { type: 'unsubscribe', channel: 'chat:a' },
      { type: 'history', channel: 'chat:a' },
      { type: 'publish', channel: 'chat:a', data: 1 },
      { type: 'call', action: 'chat.who' },
    ]) {
      t.match(await late.ask(frame), { type: 'error', code: 'unauthenticated' }, frame.type)
    }
    t.match(await late.ask({ type: 'ping' }), { type: 'pong' })
    t.match(await late.ask({ type: 'authenticate', token: await token('42') }), { type: 'reply' })
    t.match(await never.closed, { code: 4452 })
    t.match(await late.subscribe('chat:a'), { type: 'subscribed' })
    const withUrl = await connect(t, daemon, { query: { channel: 'chat:a', token: await token('42') } })
    t.match(await withUrl.next(), { type: 'subscribed', channel: 'chat:a' })
  },
)

onBoth(
  'the authenticate hook gets headers, cookies, query and address, and says who it is',
  async (t, start) => {
    const seen: Credentials[] = []
    const daemon = await start({
      ...CONFIG,
      auth: {},
      hooks: {
        authenticate: (credentials: Credentials) => {
          seen.push(credentials)
          const { session } = credentials.cookies
          return session === undefined
            ? null
            : { id: session, info: { name: 'Ada' }, channels: { subscribe: ['messages:7'] } }
        },
      },
    })
    const headers = { Cookie: 'session=42', 'X-Tenant': 'acme', Authorization: 'Bearer abc' }
    const client = await connect(t, daemon, { headers, query: 'x=1&__proto__=2' })
    t.equal(client.welcome!['user'], '42')
    t.match(seen[0], {
      token: 'abc',
      headers: { 'x-tenant': 'acme', cookie: 'session=42' },
      cookies: { session: '42' },
      query: { x: '1' },
      address: '127.0.0.1',
    })
    t.equal(Object.hasOwn(seen[0]!.query, '__proto__'), true)
    t.match(await client.subscribe('messages:7'), { type: 'subscribed' })
    t.same(daemon.daemon.hub!.of('42')[0]!.info, { name: 'Ada' })
    const anonymous = await connect(t, daemon)
    t.equal(anonymous.welcome!['user'], null)
    t.match(await anonymous.ask({ type: 'authenticate', token: 'x' }), { code: 'unauthenticated' })
    t.match(await anonymous.closed, { code: 4401 })
  },
)

onBoth(
  'an authenticate hook that throws, hangs or answers rubbish lets nobody in, and says nothing of itself',
  async (t, start) => {
    let answer: () => unknown = () => null
    const daemon = await start({
      ...CONFIG,
      auth: {},
      limits: { authenticationMs: 100 },
      // Rubbish, too: what the types would not let through.
      hooks: { authenticate: () => answer() as null },
    })
    const cases: [string, () => unknown, string, number][] = [
      [
        'throws',
        () => {
          throw new Error('the database password is secret')
        },
        'internal',
        1011,
      ],
      ['rejects', () => Promise.reject(new Error('the database password is secret')), 'internal', 1011],
      ['rejects with nothing', () => Promise.reject(undefined), 'internal', 1011],
      ['hangs', () => new Promise(() => undefined), 'timeout', 1011],
      ['true', () => true, 'internal', 1011],
      ['a text', () => '42', 'internal', 1011],
      ['no id', () => ({}), 'internal', 1011],
      ['a wrong id', () => ({ id: { toString: () => '42' } }), 'internal', 1011],
      ['an empty id', () => ({ id: '' }), 'internal', 1011],
      ['wrong channels', () => ({ id: 'a', channels: { subscribe: 'chat:a' } }), 'internal', 1011],
      ['wrong expiry', () => ({ id: 'a', expires: '2030' }), 'internal', 1011],
      [
        'a getter that throws',
        () => ({
          get id() {
            throw new Error('secret')
          },
        }),
        'internal',
        1011,
      ],
      ['expired', () => ({ id: 'a', expires: 1 }), '', 4453],
    ]
    for (const [name, behaviour, code, close] of cases) {
      answer = behaviour
      const client = await connect(t, daemon, { paused: true })
      client.resume()
      if (code !== '') {
        const error = await client.next()
        t.match(error, { type: 'error', code }, name)
        t.notMatch(JSON.stringify(error), /secret/)
      }
      t.match(await client.closed, { code: close }, name)
    }
    // A thenable, as query builders and other promise libraries have.
    // oxlint-disable-next-line unicorn/no-thenable
    answer = () => ({ then: (resolve: (user: object) => void) => setTimeout(resolve, 5, { id: '42' }) })
    t.equal((await connect(t, daemon)).welcome!['user'], '42')
  },
)

onBoth('who leaves while it is asked who it is leaves no deadline behind', async (t, _start, listener) => {
  let asked = 0
  const parts = await startParts(t, {
    ...CONFIG,
    listener,
    auth: {},
    hooks: {
      authenticate: async () => {
        asked++
        await sleep(50)
        return { id: 'a', expires: Date.now() + 600_000 }
      },
    },
  })
  const client = await connect(t, parts, { paused: true })
  const stays = await connect(t, parts)
  t.equal(asked, 2)
  t.equal(stays.welcome!['user'], 'a')
  const late = await connect(t, parts, { paused: true })
  await until('the hook', () => asked === 3)
  for (const one of [client, late]) one.socket.terminate()
  await until('they are gone', () => parts.hub.size === 1)
  await sleep(100)
  t.equal(parts.hub.of('a').length, 1)
  t.equal(parts.deadlines.size, 1)
})

onBoth('a foreign Origin is refused with 403, the own host and the listed ones are not', async (t, start) => {
  const daemon = await start({ ...CONFIG, origins: ['https://app.example'] })
  for (const origin of [
    'https://evil.example',
    'null',
    'https://app.example.evil.example',
    'http://127.0.0.1:1',
  ]) {
    await t.rejects(connect(t, daemon, { headers: { Origin: origin } }), { message: /403/ }, origin)
  }
  for (const origin of ['https://app.example', `http://127.0.0.1:${daemon.port}`]) {
    await connect(t, daemon, { headers: { Origin: origin } })
  }
  t.equal(daemon.daemon.counts.errors.get('upgrade.forbidden'), 4)
})
