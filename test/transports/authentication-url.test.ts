import { type Application, reply, startApplication } from '../auth/application.ts'
import { connect } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { onBoth, SECRET, token } from './both.ts'
import { poll } from './polling.ts'
import { connectTo } from './socketio-client.ts'
import { post, receive } from './upstream.ts'

const who = (_input: unknown, { user }: { user: string | null }) => user

function configOf(application: Application, url: object = {}, more: TestConfig = {}): TestConfig {
  return {
    ACTIONS: { messages: {}, chat: { who: { handle: who, access: 'public' } } },
    channels: {
      messages: { access: 'user', publish: 'user' },
      chat: { access: 'public', publish: 'authenticated' },
    },
    auth: { url: { url: application.url, ...url } },
    ...more,
  }
}

const SESSIONS = new Map<string, unknown>([
  ['a', { user: 'ann', info: { name: 'Ann' }, channels: { subscribe: ['messages:shared'] } }],
  ['b', { user: 'bob' }],
])

onBoth('the application says whose the cookies are, over every transport', async (t, start) => {
  const application = await startApplication(t, SESSIONS)
  const daemon = await start(configOf(application))
  const headers = { Cookie: 'sessionid=a', Origin: daemon.url }

  const socket = await connect(t, daemon, { headers })
  t.equal(socket.welcome!['user'], 'ann')
  t.match(await socket.subscribe('messages:ann'), { type: 'subscribed' })
  t.match(await socket.subscribe('messages:shared'), { type: 'subscribed' })
  t.match(await socket.ask({ type: 'subscribe', channel: 'messages:bob' }), { code: 'forbidden' })

  const events = await receive(t, daemon, 'channel=messages:ann', headers)
  t.match(await events.next('welcome'), { data: { user: 'ann' } })
  t.match(await poll(daemon, 'messages:ann', { wait: 0 }, { headers }), { status: 200 }, 'the poll')
  t.match(await poll(daemon, 'messages:bob', { wait: 0 }, { headers }), { status: 403 })
  const stream = await fetch(`${daemon.url}/stream?channel=messages:ann`, { headers })
  t.equal(stream.status, 200, 'the stream')
  await stream.body?.cancel()

  t.match(await post(daemon, '/call/chat/who', {}, headers), { status: 200, body: { data: 'ann' } })
  t.match(await post(daemon, '/publish?channel=chat:a', 1, headers), { status: 200 })

  for (const transports of [['websocket'], ['polling']] as const) {
    const client = await connectTo(t, daemon, '/chat', { transports: [...transports], extraHeaders: headers })
    t.same(await client.ask('who', {}), 'ann', transports[0])
  }
  t.equal(application.asked.length, 1, 'the application was asked once')
})

onBoth('who has no session, or one that the application does not know, is nobody', async (t, start) => {
  const application = await startApplication(t, SESSIONS)
  const daemon = await start(configOf(application))
  const without = await connect(t, daemon)
  t.equal(without.welcome!['user'], null)
  t.equal(application.asked.length, 0, 'it is not asked about nothing')
  const unknown = await connect(t, daemon, { headers: { Cookie: 'sessionid=x' } })
  t.equal(unknown.welcome!['user'], null)
  application.answer = (response) => response.writeHead(302, { Location: '/login' }).end()
  const redirected = await connect(t, daemon, { headers: { Cookie: 'sessionid=y' } })
  t.equal(redirected.welcome!['user'], null)
  application.say({}, 403)
  const refused = await connect(t, daemon, { headers: { Cookie: 'sessionid=z' }, paused: true })
  refused.resume()
  t.match(await refused.next(), { type: 'error', code: 'forbidden' })
  t.match(await refused.closed, { code: 4403 })
})

onBoth('cookies from pages that nobody named are not the user’s word', async (t, start) => {
  const application = await startApplication(t, SESSIONS)
  const daemon = await start({ ...configOf(application), origins: ['*', 'https://app.example'] })
  const cookie = { Cookie: 'sessionid=a', Authorization: 'Basic eDp5' }
  const foreign = await connect(t, daemon, { headers: { ...cookie, Origin: 'https://evil.example' } })
  t.equal(foreign.welcome!['user'], null)
  const evil = { ...cookie, Origin: 'https://evil.example' }
  t.match(await post(daemon, '/call/chat/who', {}, evil), { status: 403 })
  t.match(await post(daemon, '/call/chat/who', {}, cookie), { status: 403 }, 'without an Origin')
  t.equal(application.asked.length, 0)
  const named = await connect(t, daemon, { headers: { ...cookie, Origin: 'https://app.example' } })
  t.equal(named.welcome!['user'], 'ann')
})

onBoth('tokens and sessions side by side: a token that is one is checked here', async (t, start) => {
  const application = await startApplication(t, SESSIONS)
  application.answer = (response, { authorization }) =>
    reply(response, { user: authorization === 'Bearer opaque' ? 'carl' : null })
  const config = configOf(application)
  const daemon = await start({ ...config, auth: { ...config.auth, jwt: { secret: SECRET } } })
  const jwt = await connect(t, daemon, {
    query: { token: await token('42') },
    headers: { Cookie: 'sessionid=a' },
  })
  t.equal(jwt.welcome!['user'], '42')
  t.equal(application.asked.length, 0)
  const opaque = await connect(t, daemon, { token: 'opaque' })
  t.equal(await opaque.call('chat.who'), 'carl')
  const late = await connect(t, daemon)
  t.match(await late.ask({ type: 'authenticate', token: 'unknown' }), { code: 'unauthenticated' })
  t.match(await late.closed, { code: 4401 })
  const expired = await connect(t, daemon)
  t.match(await expired.ask({ type: 'authenticate', token: await token('42', -60) }), {
    code: 'unauthenticated',
  })
  t.match(await expired.closed, { code: 4453 }, 'it is not asked about a token that has expired')
  t.equal(application.asked.length, 2)
})

onBoth('an application that is down keeps users out for a moment, and nobody else', async (t, start) => {
  const application = await startApplication(t, SESSIONS)
  const daemon = await start(configOf(application, { cache: 0 }))
  const here = await connect(t, daemon, { headers: { Cookie: 'sessionid=a' } })
  const { url } = application
  await application.stop()
  const late = await connect(t, daemon, { headers: { Cookie: 'sessionid=b' }, paused: true })
  late.resume()
  t.match(await late.next(), { type: 'error', code: 'unavailable' })
  t.match(await late.closed, { code: 1011 }, 'a code after which clients come back')
  const headers = { Cookie: 'sessionid=b' }
  t.match(await poll(daemon, 'chat:a', { wait: 0 }, { headers }), { status: 503 })
  t.equal((await connect(t, daemon)).welcome!['user'], null, 'who has no session is let in')
  t.equal(await here.call('chat.who'), 'ann', 'and who is there stays')
  await daemon.logged({ msg: 'the application can not say who its users are', url })
  await application.start()
  await until('it is asked again', async () => {
    const again = await connect(t, daemon, { headers: { Cookie: 'sessionid=b' } })
    return again.welcome!['user'] === 'bob'
  })
})

onBoth('a session that ends while its client is connected', async (t, start) => {
  const sessions = new Map(SESSIONS)
  const application = await startApplication(t, sessions)
  const daemon = await start(configOf(application, { recheck: '1s', cache: '100ms' }))
  const open = (session: string) => connect(t, daemon, { headers: { Cookie: `sessionid=${session}` } })
  const [one, two, other] = [await open('a'), await open('a'), await open('b')]
  await one.subscribe('messages:shared')
  const expiring = { user: 'carl', expires: Date.now() / 1000 + 1 }
  sessions.set('c', expiring)
  const short = await open('c')
  t.match(await short.closed, { code: 4453 }, 'by the time that it named')
  sessions.set('a', { user: 'ann' })
  t.match(await one.next({ type: 'unsubscribed' }), { channel: 'messages:shared', code: 'forbidden' })
  await application.stop()
  await until('it was asked in vain', () => daemon.daemon.rules.whoami!.counts.failed > 0)
  t.match(await one.ask({ type: 'ping' }), { type: 'pong' }, 'an outage ends nobody')
  sessions.delete('a')
  await application.start()
  for (const client of [one, two]) {
    t.match(await client.next({ type: 'error' }), { code: 'unauthenticated' })
    t.match(await client.closed, { code: 4401 })
  }
  t.match(await other.ask({ type: 'ping' }), { type: 'pong' })
})

onBoth('whose session is over by what the application says calls and publishes nothing', async (t, start) => {
  const over = { user: 'ann', expires: Date.now() / 1000 - 60 }
  const application = await startApplication(t, new Map([['a', over]]))
  const daemon = await start(configOf(application))
  const headers = { Cookie: 'sessionid=a', Origin: daemon.url }
  const refusal = {
    status: 401,
    body: { error: { code: 'unauthenticated', details: { reason: 'expired' } } },
  }
  t.match(await post(daemon, '/call/chat/who', {}, headers), refusal)
  t.match(await post(daemon, '/publish?channel=chat:a', 1, headers), refusal)
})

onBoth('a reload keeps what is known, and asks another application where it names one', async (t, start) => {
  const [first, second] = [await startApplication(t, SESSIONS), await startApplication(t, SESSIONS)]
  const daemon = await start(configOf(first, { cache: '1m' }))
  const open = () => connect(t, daemon, { headers: { Cookie: 'sessionid=a' } })
  await open()
  await daemon.reload(configOf(first, { cache: '1m' }, { limits: { callsPerSecond: 7 } }))
  await open()
  t.equal(first.asked.length, 1)
  await daemon.reload(configOf(second))
  t.equal((await open()).welcome!['user'], 'ann')
  t.equal(second.asked.length, 1)
})
