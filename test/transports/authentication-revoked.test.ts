import t, { type Test } from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { reply, startApplication } from '../auth/application.ts'
import { onBoth, SECRET, startParts, token } from './both.ts'
import { post, receive } from './upstream.ts'

const who = (_input: unknown, { user }: { user: string | null }) => user
const KEY = 'a-key-of-the-tests'
const authorization = { Authorization: `Bearer ${KEY}` }

const CONFIG = {
  ACTIONS: { chat: { who: { handle: who, access: 'public' } } },
  channels: { chat: { access: 'public', publish: 'authenticated' } },
  auth: { jwt: { secret: SECRET } },
  api: { keys: [KEY] },
} as TestConfig

const issued = (secondsAgo: number): number => Math.floor(Date.now() / 1000) - secondsAgo

function ask(daemon: TestDaemon, path: string, body: object) {
  return post(daemon, path, body, authorization)
}

onBoth('a revoked user is gone from everywhere at once, and its tokens are refused', async (t, start) => {
  const daemon = await start(CONFIG)
  const old = await token('42', 3600, { iat: issued(60) })
  const [one, two, other] = [
    await connect(t, daemon, { token: old }),
    await connect(t, daemon, { query: { token: await token('42') } }),
    await connect(t, daemon, { token: await token('43', 3600, { iat: issued(60) }) }),
  ]
  const events = await receive(t, daemon, `token=${old}`)
  const before = Date.now()
  const answer = await ask(daemon, '/api/revoke', { user: '42', for: '1h', reason: 'stolen laptop' })
  t.match(answer, { status: 200, body: { count: 3, missing: [], until: Number } })
  t.ok(Number(answer.body['until']) - before >= 3_600_000)
  for (const client of [one, two]) t.match(await client.closed, { code: 4401, reason: 'stolen laptop' })
  await until('the stream ends', () => events.ended)
  t.match(await other.ask({ type: 'ping' }), { type: 'pong' })

  for (const claims of [{ iat: issued(60) }, { iat: issued(0) }, {}, { iat: issued(-3600) }]) {
    const refused = await connect(t, daemon, {
      query: { token: await token('42', 3600, claims) },
      paused: true,
    })
    refused.resume()
    t.match(await refused.next(), { type: 'error', code: 'unauthenticated', details: { reason: 'revoked' } })
    t.match(await refused.closed, { code: 4401 }, JSON.stringify(claims))
  }
  const call = await post(daemon, '/call/chat/who', {}, { Authorization: `Bearer ${old}` })
  t.match(call, { status: 401, body: { error: { code: 'unauthenticated' } } })
  const fresh = await token('42', 3600, { iat: issued(-2) })
  t.equal(
    await (await connect(t, daemon, { token: fresh })).call('chat.who'),
    '42',
    'who signs in anew is let in',
  )

  const listed = await fetch(`${daemon.url}/api/revocations`, { headers: authorization })
  t.match(await listed.json(), { count: 1, revocations: [{ user: '42', reason: 'stolen laptop' }] })
  t.match(await ask(daemon, '/api/unrevoke', { user: '42' }), { body: { lifted: true } })
  t.match(await ask(daemon, '/api/unrevoke', { user: '42' }), { body: { lifted: false } })
  t.equal(await (await connect(t, daemon, { token: old })).call('chat.who'), '42')
})

onBoth(
  'one token, by its id or by the session that it opened, and not the user’s others',
  async (t, start) => {
    const daemon = await start(CONFIG)
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((jti) => token('42', 3600, { jti })))
    const open = (jwt: string | undefined) => connect(t, daemon, { token: jwt! })
    const [one, two, three] = [await open(a), await open(b), await open(c)]
    t.match(await ask(daemon, '/api/revoke', { token: 'a' }), { body: { count: 1 } })
    t.match(await one.closed, { code: 4401, reason: 'revoked' })
    const bySession = await ask(daemon, '/api/revoke', { session: two.welcome!['session'] })
    t.match(bySession, { body: { count: 1 } })
    t.ok(Number(bySession.body['until']) <= Date.now() + 3_600_000, 'until the token ends by itself')
    t.match(await two.closed, { code: 4401 })
    for (const jwt of [a, b]) await t.rejects(open(jwt), { code: 'unauthenticated' })
    t.equal(await three.call('chat.who'), '42')
    await open(c)
    const without = await connect(t, daemon, { token: await token('42') })
    t.match(await ask(daemon, '/api/revoke', { session: without.welcome!['session'] }), { status: 409 })
    t.match(await ask(daemon, '/api/revoke', { session: 'nowhere' }), { status: 404 })
  },
)

onBoth('who is revoked while it is asked who it is does not come in', async (t, start) => {
  const application = await startApplication(t)
  let release: (() => void) | undefined
  application.answer = (response) => (release = () => reply(response, { user: '42' }))
  const daemon = await start({ ...CONFIG, auth: { url: { url: application.url, cache: '1m' } } })
  const connecting = connect(t, daemon, { headers: { Cookie: 'sessionid=a' }, paused: true })
  await until('the question', () => release)
  await ask(daemon, '/api/revoke', { user: '42' })
  const first = release!
  application.say({ user: null })
  first()
  const client = await connecting
  client.resume()
  t.match(await client.next(), { type: 'welcome', user: null }, 'it was asked for anew, and is nobody now')
  t.equal(application.asked.length, 2)
  application.say({ user: '42' })
  const again = await connect(t, daemon, { headers: { Cookie: 'sessionid=b' } })
  t.equal(again.welcome!['user'], '42', 'whom the application vouches for after it is let in')
  await ask(daemon, '/api/revoke', { user: '42' })
  t.match(await again.closed, { code: 4401 })
})

onBoth(
  'who is revoked between the check and the moment it becomes a user does not',
  async (t, _start, listener) => {
    const parts = await startParts(t, { ...CONFIG, listener })
    await connect(t, parts)
    const [client] = [...parts.hub]
    const at = Date.now()
    const person = { user: '42', database: null }
    parts.live.rules.revocations.add({ who: person, at, until: at + 60_000, reason: null })
    t.throws(() => parts.commands.identify(client!, { id: '42' }), { code: 'unauthenticated' })
    t.equal(client!.identity, null)
  },
)

onBoth(
  'what hooks say is refused until the end, unless they say when the session began',
  async (t, start) => {
    let user: object = { id: '42' }
    const daemon = await start({ ...CONFIG, auth: {}, hooks: { authenticate: () => user as { id: string } } })
    const here = await connect(t, daemon)
    await ask(daemon, '/api/revoke', { user: '42', for: '1h' })
    t.match(await here.closed, { code: 4401 })
    for (const issuedAt of [undefined, Date.now() - 1000]) {
      user = { id: '42', ...(issuedAt === undefined ? {} : { issued: issuedAt }) }
      const refused = await connect(t, daemon, { paused: true })
      refused.resume()
      t.match(await refused.closed, { code: 4401 })
    }
    user = { id: '42', issued: Date.now() + 1 }
    t.equal((await connect(t, daemon)).welcome!['user'], '42')
  },
)

onBoth('a revocation that makes no sense is told why', async (t, start) => {
  const daemon = await start(CONFIG)
  for (const [body, message] of [
    [{}, /one of user, session, token/],
    [{ user: '1', token: 'a' }, /one of/],
    [{ user: '1', session: 'a' }, /user: not with session/],
    [{ user: '' }, /empty/],
    [{ user: 42 }, /text/],
    [{ user: 'x'.repeat(256) }, /255/],
    [{ token: 'a', database: 'b' }, /only with user/],
    [{ user: '1', for: 'long' }, /for: expected/],
    [{ user: '1', for: 0 }, /for: expected/],
    [{ user: '1', for: '9999w' }, /for: expected/],
    [{ user: '1', until: 1 }, /until: expected/],
    [{ user: '1', until: 'tomorrow' }, /until: expected/],
    [{ user: '1', until: '2000-01-01' }, /until: expected/],
    [{ user: '1', until: '2100-01-01' }, /until: expected/],
    [{ user: '1', until: Date.now() + 1000, for: 1 }, /not both/],
    [{ user: '1', usr: '1' }, /not known/],
    [{ user: '1', reason: 'x'.repeat(124) }, /123/],
    [{ user: '1\0' }, /user: expected no control/],
    [{ token: 'a\nb' }, /token: expected no control/],
    [{ user: '1', reason: '\0' }, /reason: expected no control/],
  ] as const) {
    const answer = await ask(daemon, '/api/revoke', body)
    t.match(
      answer,
      { status: 400, body: { error: { code: 'invalid_input', message } } },
      JSON.stringify(body),
    )
  }
  t.match(await post(daemon, '/api/revoke', { user: '1' }, { Authorization: 'Bearer x' }), { status: 401 })
  t.equal(daemon.daemon.rules.revocations.size, 0)
})

t.test('two nodes and a database', async (t) => {
  const postgres = await startPostgres(t)
  await migrate(postgres.url)
  const config: TestConfig = { ...CONFIG, postgres: { url: postgres.url } }

  const pair = async (t: Test): Promise<readonly [TestDaemon, TestDaemon]> => {
    const nodes = [await startDaemon(t, config), await startDaemon(t, config)] as const
    for (const node of nodes) {
      await until('they know each other', async () => {
        const response = await fetch(`${node.url}/api/stats`, { headers: authorization })
        return ((await response.json()) as { nodes: unknown[] }).nodes.length === 2
      })
    }
    return nodes
  }

  await t.test('a revocation holds at all nodes at once, and at those that start later', async (t) => {
    const [one, two] = await pair(t)
    const jwt = await token('42', 3600, { iat: issued(60), jti: 'j1' })
    const clients = [await connect(t, one, { token: jwt }), await connect(t, two, { token: jwt })]
    t.match(await ask(one, '/api/revoke', { user: '42' }), { body: { count: 2, missing: [] } })
    for (const client of clients) t.match(await client.closed, { code: 4401 })
    for (const node of [one, two, await startDaemon(t, config)]) {
      await t.rejects(connect(t, node, { token: jwt }), {
        code: 'unauthenticated',
        details: { reason: 'revoked' },
      })
    }
    const elsewhere = await connect(t, two, { token: await token('44', 3600, { jti: 'j2' }) })
    t.match(await ask(one, '/api/revoke', { session: elsewhere.welcome!['session'] }), { body: { count: 1 } })
    t.match(await elsewhere.closed, { code: 4401 }, 'by a session of another node')
    t.match(await ask(two, '/api/unrevoke', { user: '42' }), { body: { lifted: true } })
    for (const node of [one, two, await startDaemon(t, config)]) await connect(t, node, { token: jwt })
  })

  await t.test('nobody takes one back by a NOTIFY, which any role of the database can say', async (t) => {
    const [one, two] = await pair(t)
    const jwt = await token('45', 3600, { iat: issued(60) })
    t.match(await ask(one, '/api/revoke', { user: '45' }), { body: { missing: [] } })
    const lift = { op: 'lift', who: { user: '45', database: null }, at: Date.now() + 60_000 }
    const letter = `m revocations ${JSON.stringify({ id: 1, ask: lift })}`
    await postgres.psql('CREATE ROLE stranger')
    await postgres.psql(
      `SET ROLE stranger; SELECT pg_notify('livemessages_bus', '1 stranger0000 1\n${letter}')`,
    )
    for (const node of [one, two]) {
      await node.logged({ msg: 'another node is here', node: 'stranger0000' })
      await t.rejects(connect(t, node, { token: jwt }), {
        code: 'unauthenticated',
        details: { reason: 'revoked' },
      })
    }
  })

  await t.test('nobody is shut out by a NOTIFY either', async (t) => {
    const [one, two] = await pair(t)
    const jwt = await token('46', 3600, { iat: issued(60) })
    const clients = await Promise.all([one, two].map((node) => connect(t, node, { token: jwt })))
    const revocation = { who: { user: '46', database: null }, at: Date.now(), until: Date.now() + 3_600_000 }
    const order = { op: 'revoke', revocation: { ...revocation, reason: null } }
    const letter = `m revocations ${JSON.stringify({ id: 1, ask: order })}`
    await postgres.psql(`SELECT pg_notify('livemessages_bus', '1 stranger0001 1\n${letter}')`)
    for (const node of [one, two]) await node.logged({ msg: 'another node is here', node: 'stranger0001' })
    // A true one behind it has been seen through by then.
    t.match(await ask(one, '/api/revoke', { user: '47' }), { body: { missing: ['stranger0001'] } })
    for (const client of clients) t.match(await client.ask({ type: 'ping' }), { type: 'pong' })
    for (const node of [one, two]) t.ok((await connect(t, node, { token: jwt })).welcome)
  })

  await t.test('a node that heard nothing of it reads it some seconds later', async (t) => {
    const node = await startDaemon(t, config)
    const client = await connect(t, node, { token: await token('50', 3600, { iat: issued(60) }) })
    // As another node would, whose memo was lost.
    await postgres.psql(
      "INSERT INTO livemessage.revocations (kind, name, at, until) VALUES ('user', '50', now(), now() + interval '1h')",
    )
    t.match(await client.closed, { code: 4401 })
    await postgres.psql("UPDATE livemessage.revocations SET until = now(), changed = now() WHERE name = '50'")
    const jwt = await token('50', 3600, { iat: issued(60) })
    await until('it is taken back', async () => (await connect(t, node, { token: jwt })).welcome !== null)
  })

  await t.test(
    'while the database is down nobody is told that it is stored, and it holds all the same',
    async (t) => {
      const node = await startDaemon(t, config)
      const jwt = await token('60', 3600, { iat: issued(60) })
      const client = await connect(t, node, { token: jwt })
      await postgres.stop()
      const answer = await ask(node, '/api/revoke', { user: '60' })
      t.match(answer, { status: 503, body: { error: { code: 'unavailable', message: /not stored/ } } })
      t.match(await client.closed, { code: 4401 })
      await t.rejects(connect(t, node, { token: jwt }), { code: 'unauthenticated' })
      t.ok(await connect(t, node, { token: await token('61') }), 'others come in, by what is known')

      const late = await startDaemon(t, config)
      await t.rejects(
        connect(t, late, { token: await token('61') }),
        { code: 'unavailable' },
        'who does not know',
      )
      t.equal((await connect(t, late)).welcome!['user'], null, 'without a name it does not matter')
      await postgres.restart()
      await until('it is stored', async () => (await ask(node, '/api/revoke', { user: '60' })).status === 200)
      await until('the late one knows', async () => connect(t, late, { token: await token('61') }))
      await t.rejects(connect(t, late, { token: jwt }), { code: 'unauthenticated' })
      await late.logged({ msg: 'revocations can not be read, trying on' })
      await late.logged({ msg: 'revocations can be read again' })
    },
  )
})

t.test('a database without the daemon’s tables: as without one, and it is said once', async (t) => {
  const postgres = await startPostgres(t)
  const node = await startDaemon(t, { ...CONFIG, journal: 'memory', postgres: { url: postgres.url } })
  const jwt = await token('42', 3600, { iat: issued(60) })
  await connect(t, node, { token: jwt })
  t.match(await ask(node, '/api/revoke', { user: '42' }), { status: 200, body: { count: 1 } })
  await t.rejects(connect(t, node, { token: jwt }), { code: 'unauthenticated' })
  await node.logged({ msg: "revocations are not stored: run 'livemessage migrate' for their table" })
})
