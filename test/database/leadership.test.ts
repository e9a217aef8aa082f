import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { createLeadership } from '../../src/database/leadership.ts'
import type { Leadership } from '../../src/database/leadership.ts'
import { migrate } from '../../src/database/migrate.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { recordLog } from '../sources/recorder.ts'
import { litter } from '../support/garbage.ts'
import { silent, startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'

t.setTimeout(120_000)

const TTL_MS = 900
const server = await startPostgres(t)
await migrate(server.url)

interface Options {
  url?: string
  ttlMs?: number
  log?: ReturnType<typeof recordLog>['log']
}

let nodes = 0
const make = (t: Test, { url = server.url, ttlMs = TTL_MS, log = silent() }: Options = {}) => {
  const holder = `node${++nodes}`
  const common = {
    applicationName: holder,
    minConnections: 0,
    cleanupTimeoutMs: 10_000,
    connectMs: 1_000,
    stopMs: 500,
  }
  const pool = createDatabase({ url, ...common, maxConnections: 3, log: silent() })
  const leadership = createLeadership({ pool, holder, log, ttlMs, stopMs: 300 })
  const changes: (number | null)[] = []
  leadership.onChange((token) => void changes.push(token))
  t.teardown(async () => {
    await leadership.stop()
    await pool.stop()
  })
  return { leadership, pool, holder, changes }
}

const leaderOf = (nodes: { leadership: Leadership }[]): number =>
  nodes.filter(({ leadership }) => leadership.token !== null).length

void t.test(
  'one of three leads, for many terms under one token; when it stops, the next one does',
  async (t) => {
    const three = [make(t), make(t), make(t)]
    await Promise.all(three.map(({ leadership }) => leadership.start()))
    t.equal(leaderOf(three), 1)
    const first = three.find(({ leadership }) => leadership.token !== null)!
    const { token } = first.leadership
    const end = Date.now() + 3 * TTL_MS
    while (Date.now() < end) {
      if (leaderOf(three) !== 1 || first.leadership.token !== token) t.fail('it changed hands')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const stopped = Date.now()
    await Promise.all([first.leadership.stop(), first.leadership.stop()])
    t.equal(first.leadership.token, null)
    await until('the next one', () => leaderOf(three) === 1)
    t.ok(Date.now() - stopped < TTL_MS / 2, 'it was given back: nobody waited for the end of the term')
    const next = three.find(({ leadership }) => leadership.token !== null)!
    t.ok(next.leadership.token! > token!)
    t.same(first.changes, [token, null])
    t.same(next.changes, [next.leadership.token])
  },
)

void t.test('a node that is cut off stops trusting its term before another one leads', async (t) => {
  const proxy = await startProxy(t, server.url)
  const lost = make(t, { url: proxy.url(server.url) })
  const other = make(t)
  await until('the lease to be free', async () => {
    await lost.leadership.start()
    return lost.leadership.token
  })
  await other.leadership.start()
  t.equal(other.leadership.token, null)
  proxy.blackhole(true)
  const cut = Date.now()
  let both = 0
  await until('the other one', () => {
    if (leaderOf([lost, other]) === 2) both++
    return other.leadership.token
  })
  t.equal(both, 0)
  t.ok(Date.now() - cut < TTL_MS + TTL_MS / 3 + 300, 'within a term and a renewal')
  t.equal(lost.changes.at(-1), null)
  proxy.cut()
  proxy.blackhole(false)
})

void t.test(
  'a backend that is frozen is left at the deadline, however much garbage is collected',
  async (t) => {
    const { log, lines } = recordLog()
    const { leadership, holder } = make(t, { log })
    const backends = (): Promise<Record<string, unknown>[]> =>
      server.psql('SELECT pid FROM pg_stat_activity WHERE application_name = $1', [holder])
    await until('it leads', async () => {
      await leadership.start()
      return leadership.token
    })
    const [first] = await backends()
    const pid = Number(first?.['pid'])
    t.teardown(litter())
    process.kill(pid, 'SIGSTOP')
    t.teardown(() => process.kill(pid, 'SIGCONT'))
    const frozen = Date.now()
    await until('the deadline', () =>
      lines.some(({ msg }) => msg.startsWith('the lead can not be asked for')),
    )
    await until('it is asked again', () => lines.some(({ msg }) => msg === 'the lead can be asked for again'))
    await until('it leads again', () => leadership.token)
    t.ok(Date.now() - frozen < 3 * TTL_MS)
    t.ok(
      (await backends()).some((backend) => backend['pid'] !== pid),
      'over another connection',
    )
  },
)

void t.test('a process that was busy for longer than a term does not trust it any more', async (t) => {
  const busy = make(t)
  await busy.leadership.start()
  await until('it leads', () => busy.leadership.token)
  const { token } = busy.leadership
  const end = performance.now() + TTL_MS
  while (performance.now() < end);
  t.equal(busy.leadership.token, null, 'by the clock, before any timer had its turn')
  await until('it leads again', () => busy.leadership.token)
  t.ok(busy.leadership.token! > token!, 'what was under way in the former term is refused')
  t.same(busy.changes, [token, null, busy.leadership.token])
})

void t.test('what a leader awaits when it begins is done before it asks again', async (t) => {
  const node = make(t)
  const order: string[] = []
  node.leadership.onChange(async (token) => {
    order.push(`${token === null} begins`)
    await new Promise((resolve) => setTimeout(resolve, 20))
    order.push(`${token === null} ends`)
  })
  await node.leadership.start()
  await until('it leads', () => node.leadership.token)
  t.same(order, ['false begins', 'false ends'])
})

void t.test('a stop in a black hole ends soon', async (t) => {
  const proxy = await startProxy(t, server.url)
  proxy.blackhole(true)
  const { leadership } = make(t, { url: proxy.url(server.url) })
  const starting = leadership.start()
  await until('a connection', () => proxy.connections > 0)
  const began = Date.now()
  await leadership.stop()
  await starting
  t.ok(Date.now() - began < 1_000)
  await leadership.start()
  t.equal(leadership.token, null)
})

/** A process of its own that leads, and writes into `acts` under the lease. */
const spawnNode = (t: Test, holder: string) => {
  const script = new URL('../support/leading-node.ts', import.meta.url).pathname
  const child = spawn(process.execPath, ['--import', 'tsx', script, server.url, holder, String(TTL_MS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => lines.push(line))
  t.teardown(() => child.kill('SIGKILL'))
  return { child, lines, leads: () => lines.findLast((line) => line.startsWith('token'))?.match(/\d+/) }
}

void t.test(
  'a leader is frozen: the lease moves; when it wakes it knows, or is refused, and does no harm',
  async (t) => {
    await server.psql('CREATE TABLE acts (id bigserial PRIMARY KEY, token bigint, holder text)')
    const acts = async (): Promise<number> =>
      Number((await server.psql('SELECT count(*) FROM acts'))[0]?.['count'])
    const frozen = spawnNode(t, 'frozen')
    await until('it leads', () => frozen.leads())
    const other = spawnNode(t, 'other')
    await until('acts', async () => (await acts()) > 5)
    frozen.child.kill('SIGSTOP')
    const stopped = Date.now()
    await until('the other one leads', () => other.leads())
    t.ok(Date.now() - stopped < TTL_MS + TTL_MS / 3 + 1_000, 'within a term and a renewal')
    frozen.child.kill('SIGCONT')
    await until('it knows', () => frozen.lines.includes('token null'))
    const before = await acts()
    await until('more acts', async () => (await acts()) > before + 20)
    const rows = await server.psql('SELECT holder, token FROM acts ORDER BY id')
    const changes = rows
      .filter(({ holder }, i) => holder !== rows[i - 1]?.['holder'])
      .map(({ holder }) => holder)
    t.same(changes, ['frozen', 'other'], 'it never acted again')
    t.same(
      frozen.lines.filter((line) => line.startsWith('refused') && !line.endsWith('LM001')),
      [],
    )
  },
)

void t.test(
  'who takes over waits for what is under way in the former term, and nothing of it comes later',
  async (t) => {
    const late = new Client({ connectionString: server.url })
    await late.connect()
    t.teardown(() => late.end())
    const take = (holder: string) =>
      server.psql(`SELECT livemessage.lease_take('fence', $1, 200) AS token`, [holder])
    const [first] = await take('one')
    await late.query('BEGIN')
    await late.query(`SELECT livemessage.check_lease('fence', $1)`, [first?.['token']])
    let taken = false
    const taking = until('the term to be over', async () => (await take('two'))[0]?.['token']).then(
      () => (taken = true),
    )
    await until('it to wait', async () => {
      const [row] = await server.psql(
        `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%lease_take%'`,
      )
      return row?.['n'] === 1
    })
    t.equal(taken, false)
    await late.query('COMMIT')
    await taking
    await t.rejects(late.query(`SELECT livemessage.check_lease('fence', $1)`, [first?.['token']]), {
      code: 'LM001',
    })
  },
)

void t.test(
  'appends and moves without a pause under the lease do not keep it from being renewed',
  async (t) => {
    const node = make(t)
    await node.leadership.start()
    await until('it leads', () => node.leadership.token)
    const { token } = node.leadership
    const end = Date.now() + 4 * TTL_MS
    // Each holds the lease's row for 20 ms, and one of them always does.
    const hold = async (delayMs: number): Promise<void> => {
      const client = new Client({ connectionString: server.url })
      await client.connect()
      await new Promise((resolve) => setTimeout(resolve, delayMs))
      while (Date.now() < end) {
        await client.query(
          `BEGIN; SELECT livemessage.check_lease('leader', ${token}); SELECT pg_sleep(0.02); COMMIT`,
        )
      }
      await client.end()
    }
    await Promise.all([0, 5, 10, 15].map(hold))
    t.equal(node.leadership.token, token)
    t.same(node.changes, [token])
  },
)

void t.test(
  'the database is away for longer than a term: nobody leads; when it is back, somebody does',
  async (t) => {
    const { log, lines } = recordLog()
    const two = [make(t, { log }), make(t)]
    await Promise.all(two.map(({ leadership }) => leadership.start()))
    await until('one', () => leaderOf(two) === 1)
    await server.kill()
    await until('none', () => leaderOf(two) === 0, TTL_MS + 500)
    await new Promise((resolve) => setTimeout(resolve, TTL_MS))
    t.equal(leaderOf(two), 0)
    await server.restart()
    await until('one again', () => leaderOf(two) === 1)
    await until('all to be told', () => lines.some(({ msg }) => msg.includes('can be asked for again')))
    const outages = lines.filter(({ msg }) => msg.includes('can not be asked for'))
    t.equal(outages.length, 1, 'one line when it began, one when it ended')
  },
)

void t.test(
  'a database without the tables: nobody leads, which is said once; after the migration somebody does',
  async (t) => {
    const bare = new URL(server.url)
    bare.pathname = '/bare'
    await server.psql('CREATE DATABASE bare')
    const { log, lines } = recordLog()
    const { leadership } = make(t, { url: bare.href, log, ttlMs: 300 })
    await leadership.start()
    const told = (): unknown[] =>
      lines.filter(({ msg }) => msg === 'this node will not lead before the database is migrated')
    await until('that is said', () => told().length > 0)
    // A few attempts more.
    await new Promise((resolve) => setTimeout(resolve, 500))
    t.equal(leadership.token, null)
    t.match(told(), [{ level: 'warn' }])
    t.equal(told().length, 1)
    await migrate(bare.href)
    await until('it leads', () => leadership.token)
  },
)
