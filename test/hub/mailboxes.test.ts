import t, { type Test } from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { Mailboxes } from '../../src/hub/mailboxes.ts'
import { silent, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { until, within } from '../support/wait.ts'

interface Under {
  readonly server: TestPostgres
  readonly mailboxes: Mailboxes
  /** Statements that were sent. */
  statements(): number
}

async function start(t: Test, patienceMs = 5000): Promise<Under> {
  // What was committed must be there after a kill, the tables too.
  const server = await startPostgres(t, { settings: { synchronous_commit: 'on' } })
  await migrate(server.url, { components: [] })
  const pool = createDatabase({
    url: server.url,
    minConnections: 1,
    maxConnections: 4,
    cleanupTimeoutMs: 10_000,
    log: silent(),
  })
  let statements = 0
  const mailboxes = new Mailboxes({
    query: (text, values, signal) => {
      statements++
      return pool.withSignal(signal).query(text, values)
    },
    patienceMs: () => patienceMs,
    log: silent(),
    retryMs: 20,
  })
  t.teardown(async () => {
    await mailboxes.stop()
    await pool.stop()
  })
  return { server, mailboxes, statements: () => statements }
}

void t.test('a place is kept for each user and channel, and moves forward only', async (t) => {
  const { mailboxes } = await start(t)
  t.equal(await mailboxes.read('1', 'inbox:1'), null)
  await mailboxes.confirm('1', 'inbox:1', 5)
  await mailboxes.confirm('1', 'inbox:2', 7)
  await mailboxes.confirm('2', 'inbox:1', 9)
  await mailboxes.confirm('1', 'inbox:1', 3)
  t.equal(await mailboxes.read('1', 'inbox:1'), 5)
  t.equal(await mailboxes.read('1', 'inbox:2'), 7)
  t.equal(await mailboxes.read('2', 'inbox:1'), 9)
  await mailboxes.confirm('1', 'inbox:1', Number.MAX_SAFE_INTEGER)
  t.equal(await mailboxes.read('1', 'inbox:1'), Number.MAX_SAFE_INTEGER)
  t.throws(() => mailboxes.confirm('a\0b', 'inbox:1', 1), { code: 'invalid_input' })
  await t.rejects(mailboxes.read('a\0b', 'inbox:1'), { code: 'invalid_input' })
  await mailboxes.confirm('ü "quoted" {}', 'inbox:1', 1)
  t.equal(await mailboxes.read('ü "quoted" {}', 'inbox:1'), 1)
})

void t.test('many at once cost few statements, and everyone has the own answer', async (t) => {
  const { mailboxes, statements } = await start(t)
  const users = Array.from({ length: 3000 }, (_value, index) => String(index))
  await Promise.all(users.map((user) => mailboxes.confirm(user, 'inbox:a', Number(user))))
  t.equal(statements(), 1, 'those of one turn')
  const waves: Promise<void>[] = []
  for (let wave = 0; wave < 20; wave++) {
    for (const user of users.slice(0, 100)) waves.push(mailboxes.confirm(user, 'inbox:a', 5000 + wave))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(waves)
  // The one before, and at the most one a turn: fewer where the database takes longer than a turn.
  t.ok(statements() <= 1 + 20, `${statements()} statements`)
  const before = statements()
  const found = await Promise.all(users.map((user) => mailboxes.read(user, 'inbox:a')))
  t.same(
    found,
    users.map((user) => (Number(user) < 100 ? 5019 : Number(user))),
  )
  t.equal(statements(), before + 1)
})

void t.test('who reads sees what was confirmed before, though it is not durable yet', async (t) => {
  const { mailboxes } = await start(t)
  for (let position = 1; position <= 50; position++) {
    const confirmed = mailboxes.confirm('1', 'inbox:1', position)
    const read = await mailboxes.read('1', 'inbox:1')
    if (read !== position) t.fail(`${read} after ${position}`)
    await confirmed
  }
})

void t.test('the database is killed: what can wait is done when it is back, the rest is told', async (t) => {
  const { server, mailboxes } = await start(t, 1500)
  await mailboxes.confirm('1', 'inbox:1', 1)
  await server.kill()
  const began = Date.now()
  await t.rejects(within('the answer', mailboxes.confirm('1', 'inbox:1', 2)), { code: 'unavailable' })
  t.ok(Date.now() - began >= 1000, 'not at once')
  await t.rejects(mailboxes.read('1', 'inbox:1'), { code: 'unavailable' })
  const answers = Promise.allSettled([mailboxes.confirm('1', 'inbox:1', 3), mailboxes.read('2', 'inbox:1')])
  await server.restart()
  const [confirmed] = await answers
  if (confirmed.status === 'rejected') {
    // The machine was slow: told, and to be tried again.
    t.match(confirmed.reason, { code: 'unavailable' })
    await until('it is back', () => mailboxes.confirm('1', 'inbox:1', 3).then(() => true))
  }
  t.equal(await mailboxes.read('1', 'inbox:1'), 3)
})

void t.test('a stop tells those who wait, and none is left', async (t) => {
  const { server, mailboxes } = await start(t, 60_000)
  await server.kill()
  const waits = mailboxes.confirm('1', 'inbox:1', 2)
  const reads = mailboxes.read('1', 'inbox:2')
  await Promise.all([
    t.rejects(waits, { code: 'unavailable' }),
    t.rejects(reads, { code: 'unavailable' }),
    mailboxes.stop(),
  ])
  await t.rejects(mailboxes.confirm('1', 'inbox:1', 3), { code: 'unavailable' })
  await mailboxes.stop()
})
