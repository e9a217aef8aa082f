import { connect } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { onBoth, SECRET, token } from './both.ts'
import { post } from './upstream.ts'

const who = (_input: unknown, { user }: { user: string | null }) => user

const CONFIG = {
  ACTIONS: { chat: { who: { handle: who, access: 'public' } } },
  channels: { chat: { access: 'public' } },
  trustedProxies: ['127.0.0.1'],
  auth: { header: 'X-Remote-User', jwt: { secret: SECRET } },
  api: { keys: ['a-key-of-the-tests'] },
} as TestConfig

onBoth('a trusted proxy names the user; its word counts before any token', async (t, start) => {
  const daemon = await start(CONFIG)
  const named = await connect(t, daemon, { headers: { 'X-Remote-User': 'ann' } })
  t.equal(named.welcome!['user'], 'ann')
  const both = await connect(t, daemon, {
    headers: { 'X-Remote-User': 'ann', Authorization: `Bearer ${await token('bob')}` },
  })
  t.equal(both.welcome!['user'], 'ann')
  t.match(await both.ask({ type: 'authenticate', token: await token('bob') }), { code: 'forbidden' })
  const bearer = await connect(t, daemon, { headers: { Authorization: `Bearer ${await token('bob')}` } })
  t.equal(bearer.welcome!['user'], 'bob', 'where it names nobody a token does')
  for (const nobody of ['', '(null)']) {
    const client = await connect(t, daemon, { headers: { 'X-Remote-User': nobody } })
    t.equal(client.welcome!['user'], null)
  }
})

onBoth('from anybody else the header counts for nothing, and is counted', async (t, start) => {
  const daemon = await start({ ...CONFIG, trustedProxies: ['192.0.2.1'] })
  const client = await connect(t, daemon, {
    headers: { 'X-Remote-User': 'ann', 'X-Forwarded-For': '192.0.2.1', Forwarded: 'for=192.0.2.1' },
  })
  t.equal(client.welcome!['user'], null)
  t.match(await post(daemon, '/call/chat/who', {}, { 'X-Remote-User': 'ann' }), { body: { data: null } })
  t.equal(daemon.daemon.rules.revocations.strayHeaders, 2)
})

onBoth('twice in one request it names nobody, and what is no user is refused', async (t, start) => {
  const daemon = await start(CONFIG)
  const headers = { 'X-Remote-User': ['ann', 'bob'] as unknown as string }
  t.equal((await connect(t, daemon, { headers })).welcome!['user'], null)
  const long = await connect(t, daemon, { headers: { 'X-Remote-User': 'x'.repeat(300) }, paused: true })
  long.resume()
  t.match(await long.next(), { type: 'error', code: 'unauthenticated' })
  t.match(await long.closed, { code: 4401 })
})

onBoth('a name that is not ASCII is refused: two users could be one', async (t, start) => {
  for (const config of [CONFIG, { ...CONFIG, hooks: { authenticate: () => ({ id: 'anybody' }) } }]) {
    const daemon = await start(config)
    for (const name of ['J\xe9r', 'J\xe8r']) {
      const client = await connect(t, daemon, { headers: { 'X-Remote-User': name }, paused: true })
      client.resume()
      t.match(await client.next(), { type: 'error', code: 'unauthenticated', message: /expected ASCII/ })
      t.match(await client.closed, { code: 4401 })
    }
  }
})

onBoth('a page that nobody named can not act by it', async (t, start) => {
  const daemon = await start({ ...CONFIG, origins: ['*', 'https://app.example'] })
  const evil = { 'X-Remote-User': 'ann', Origin: 'https://evil.example' }
  t.equal((await connect(t, daemon, { headers: evil })).welcome!['user'], null)
  t.match(await post(daemon, '/call/chat/who', {}, evil), { status: 403 })
  t.match(
    await post(daemon, '/call/chat/who', {}, { ...evil, Authorization: 'Bearer x.y.z' }),
    { status: 403 },
    'nor with a token beside it',
  )
  const named = { 'X-Remote-User': 'ann', Origin: 'https://app.example' }
  t.match(await post(daemon, '/call/chat/who', {}, named), { body: { data: 'ann' } })
})

onBoth('a hook sees whom the proxy names, and not what others write', async (t, start) => {
  const seen: unknown[] = []
  const authenticate = ({ user, headers }: { user?: string; headers: Record<string, string> }) => {
    seen.push([user ?? null, headers['x-remote-user'] ?? null])
    return null
  }
  for (const trustedProxies of [['127.0.0.1'], ['192.0.2.1']]) {
    const daemon = await start({ ...CONFIG, trustedProxies, hooks: { authenticate } })
    await connect(t, daemon, { headers: { 'X-Remote-User': 'ann' } })
  }
  t.same(seen, [
    ['ann', null],
    [null, null],
  ])
})
