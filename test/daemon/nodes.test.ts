import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'

const postgres = await startPostgres(t)
const config = { postgres: { url: postgres.url }, journal: 'memory' } as const

t.test('a second node is refused where the journal is in the memory of the first', async (t) => {
  const channels = { chat: { access: 'public', history: {} } } as const
  await startDaemon(t, { ...config, channels })
  await t.rejects(startDaemon(t, { ...config, channels }), {
    code: 'SEVERAL_NODES',
    message: /set journal to 'postgres'/,
  })
})

t.test('without a history several nodes need no journal', async (t) => {
  const channels = { quotes: { access: 'public' } } as const
  const one = await startDaemon(t, { ...config, channels })
  const other = await startDaemon(t, { ...config, channels })
  const client = await connect(t, one)
  await client.subscribe('quotes:a')
  // What is said before both know one another reaches nobody else.
  await Promise.all([one, other].map((node) => node.logged({ msg: 'another node is here' })))
  t.equal((await other.publish('quotes:a', 1)).status, 200)
  t.match(await client.next({ type: 'message' }), { channel: 'quotes:a', data: 1 })
})

t.test('a database that lacks the tables is told to whoever starts the daemon', async (t) => {
  const channels = { chat: { access: 'public', history: {} } } as const
  await t.rejects(startDaemon(t, { postgres: config.postgres, channels }), {
    code: 'DATABASE_NOT_INSTALLED',
    message: /livemessage migrate/,
  })
})
