import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { Housekeeping } from '../../src/database/housekeeping.ts'
import type { HousekeepingOptions } from '../../src/database/housekeeping.ts'
import { createLeadership } from '../../src/database/leadership.ts'
import { migrate } from '../../src/database/migrate.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { PgListener } from '../../src/database/pg-listener.ts'
import { recordLog } from '../sources/recorder.ts'
import { silent, startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

t.setTimeout(180_000)

const TTL_MS = 900
// The smallest NOTIFY queue that there is: 64 pages of 8 KiB.
const server = await startPostgres(t, { settings: { max_notify_queue_pages: '64' } })
await migrate(server.url)
let count = 0

t.beforeEach(async () => {
  await server.psql(
    'TRUNCATE livemessage.lease, livemessage.journal, livemessage.queue, livemessage.floor, livemessage.subsystem',
  )
})

const make = async (t: Test, options: Partial<HousekeepingOptions> = {}) => {
  const common = { url: server.url, minConnections: 0, maxConnections: 4, cleanupTimeoutMs: 10_000 }
  const pool = createDatabase({ ...common, connectMs: 1_000, stopMs: 500, log: silent() })
  const leadership = createLeadership({ pool, holder: `node${++count}`, ttlMs: TTL_MS, log: silent() })
  const { log, lines } = recordLog()
  const retry = { minMs: 10, maxMs: 100 }
  const housekeeping = new Housekeeping({ pool, leadership, log, retry, drainMs: 5, ...options })
  const stop = async (): Promise<void> => {
    await housekeeping.stop()
    await leadership.stop()
    await pool.stop()
  }
  t.teardown(stop)
  await leadership.start()
  housekeeping.start()
  return { pool, leadership, housekeeping, lines, stop }
}

const rows = async (sql: string): Promise<number> => Number((await server.psql(sql))[0]?.['count'])
const journaled = () => rows('SELECT count(*) FROM livemessage.journal')
const enqueued = () => rows('SELECT count(*) FROM livemessage.queue')

/** Enqueues numbers, one transaction each, or so many at once. */
const enqueue = async (who: string, from: number, to: number, step = 1): Promise<void> => {
  const client = new Client({ connectionString: server.url })
  await client.connect()
  for (let i = from; i < to; i += step) {
    await client.query(
      `SELECT livemessage.enqueue('chat:' || $1, to_jsonb(i)) FROM generate_series($2::int, $3::int) AS i`,
      [who, i, i + step - 1],
    )
  }
  await client.end()
}

void t.test(
  'what is enqueued is in the journal soon, by the leader, one after the other of each client',
  async (t) => {
    const two = [await make(t), await make(t)]
    await until('a leader', () => two.some(({ leadership }) => leadership.token !== null))
    await Promise.all(['a', 'b', 'c', 'd'].map((who) => enqueue(who, 0, 300)))
    await until('all', async () => (await journaled()) === 1_200)
    t.equal(await enqueued(), 0)
    for (const who of ['a', 'b', 'c', 'd']) {
      const data = await server.psql(
        `SELECT data::int FROM livemessage.journal WHERE channel = $1 ORDER BY position`,
        [`chat:${who}`],
      )
      t.same(
        data.map(({ data }) => data),
        Array.from({ length: 300 }, (_, i) => i),
      )
    }
    const moved = two.map(({ housekeeping }) => housekeeping.counts.drained).sort((a, b) => a - b)
    t.same(moved, [0, 1_200], 'by one of them')
    await enqueue('late', 0, 1)
    await until('it', async () => (await journaled()) === 1_201, 2_000)
  },
)

void t.test(
  'the leader is killed while it moves thousands: the next one moves the rest, in order',
  async (t) => {
    const script = new URL('../support/housekeeping-node.ts', import.meta.url).pathname
    const args = ['--import', 'tsx', script, server.url, 'killed', String(TTL_MS)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const lines: string[] = []
    createInterface(child.stdout).on('line', (line) => lines.push(line))
    await until('it leads', () => lines.length > 0)
    const other = await make(t)
    const clients = ['a', 'b', 'c', 'd', 'e']
    const enqueueing = Promise.all(clients.map((who) => enqueue(who, 0, 1_000, 5)))
    await until('some to be moved', async () => (await journaled()) > 200)
    child.kill('SIGKILL')
    t.ok((await journaled()) < 5_000, 'in the middle of it')
    await enqueueing
    await until('all', async () => (await journaled()) >= 5_000)
    t.equal(await enqueued(), 0)
    t.ok(other.housekeeping.counts.drained > 0)
    const data = await server.psql('SELECT channel, data::int FROM livemessage.journal ORDER BY position')
    t.equal(data.length, 5_000)
    for (const who of clients) {
      const own = data.filter(({ channel }) => channel === `chat:${who}`).map((row) => row['data'])
      t.same(
        own,
        Array.from({ length: 1_000 }, (_, i) => i),
      )
    }
  },
)

void t.test('retention keeps the table from growing', async (t) => {
  const { housekeeping } = await make(t, { sweepMs: 50, sweepPauseMs: 5, sweepRows: 500 })
  await housekeeping.apply(
    new Map([
      ['chat', { journaled: true, maxBytes: 1_000, maxAgeMs: 300 }],
      ['tasks', { journaled: true, maxBytes: 1_000, maxAgeMs: 3_600_000 }],
    ]),
  )
  await server.psql(`SELECT livemessage.publish('tasks:1', '"kept"')`)
  const sizes: number[] = []
  let last = 0
  for (let round = 0; round < 8; round++) {
    for (let i = 0; i < 10; i++) {
      await server.psql(
        `SELECT livemessage.publish('chat:1', to_jsonb(repeat('x', 500))) FROM generate_series(1, 200)`,
      )
    }
    const [row] = await server.psql(
      `SELECT pg_total_relation_size('livemessage.journal') AS size, max(position) AS last FROM livemessage.journal`,
    )
    sizes.push(Number(row?.['size']))
    last = Number(row?.['last'])
    await until('the old ones to be gone', async () => (await journaled()) <= 1)
    await server.psql('VACUUM livemessage.journal') // as autovacuum does, in its own time
  }
  t.ok(
    Math.max(...sizes) <= 2.5 * sizes[0]!,
    `of eight rounds no more than two are there: ${sizes.join(' ')}`,
  )
  t.ok(last >= 16_000)
  t.same(await server.psql(`SELECT channel FROM livemessage.journal`), [{ channel: 'tasks:1' }])
  t.ok(housekeeping.counts.swept >= 16_000)
})

void t.test(
  'the database learns of the subsystems; in an outage as soon as it is over, the newest only',
  async (t) => {
    const { housekeeping, lines } = await make(t, { applyMs: 200 })
    const policies = (journaled: boolean) => new Map([['quotes', { journaled, maxBytes: 5, maxAgeMs: null }]])
    await housekeeping.apply(policies(true))
    t.match(await server.psql('SELECT name, journaled, max_bytes FROM livemessage.subsystem'), [
      { name: 'quotes', journaled: true, max_bytes: 5 },
    ])
    // What a dying server has acknowledged may be lost: with synchronous_commit=off it often is.
    await server.kill()
    await housekeeping.apply(policies(true))
    await housekeeping.apply(policies(false))
    await server.restart()
    await until('it to know', async () => {
      const [row] = await server.psql('SELECT journaled FROM livemessage.subsystem')
      return row?.['journaled'] === false
    })
    t.ok(lines.filter(({ msg }) => msg.includes('does not know the subsystems')).length <= 1)
  },
)

void t.test('while it fails it is said once, and once when it works again', async (t) => {
  const { housekeeping, lines } = await make(t)
  await server.psql('ALTER TABLE livemessage.queue RENAME TO away')
  await until('the log', () => lines.some(({ msg }) => msg === 'housekeeping fails, trying on'))
  await new Promise((resolve) => setTimeout(resolve, 200))
  await server.psql('ALTER TABLE livemessage.away RENAME TO queue')
  await until('the log', () => lines.some(({ msg }) => msg === 'housekeeping works again'))
  t.equal(lines.filter(({ msg }) => msg === 'housekeeping fails, trying on').length, 1)
  await enqueue('a', 0, 1)
  await until('it', () => housekeeping.counts.drained === 1)
})

void t.test(
  'a listener of ours that is frozen fills the NOTIFY queue: it is ended, those that read are not',
  async (t) => {
    // A Unix socket's or a proxied connection has no tcp_user_timeout: without it nobody else would end the session.
    const script = new URL('../support/listening-node.ts', import.meta.url).pathname
    const child = spawn(process.execPath, ['--import', 'tsx', script, server.url], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    await new Promise((resolve) => child.stdout.once('data', resolve))
    const healthy = new PgListener(['flood'], { url: server.url, checkMs: 200 })
    // One that reads, and says nothing for as long as the other one.
    const silentOne = new Client({ connectionString: server.url, application_name: 'livemessages listen' })
    await silentOne.connect()
    t.teardown(() => silentOne.end())
    await silentOne.query('LISTEN flood')
    let heardSilently = 0
    silentOne.on('notification', () => heardSilently++)
    let heard = 0
    const downs: string[] = []
    await healthy.start({
      onNotify: () => void heard++,
      onUp: () => {},
      onDown: (reason) => void downs.push(reason),
    })
    t.teardown(() => healthy.stop())
    const { housekeeping, lines } = await make(t, {
      watchMs: 50,
      queue: { silentMs: 1_500, looks: 3, lookMs: 100 },
    })
    await until('a look', () => housekeeping.queueUsage !== null)
    t.equal(housekeeping.queueUsage, 0)
    child.kill('SIGSTOP')
    const client = new Client({ connectionString: server.url })
    await client.connect()
    let said = 0
    await until('the queue to fill', async () => {
      for (let i = 0; i < 10; i++)
        await client.query(`SELECT pg_notify('flood', $1)`, [`${said++} ${'x'.repeat(7_000)}`])
      return housekeeping.queueUsage! > 0.25
    })
    await until('it to be ended', () => housekeeping.counts.endedListeners === 1)
    await until('the queue to be empty', () => housekeeping.queueUsage === 0)
    await client.query(`SELECT pg_notify('flood', 'last')`)
    said++
    await until('the others to hear all', () => heard === said && heardSilently === said)
    t.same(downs, [], 'the healthy one never noticed')
    await client.end()
    t.match(
      lines.map(({ level, msg }) => [level, msg]).filter(([level]) => level === 'error'),
      [
        ['error', /queue fills/],
        ['error', /was ended/],
      ],
    )
  },
)
