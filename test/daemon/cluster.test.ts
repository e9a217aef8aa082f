import t, { type Test } from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { SECRET, token } from '../transports/both.ts'

const server = await startPostgres(t)

/** Two whole daemons on one database; they know each other. */
async function pair(t: Test): Promise<[TestDaemon, TestDaemon]> {
  const config: TestConfig = {
    ACTIONS: { chat: {}, live: {} },
    channels: { chat: { access: 'public', history: {} }, live: { access: 'public' } },
    auth: { jwt: { secret: SECRET } },
    postgres: { url: server.url },
  }
  const one = await startDaemon(t, config, { migrate: true })
  const two = await startDaemon(t, config)
  for (const daemon of [one, two]) {
    await until('they know each other', async () => {
      const { nodes } = (await get(daemon, '/api/stats')) as { nodes: unknown[] }
      return nodes.length === 2
    })
  }
  return [one, two]
}

async function get(daemon: TestDaemon, path: string): Promise<unknown> {
  return (await fetch(daemon.url + path)).json()
}

async function post(daemon: TestDaemon, path: string, body: object): Promise<unknown> {
  const headers = { 'Content-Type': 'application/json' }
  return (await fetch(daemon.url + path, { method: 'POST', headers, body: JSON.stringify(body) })).json()
}

t.test('two daemons: the server API of one reaches the clients of both', async (t) => {
  const [one, two] = await pair(t)
  const near = await connect(t, one, { token: await token('alice') })
  const far = await connect(t, two, { token: await token('alice') })
  await far.subscribe('live:x')
  await near.subscribe('live:x')

  t.same(await post(one, '/api/emit', { user: 'alice', event: 'hi', args: [1] }), { count: 2, missing: [] })
  for (const client of [near, far]) t.match(await client.next({ type: 'event' }), { event: 'hi', args: [1] })

  t.match(await get(one, '/api/presence?channel=live:x'), { count: 2, missing: [] })
  t.match(await get(two, '/api/connections?user=alice'), { count: 2, missing: [] })
  t.match(await get(two, '/api/channels?prefix=live:'), { channels: [{ channel: 'live:x', subscribers: 2 }] })

  t.same(await post(one, '/api/disconnect', { session: far.welcome?.['session'] }), {
    count: 1,
    missing: [],
  })
  t.match(await far.closed, { code: 4405 })
})

t.test(
  'two daemons: what is published to a transient channel at one comes at the other, in order',
  async (t) => {
    const [one, two] = await pair(t)
    const client = await connect(t, two)
    await client.subscribe('live:x')
    for (let i = 0; i < 200; i++) await one.publish('live:x', i)
    for (let i = 0; i < 200; i++) t.match(await client.next({ type: 'message' }), { data: i })
  },
)

t.test('two daemons: after a restart of the database both know each other again', async (t) => {
  const [one, two] = await pair(t)
  const client = await connect(t, two, { token: await token('alice') })
  await server.kill()
  t.match(await post(one, '/api/emit', { user: 'alice', event: 'lost' }), { count: 0 })
  await server.restart()
  await until('it is reached', async () => {
    const { count } = (await post(one, '/api/emit', { user: 'alice', event: 'back' })) as { count: number }
    return count === 1
  })
  t.match(await client.next({ event: 'back' }), { type: 'event' })
})
