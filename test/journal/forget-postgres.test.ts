import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { dataOf, freshDatabase, journalOf, reached, startNode } from './databases.ts'
import { forgetContract } from './forget-contract.ts'

t.setTimeout(180_000)

const server = await startPostgres(t)

async function connect(t: Test, url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

forgetContract(t, 'postgres', async (t, { windowBytes }) => {
  const url = await freshDatabase(server)
  const { journal } = journalOf(t, url, { windowBytes, idempotencyMs: () => 60_000 })
  return { journal, advance: (ms) => delay(ms) }
})

forgetContract(t, 'postgres, from the table', async (t, { windowBytes }) => {
  const url = await freshDatabase(server)
  // A window that holds nothing of what is asked for.
  const { journal } = journalOf(t, url, { windowBytes: Math.min(windowBytes, 600), forgetRows: 3 })
  return { journal, advance: (ms) => delay(ms) }
})

t.test('the other nodes forget too, in the order of the journal, and a later one never knew', async (t) => {
  const url = await freshDatabase(server)
  const [one, two] = await Promise.all([startNode(t, url), startNode(t, url)])
  for (let n = 0; n < 10; n++) await one.journal.append({ channel: 'chat:a', json: `"${n}"` })
  await one.journal.append({ channel: 'chat:b', json: '"b"' })
  const { position, count } = await one.journal.forget({ channel: 'chat:a' })
  t.equal(count, 10)
  const after = await two.journal.append({ channel: 'chat:a', json: '"after"' })
  await reached(one, after.position)
  t.same((await one.journal.last(['chat:a'], 5)).entries.map(dataOf), ['after'])
  // So that a tombstone is the newest that a node finds when it starts.
  const { position: last } = await one.journal.forget({ channel: 'chat:a' })
  await Promise.all([reached(one, last), reached(two, last)])
  const three = await startNode(t, url)
  for (const { journal, epochs } of [one, two, three]) {
    t.ok(journal.head >= position)
    const page = await journal.since(['chat:a', 'chat:b'], 0, 100)
    t.same([page.entries.map(dataOf), page.lost, epochs], [['b'], [], []])
  }
  t.equal(three.journal.counts.queries, 0, 'its window is whole, voids and all')
  t.same(
    two.seen(),
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'b', 'after'],
    'no tombstone is an entry',
  )
})

t.test('what is forgotten while a node is away is no reason for a new epoch', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url)
  const two = await startNode(t, url)
  const { position: at } = await one.journal.append({ channel: 'chat:a', json: '"the newest of all"' })
  await Promise.all([reached(one, at), reached(two, at)])
  // Its place in the journal is that of the publication that goes.
  await two.notifications.stop()
  const { position } = await one.journal.forget({ channel: 'chat:a', positions: [at] })
  await two.journal.caughtUp()
  t.ok(two.journal.head >= position)
  t.same((await two.journal.last(['chat:a'], 5)).entries, [])
  t.same([one.epochs, two.epochs], [[], []])
  const page = await two.journal.since(['chat:a'], at - 1, 5)
  t.same([page.entries, page.lost], [[], []])
})

t.test('of what is forgotten the database keeps no word, wherever it was on its way', async (t) => {
  const url = await freshDatabase(server)
  const client = await connect(t, url)
  const one = await startNode(t, url)
  await client.query(`SELECT livemessage.publish('chat:a', '"the secret"')`)
  await client.query(`SELECT livemessage.publish_many('[{"channel":"chat:a","data":"the secret"}]')`)
  await client.query(`SELECT livemessage.enqueue('chat:a', '"the secret"')`)
  await client.query(`SELECT livemessage.enqueue('chat:b', '"kept"')`)
  await one.journal.append({ channel: 'chat:a', json: '"the secret"', key: 'k', exclude: 'session' })
  const { count } = await one.journal.forget({ channel: 'chat:a' })
  t.equal(count, 4)
  const { rows } = await client.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_class AS c WHERE c.relnamespace = 'livemessage'::regnamespace AND c.relkind = 'r'`,
  )
  for (const { name } of rows) {
    const found = await client.query(
      `SELECT 1 FROM livemessage.${name} AS r WHERE r::text LIKE '%the secret%'`,
    )
    t.equal(found.rowCount, 0, name)
  }
  t.same((await client.query('SELECT channel FROM livemessage.queue')).rows, [{ channel: 'chat:b' }])
  t.same((await client.query('SELECT digest FROM livemessage.key')).rows, [{ digest: null }])
})

t.test('keys that somebody is deleting are not waited for', async (t) => {
  const url = await freshDatabase(server)
  const client = await connect(t, url)
  const one = await startNode(t, url)
  for (const key of ['a', 'b']) await one.journal.append({ channel: 'chat:a', json: '1', key })
  // As the sweep does, which may be waiting for another of these keys: that would be a deadlock.
  await client.query(`BEGIN; DELETE FROM livemessage.key WHERE scope LIKE '%a'`)
  t.equal((await one.journal.forget({ channel: 'chat:a' })).count, 2)
  await client.query('COMMIT')
  t.same((await client.query('SELECT digest FROM livemessage.key')).rows, [{ digest: null }])
})

t.test('retention takes rows in the order in which they are forgotten', async (t) => {
  const url = await freshDatabase(server)
  const [forgetting, sweeping] = [await connect(t, url), await connect(t, url)]
  // Nothing is where it would be if it had come in order: space is used again.
  await forgetting.query(`INSERT INTO livemessage.journal (position, channel, time, tag, data)
    SELECT n, 'chat:a', 1, 1, '1' FROM generate_series(1, 20000) AS n ORDER BY -n % 7, n * 7919 % 20011`)
  await forgetting.query('ANALYZE livemessage.journal')
  await forgetting.query('BEGIN; SELECT FROM livemessage.journal WHERE position = 1 FOR UPDATE')
  const sweep = sweeping.query(`SELECT swept FROM livemessage.sweep('{"chat":1}', 50000, NULL, NULL)`)
  const waits = () =>
    forgetting.query('SELECT FROM pg_locks WHERE NOT granted').then(({ rowCount }) => rowCount)
  await until('it waits', waits)
  await forgetting.query('SELECT FROM livemessage.journal WHERE position > 1 ORDER BY position FOR UPDATE')
  await forgetting.query('COMMIT')
  t.same((await sweep).rows, [{ swept: 20000 }])
})

t.test('what is enqueued is moved in the order in which it is forgotten', async (t) => {
  const url = await freshDatabase(server)
  const [forgetting, moving] = [await connect(t, url), await connect(t, url)]
  await forgetting.query(`INSERT INTO livemessage.queue (id, channel, data) OVERRIDING SYSTEM VALUE
    SELECT n, 'chat:a', '1' FROM generate_series(1, 20000) AS n ORDER BY -n % 7, n * 7919 % 20011`)
  await forgetting.query('ANALYZE livemessage.queue')
  await forgetting.query('BEGIN; SELECT FROM livemessage.queue WHERE id = 1 FOR UPDATE')
  const drain = moving.query('SELECT livemessage.drain(1000, NULL, NULL) AS moved')
  const waits = () =>
    forgetting.query('SELECT FROM pg_locks WHERE NOT granted').then(({ rowCount }) => rowCount)
  await until('it waits', waits)
  await forgetting.query('SELECT FROM livemessage.queue WHERE id > 1 ORDER BY id FOR UPDATE')
  await forgetting.query('COMMIT')
  t.same((await drain).rows, [{ moved: 1000 }])
})

t.test('two nodes that forget the same at once forget it once', async (t) => {
  const url = await freshDatabase(server)
  const [one, two] = await Promise.all([
    startNode(t, url, { forgetRows: 7 }),
    startNode(t, url, { forgetRows: 10 }),
  ])
  for (let n = 0; n < 100; n++) void one.journal.append({ channel: 'chat:a', json: `${n}` })
  const { position } = await one.journal.append({ channel: 'chat:b', json: '1' })
  await reached(two, position)
  const outcomes = await Promise.all(
    [one, two, one].map(({ journal }) => journal.forget({ channel: 'chat:a' })),
  )
  t.equal(
    outcomes.reduce((sum, { count }) => sum + count, 0),
    100,
  )
  const last = Math.max(...outcomes.map((outcome) => outcome.position))
  for (const node of [one, two]) {
    await reached(node, last)
    const page = await node.journal.since(['chat:a', 'chat:b'], 0, 200)
    t.same([page.entries.map(dataOf), page.lost, node.epochs], [[1], [], []])
    t.equal(node.journal.counts.contradictions, 0)
  }
})

t.test('cursors of an epoch that is over forget nothing; a channel is one in any', async (t) => {
  const url = await freshDatabase(server)
  const client = await connect(t, url)
  const one = await startNode(t, url)
  const { position } = await one.journal.append({ channel: 'chat:a', json: '1' })
  // So that it does not hear of the new one.
  await one.notifications.stop()
  await client.query(`SELECT livemessage.new_epoch('test')`)
  await t.rejects(one.journal.forget({ channel: 'chat:a', positions: [position] }), {
    name: 'ClientError',
    code: 'conflict',
  })
  t.equal((await client.query(`SELECT FROM livemessage.journal WHERE channel = 'chat:a'`)).rowCount, 1)
  t.equal((await one.journal.forget({ channel: 'chat:a' })).count, 1)
  t.equal((await client.query(`SELECT FROM livemessage.journal WHERE channel = 'chat:a'`)).rowCount, 0)
})

t.test('voids and tombstones go with retention, and prove nothing wrong meanwhile', async (t) => {
  const url = await freshDatabase(server)
  const client = await connect(t, url)
  const one = await startNode(t, url)
  await one.journal.append({ channel: 'chat:a', json: '1' })
  const { position: kept } = await one.journal.append({ channel: 'chat:b', json: '2' })
  await one.journal.forget({ channel: 'chat:a' })
  await client.query('UPDATE livemessage.journal SET time = time - 10000000')
  await client.query(
    `SELECT livemessage.lease_take('sweep', 'test', 60000) AS token, livemessage.sweep('{"chat": 3600000}', 1000, NULL, NULL)`,
  )
  t.same((await client.query('SELECT * FROM livemessage.journal')).rows, [])
  await one.journal.caughtUp()
  const { position } = await one.journal.append({ channel: 'chat:a', json: '3' })
  await reached(one, position)
  const two = await startNode(t, url)
  t.same([one.epochs, two.epochs], [[], []])
  t.same((await two.journal.since(['chat:b'], kept - 1, 10)).lost, ['chat:b'])
  t.same((await two.journal.since(['chat:a'], position - 1, 10)).entries.map(dataOf), [3])
})

t.test('100,000 publications of a channel are forgotten without holding up those of others', async (t) => {
  const url = await freshDatabase(server)
  const client = await connect(t, url)
  await client.query(
    `SELECT livemessage.publish_many((SELECT jsonb_agg(jsonb_build_object('channel', 'chat:big', 'data', n::text || repeat('x', 100)))
     FROM generate_series(1, 10000) AS n)) FROM generate_series(1, 10)`,
  )
  const one = await startNode(t, url, { statementMs: 30_000 })
  const running = { now: true }
  const waits: number[] = []
  const load = (async () => {
    while (running.now) {
      const since = performance.now()
      await one.journal.append({ channel: 'chat:other', json: '1' })
      waits.push(performance.now() - since)
    }
  })()
  const since = performance.now()
  const { count } = await one.journal.forget({ channel: 'chat:big' })
  const tookMs = performance.now() - since
  running.now = false
  await load
  t.equal(count, 100_000)
  waits.sort((a, b) => a - b)
  t.comment(
    `${Math.round(tookMs)} ms; ${waits.length} appends of others meanwhile: median ` +
      `${waits[waits.length >> 1]!.toFixed(1)} ms, longest ${waits.at(-1)!.toFixed(1)} ms`,
  )
  t.ok(waits.length > 10)
  t.same((await one.journal.last(['chat:big'], 10)).entries, [])
})

t.test('while the database is away nothing is told to be forgotten; afterwards it is', async (t) => {
  const server = await startPostgres(t, { settings: { synchronous_commit: 'on' } })
  const url = await freshDatabase(server)
  const one = await startNode(t, url, { patienceMs: 500, statementMs: 1000 })
  const { position } = await one.journal.append({ channel: 'chat:a', json: '1' })
  await reached(one, position)
  await server.kill()
  await t.rejects(one.journal.forget({ channel: 'chat:a' }), { name: 'ClientError', code: 'unavailable' })
  t.equal((await one.journal.since(['chat:a'], position - 1, 5)).entries.length, 1, 'nothing half done')
  await server.restart()
  await until('ready again', () => one.journal.ready, 30_000)
  t.equal((await one.journal.forget({ channel: 'chat:a' })).count, 1)
  t.same((await one.journal.last(['chat:a'], 5)).entries, [])
})
