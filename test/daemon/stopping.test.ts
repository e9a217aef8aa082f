import { Client } from 'pg'
import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

const postgres = await startPostgres(t)

t.test('who is publishing when the daemon stops is answered, and what was accepted is there', async (t) => {
  const channels = { chat: { access: 'public', history: {} } } as const
  const daemon = await startDaemon(t, { postgres: { url: postgres.url }, channels }, { migrate: true })
  const lock = new Client({ connectionString: postgres.url })
  await lock.connect()
  t.teardown(() => lock.end())
  await lock.query('BEGIN; LOCK TABLE livemessage.journal IN EXCLUSIVE MODE')
  const answers = Promise.all([1, 2, 3].map((n) => daemon.publish('chat:a', n)))
  await until('an append that waits for the lock', async () => {
    const rows = await postgres.psql(
      "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'livemessages journal'",
    )
    return rows.length > 0
  })
  const stopped = daemon.stop('restart')
  await until('the drain', () => daemon.daemon.health?.phase === 'draining')
  await lock.query('COMMIT')
  t.same(
    (await answers).map(({ status }) => status),
    [200, 200, 200],
  )
  await stopped
  t.equal((await postgres.psql('SELECT FROM livemessage.journal')).length, 3)
})

t.test('a disconnect hook that hangs does not make the stop last longer than `stop`', async (t) => {
  const daemon = await startDaemon(t, {
    channels: { chat: { access: 'public' } },
    stop: '1s',
    limits: { callMs: '60s' },
    hooks: { disconnect: () => new Promise<void>(() => undefined) },
  })
  const client = await connect(t, daemon)
  const begun = performance.now()
  await daemon.stop()
  t.ok(performance.now() - begun < 30_000)
  t.equal((await client.closed).code, 1001)
})
