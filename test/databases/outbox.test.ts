import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { configOf, type Several, startSeveral } from './several.ts'

/** Everything that the journal has of a channel. */
async function journalOf({ sql, home }: Several, channel: string): Promise<unknown[]> {
  const rows = await sql(home, 'SELECT data FROM livemessage.journal WHERE channel = $1 ORDER BY position', [
    channel,
  ])
  return rows.map(({ data }) => JSON.parse(String(data)) as unknown)
}

const isEmpty = (several: Several, database: string) =>
  until(`the outbox of ${database} is empty`, async () => {
    const [row] = await several.sql(
      database,
      'SELECT (SELECT count(*) FROM livemessage.outbox) + (SELECT count(*) FROM livemessage.outbox_batch) AS left',
    )
    return row?.['left'] === '0'
  })

const isUp = (daemon: TestDaemon, name: string, ready = true) =>
  until(`${name} is ${ready ? 'up' : 'down'}`, () =>
    daemon.daemon.health?.parts().some((part) => part.name === name && part.ready === ready),
  )

t.test('what is published in another database comes home, in its order', async (t) => {
  const several = await startSeveral(t, ['shop', 'blog'])
  const daemon = await startDaemon(t, configOf(several, ['shop', 'blog']))
  const client = await connect(t, daemon.ws)
  await client.subscribe('chat:general')
  await client.subscribe('ticks:now')
  await several.sql('shop', `SELECT livemessage.publish('chat:general', '{"n":1}')`)
  await several.sql('shop', `SELECT livemessage.enqueue('chat:general', '{"n":2}')`)
  await several.sql(
    'shop',
    `SELECT livemessage.publish_many('[{"channel":"chat:general","data":{"n":3}},{"channel":"chat:general","data":{"n":4}}]')`,
  )
  await several.sql(
    'shop',
    `CREATE TABLE thing (n int);
     CREATE TRIGGER told AFTER INSERT ON thing FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:general', 'n');
     INSERT INTO thing VALUES (5)`,
  )
  for (const n of [1, 2, 3, 4, 5]) {
    t.match(await client.next({ type: 'message' }), { channel: 'chat:general', data: { n } })
  }
  await several.sql('blog', `SELECT livemessage.publish('ticks:now', '"tick"')`)
  t.match(
    await client.next({ type: 'message' }),
    { channel: 'ticks:now', data: 'tick' },
    'transient: by NOTIFY',
  )
  t.same(
    await journalOf(several, 'chat:general'),
    [1, 2, 3, 4, 5].map((n) => ({ n })),
  )
  const [there] = await several.sql('shop', 'SELECT count(*) FROM livemessage.journal')
  t.same(there, { count: '0' }, 'only home has a journal')
  await isEmpty(several, 'shop')
})

t.test('a rolled back transaction publishes nothing, and one that is late is not skipped', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop']))
  const { Client } = await import('pg')
  const late = new Client({ connectionString: several.urlOf('shop') })
  await late.connect()
  t.teardown(() => late.end())
  const client = await connect(t, daemon.ws)
  await client.subscribe('chat:a')
  await late.query(`BEGIN; SELECT livemessage.publish('chat:a', '"late"')`)
  await several.sql('shop', `BEGIN; SELECT livemessage.publish('chat:a', '"never"'); ROLLBACK`)
  await several.sql('shop', `SELECT livemessage.publish('chat:a', '"early"')`)
  t.match(await client.next({ type: 'message' }), { data: 'early' }, 'nobody waits for it')
  await late.query('COMMIT')
  t.match(await client.next({ type: 'message' }), { data: 'late' }, 'its number was taken first')
  t.same(await journalOf(several, 'chat:a'), ['early', 'late'])
})

t.test('one database that is down is in nobody’s way, and catches up', async (t) => {
  const several = await startSeveral(t, ['shop', 'blog'])
  const [one, two] = await Promise.all([
    startDaemon(t, configOf(several, ['shop', 'blog'])),
    startDaemon(t, configOf(several, ['shop', 'blog'])),
  ])
  const client = await connect(t, one.ws)
  await client.subscribe('chat:a')
  await several.cut('shop')
  await isUp(one, 'database:shop', false)
  await several.sql('blog', `SELECT livemessage.publish('chat:a', '"blog"')`)
  t.match(await client.next({ type: 'message' }), { data: 'blog' })
  t.equal((await one.publish('chat:a', 'home')).status, 200)
  t.match(await client.next({ type: 'message' }), { data: 'home' })
  t.equal((await fetch(`${one.url}/readyz?scope=node`)).status, 200, 'a proxy sends everyone here as before')
  const whole = await fetch(`${one.url}/readyz`)
  t.equal(whole.status, 503)
  const { parts } = (await whole.json()) as { parts: { name: string }[] }
  t.match(
    parts.find(({ name }) => name === 'database:shop'),
    { state: 'down', reason: /not currently accepting|terminating connection/ },
  )
  await several.mend('shop')
  await several.sql('shop', `SELECT livemessage.publish('chat:a', '"back"')`)
  t.match(await client.next({ type: 'message' }, 20_000), { data: 'back' })
  await Promise.all([isUp(one, 'database:shop'), isUp(two, 'database:shop')])
  const told = [one, two]
    .flatMap(({ lines }) => lines)
    .filter(({ chore, level }) => chore === 'outbox' && level === 'warn')
  t.ok(told.length <= 1, 'whoever leads says it once')
})

t.test(
  'a database without our tables is told of, and the others go on; migrated, it comes home',
  async (t) => {
    const several = await startSeveral(t, ['shop', 'blog'])
    await several.sql('blog', 'DROP SCHEMA livemessage CASCADE')
    const daemon = await startDaemon(t, configOf(several, ['shop', 'blog']))
    const client = await connect(t, daemon.ws)
    await client.subscribe('chat:a')
    await several.sql('shop', `SELECT livemessage.publish('chat:a', '"shop"')`)
    t.match(await client.next({ type: 'message' }), { data: 'shop' })
    await isUp(daemon, 'database:blog', false)
    const part = daemon.daemon.health?.parts().find(({ name }) => name === 'database:blog')
    t.match(part?.reason, /livemessage migrate/)
    const { migrate } = await import('../../src/database/migrate.ts')
    await migrate(several.urlOf('blog'), { database: { name: 'blog', outbox: true } })
    await several.sql('blog', `SELECT livemessage.publish('chat:a', '"blog"')`)
    t.match(await client.next({ type: 'message' }, 20_000), { data: 'blog' })
    await isUp(daemon, 'database:blog')
  },
)

t.test('home is down: what is published elsewhere waits there, and comes once', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop']))
  const client = await connect(t, daemon.ws)
  await client.subscribe('chat:a')
  await several.sql('shop', `SELECT livemessage.publish('chat:a', '0')`)
  t.match(await client.next({ type: 'message' }), { data: 0 })
  await several.server.psql('SELECT 1')
  // The superuser's connection to another database closes the home one.
  await several.sql('shop', `ALTER DATABASE ${several.home} ALLOW_CONNECTIONS false`)
  await several.sql(
    'shop',
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${several.home}'`,
  )
  for (let n = 1; n <= 20; n++) await several.sql('shop', `SELECT livemessage.publish('chat:a', '${n}')`)
  await several.sql('shop', `ALTER DATABASE ${several.home} ALLOW_CONNECTIONS true`)
  for (let n = 1; n <= 20; n++) t.match(await client.next({ type: 'message' }, 30_000), { data: n })
  await delay(300)
  t.same(client.rest('message'), [])
  t.same(
    await journalOf(several, 'chat:a'),
    Array.from({ length: 21 }, (_, n) => n),
  )
})

t.test('a database that becomes home publishes what waited in its outbox', async (t) => {
  const several = await startSeveral(t, ['shop'])
  await several.sql('shop', `SELECT livemessage.publish('chat:a', '1')`)
  await several.sql(
    'shop',
    `SELECT livemessage.publish_many('[{"channel":"chat:a","data":2},{"channel":"chat:a","data":3}]')`,
  )
  await several.sql('shop', 'SELECT FROM livemessage.outbox_take(NULL, 1)')
  await several.sql('shop', `SELECT livemessage.enqueue('chat:a', '4')`)
  const daemon = await startDaemon(t, {
    channels: { chat: { access: 'public', history: {} } },
    postgres: { url: several.urlOf('shop') },
  })
  const client = await connect(t, daemon.ws)
  await client.subscribe('chat:a', { last: 10 })
  await isEmpty(several, 'shop')
  await until('all are in the journal', async () => {
    const rows = await several.sql('shop', 'SELECT data FROM livemessage.journal ORDER BY position')
    return rows.map(({ data }) => data).join(' ') === '1 2 3 4'
  })
})
