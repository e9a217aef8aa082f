import { Client } from 'pg'
import { findPgbench, pgbench } from '../support/pgbench.ts'
import { commitMs, startPostgres, withClient } from '../support/postgres.ts'
import type { Postgres } from '../support/postgres.ts'
import { ALL_CORES } from '../support/process.ts'
import { findReplicable, startReplica } from '../support/replica.ts'
import type { Row } from '../support/report.ts'
import { hasDaemon } from '../support/scenario.ts'
import type { Bench, Scenario } from '../support/scenario.ts'
import { DATA, INSERT_AND_NOTIFY, PUBLISH, withSettings } from '../support/scripts.ts'
import { removeFolder, startDaemon } from '../support/server.ts'

const CLIENTS = 60
const TITLE = `${CLIENTS} applications publish and then take 50 ms`

/** Published behind the old snapshot's back. */
const BEHIND = 20_000

type Manner = 'publish' | 'without' | 'notify' | 'lock'

interface Case {
  readonly name: string
  readonly isolation?: string
  readonly settings?: Readonly<Record<string, string | number>>
  /** Each is a row of its own, with the publishing transactions beside it. */
  readonly controls?: readonly Manner[]
  readonly target?: number
}

const CASES: readonly Case[] = [
  { name: 'READ COMMITTED', target: 0.85, controls: ['without', 'notify', 'lock'] },
  { name: 'REPEATABLE READ', target: 0.85, isolation: 'REPEATABLE READ' },
  { name: 'commit_delay 1 ms', settings: { commit_delay: 1000 }, controls: ['without', 'notify'] },
]

const OLD: readonly Case[] = [
  {
    name: `READ COMMITTED, a snapshot open since ${BEHIND.toLocaleString('en')} publications`,
    target: 0.85,
  },
]

const REPLICATED: readonly Case[] = [{ name: 'a synchronous replica', controls: ['without', 'notify'] }]

const AGAINST: Record<Manner, string> = {
  publish: '',
  without: '',
  notify: ', against an insert and NOTIFY in place of the publish',
  lock: ', against a lock held from there to the commit',
}

/** Whether publishing early in a long transaction makes others wait. The control does not publish. */
export const contention: Scenario = {
  name: 'contention',
  async run(bench) {
    const program = await findPgbench()
    if (program === null || !hasDaemon(bench)) {
      bench.say('contention is left out: it needs pgbench (Debian: postgresql-contrib) and the daemon')
      return []
    }
    const rows: Row[] = []
    const postgres = await startPostgres({ cores: ALL_CORES })
    try {
      const url = await postgres.newDatabase()
      await withDaemon(url, async () => {
        for (const one of CASES) rows.push(...(await measure(bench, program, url, one)))
        const old = await openSnapshot(url)
        try {
          for (const one of OLD) rows.push(...(await measure(bench, program, url, one)))
        } finally {
          await old.end()
        }
      })
    } finally {
      await postgres.stop()
    }
    return [...rows, ...(await replicated(bench, program))]
  },
}

async function replicated(bench: Bench, program: string): Promise<Row[]> {
  const binaries = await findReplicable()
  if (binaries === null) {
    bench.say('the synchronous replica is left out: it needs pg_basebackup (Debian: postgresql)')
    return []
  }
  const postgres: Postgres = await startPostgres({ cores: ALL_CORES, binaries })
  try {
    const url = await postgres.newDatabase()
    const rows: Row[] = []
    await withDaemon(url, async () => {
      const stop = await startReplica(postgres, binaries)
      try {
        for (const one of REPLICATED) {
          const name = `PostgreSQL ${binaries.major}, ${one.name}`
          rows.push(...(await measure(bench, program, url, { ...one, name })))
        }
      } finally {
        await stop()
      }
    })
    return rows
  } finally {
    await postgres.stop()
  }
}

/** With a node that listens and keeps house, as it is in production. */
async function withDaemon(url: string, work: () => Promise<void>): Promise<void> {
  const daemon = await startDaemon({ database: url })
  try {
    await work()
  } finally {
    await daemon.stop()
    await removeFolder(daemon.folder)
  }
}

async function measure(bench: Bench, program: string, url: string, it: Case): Promise<Row[]> {
  const { name, isolation = 'READ COMMITTED', settings = {}, controls = ['without'], target } = it
  const results: Record<Manner, number[]> = { publish: [], without: [], notify: [], lock: [] }
  const commits: number[] = []
  const rounds = bench.quick ? 1 : Math.min(bench.rounds, 2)
  const manners: readonly Manner[] = ['publish', ...controls]
  for (let round = 0; round < rounds; round++) {
    bench.say(`contention, ${name}: round ${round + 1} of ${rounds}`)
    commits.push(await commitMs(url))
    for (const manner of round % 2 === 0 ? manners : manners.toReversed()) {
      const run = { clients: CLIENTS, seconds: bench.quick ? 2 : 3 }
      const result = await pgbench(program, withSettings(url, settings), scriptOf(manner, isolation), run)
      if (result.failed > 0)
        bench.fault(`contention, ${name}, ${manner}: ${result.failed} transactions failed`)
      results[manner].push(result.perSecond)
    }
  }
  const rows = controls.map((manner): Row => {
    const base = { control: results[manner], daemon: results.publish, figure: 'transactions/s' }
    const scenario = `${TITLE}: ${name}${AGAINST[manner]}`
    return target !== undefined && manner === 'without'
      ? { scenario, ...base, target: { ratio: target } }
      : { scenario, ...base }
  })
  const disk = `${TITLE}: ${name}: the disk before each round`
  return [...rows, { scenario: disk, figure: 'ms a commit', control: commits, daemon: [] }]
}

/** Each writes something of its own, too, so that there is something to commit. */
function scriptOf(manner: Manner, isolation: string): string {
  const publish: Record<Manner, readonly string[]> = {
    publish: [PUBLISH],
    without: [],
    notify: [INSERT_AND_NOTIFY],
    lock: ['SELECT pg_advisory_xact_lock(1);', INSERT_AND_NOTIFY],
  }
  return [
    `BEGIN ISOLATION LEVEL ${isolation};`,
    ...publish[manner],
    `INSERT INTO control.work (note) VALUES ('a row of the application');`,
    '\\sleep 50 ms',
    'COMMIT;',
    '',
  ].join('\n')
}

/** Nothing that dies from now on can be removed while it is open. */
async function openSnapshot(url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
  await client.query('SELECT count(*) FROM livemessage.meta')
  await withClient(url, async (other) => {
    for (let sent = 0; sent < BEHIND; sent += 1000) {
      await other.query(`SELECT livemessage.publish('kept:2', $1::jsonb) FROM generate_series(1, 1000)`, [
        DATA,
      ])
    }
  })
  return client
}
