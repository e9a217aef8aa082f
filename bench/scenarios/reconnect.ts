import type { Client } from 'pg'
import { startApplication } from '../support/application.ts'
import { numberOf, startPostgres, withClient } from '../support/postgres.ts'
import type { Postgres } from '../support/postgres.ts'
import { cpuOf, cpuOfFamily } from '../support/process.ts'
import type { Row } from '../support/report.ts'
import { hasDaemon, row, withLoad } from '../support/scenario.ts'
import type { Bench, Rounds, Scenario } from '../support/scenario.ts'
import { removeFolder, startControl, startDaemon } from '../support/server.ts'
import type { Kind, Server } from '../support/server.ts'

interface Storm {
  readonly title: string
  /** `%d`: the client's number. */
  readonly channel: string
  readonly clients: number
  /** Publications that each client has missed. */
  readonly missed: number
  /** Publications to another channel since then. */
  readonly busy: number
  /** The daemon's, where it is not to hold what was missed. */
  readonly windowBytes?: number
}

interface Recovered {
  readonly seconds: number
  readonly serverCpu: number
  readonly postgresCpu: number
  readonly statements: number
}

/** Publications a second to the busy channel while the clients come. */
const BUSY_RATE = 200

/**
 * A server that has just started, and everybody comes at once with a cursor of before. The control asks the database
 * once for each of them.
 */
export const reconnect: Scenario = {
  name: 'reconnect',
  async run(bench) {
    const clients = bench.quick ? 2_000 : 10_000
    const many = clients.toLocaleString('en')
    const postgres = await startPostgres({ settings: { shared_preload_libraries: 'pg_stat_statements' } })
    try {
      return [
        ...(await measure(bench, postgres, {
          title: `${many} clients come back at once, 100 missed on one channel`,
          channel: 'kept:1',
          clients,
          missed: 100,
          busy: 0,
        })),
        ...(await measure(bench, postgres, {
          title: `${many} clients on ${many} quiet channels come back at once, one missed on each, beside a busy one`,
          channel: 'kept:%d',
          clients,
          missed: 1,
          busy: 20_000,
          windowBytes: 1024 * 1024,
        })),
      ]
    } finally {
      await postgres.stop()
    }
  },
}

async function measure(bench: Bench, postgres: Postgres, storm: Storm): Promise<Row[]> {
  const { title } = storm
  const rounds: Rounds<Recovered> = { control: [], daemon: [] }
  const kinds: readonly Kind[] = hasDaemon(bench) ? ['control', 'daemon'] : ['control']
  const databases = { control: await postgres.newDatabase(), daemon: await postgres.newDatabase() }
  const cursors = {
    control: await fill(databases.control, 'control', storm),
    daemon: await fill(databases.daemon, 'daemon', storm),
  }
  const count = Math.min(bench.rounds, 3)
  for (let round = 0; round < count; round++) {
    for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) {
      bench.say(`${title}: round ${round + 1} of ${count}, ${kind}`)
      const database = databases[kind]
      const { windowBytes } = storm
      const server = await (kind === 'control'
        ? startControl(database)
        : startDaemon({ database, ...(windowBytes === undefined ? {} : { windowBytes }) }))
      try {
        rounds[kind].push(await recover(bench, postgres, server, database, cursors[kind], storm))
      } finally {
        await server.stop()
        await removeFolder(server.folder)
      }
    }
  }
  return [
    row(title, 'seconds until all have what they missed', rounds, (r) => r.seconds),
    row(title, "seconds of the server's CPU", rounds, (r) => r.serverCpu),
    row(title, "seconds of PostgreSQL's CPU", rounds, (r) => r.postgresCpu),
    row(title, 'database statements meanwhile', rounds, (r) => r.statements, { most: 100 }),
  ]
}

async function recover(
  bench: Bench,
  postgres: Postgres,
  server: Server,
  database: string,
  since: string,
  { title, channel, clients, missed, busy }: Storm,
): Promise<Recovered> {
  await server.settle()
  const source = server.kind === 'daemon' ? 'publish' : 'insert'
  const busyJob = { source, url: database, subsystem: 'kept', rest: 'busy', spread: 1, size: 128 } as const
  const publisher =
    busy === 0 ? null : await startApplication({ ...busyJob, rate: BUSY_RATE, count: 2 * BUSY_RATE })
  return withClient(database, async (client) => {
    await client.query('SELECT pg_stat_statements_reset()')
    const before = { server: await cpuOf(server.pid), postgres: await cpuOfFamily(postgres.pid) }
    const published = publisher?.run()
    const outcome = await withLoad(server, async (load) => {
      const opened = await load.recover(clients, channel, { since, missed })
      const statements = await countStatements(client)
      const serverCpu = (await cpuOf(server.pid)) - before.server
      const postgresCpu = (await cpuOfFamily(postgres.pid)) - before.postgres
      return { opened, statements, serverCpu, postgresCpu }
    })
    await published
    const { opened, ...figures } = outcome
    if (opened.recovered !== clients || opened.messages !== clients * missed) {
      bench.fault(
        `${title}, ${server.kind}: ${opened.recovered} of ${clients} recovered, ${opened.messages} messages`,
      )
    }
    return { seconds: opened.seconds, ...figures }
  })
}

/** Of the server that is measured: neither ours nor the publisher's, with what its commits run. */
function countStatements(client: Client): Promise<number> {
  return numberOf(
    client,
    `SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND query !~ 'pg_stat_statements|livemessage\\.publish|WITH kept|^INSERT INTO livemessage'`,
  )
}

/** What was missed, and what came to the busy channel since. Returns the cursor of before. */
async function fill(
  database: string,
  kind: Kind,
  { channel, clients, missed, busy }: Storm,
): Promise<string> {
  return withClient(database, async (client) => {
    await client.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements')
    const publish = (name: string, count: number, step: number): Promise<void> =>
      publishAll(client, kind, { name, count, step })
    await publish('kept:before', 1, 1)
    const cursor =
      kind === 'daemon'
        ? await client.query<{ cursor: string }>(
            `SELECT m.epoch || '-' || (SELECT max(position) FROM livemessage.journal) AS cursor FROM livemessage.meta AS m`,
          )
        : await client.query<{ cursor: string }>(
            `SELECT '000000000000-' || max(position) AS cursor FROM control.journal`,
          )
    if (channel.includes('%d')) await publish(channel, clients * missed, missed)
    else await publish(channel, missed, missed)
    await publish('kept:busy', busy, busy)
    await client.query(
      kind === 'daemon' ? 'VACUUM ANALYZE livemessage.journal' : 'VACUUM ANALYZE control.journal',
    )
    return cursor.rows[0]!.cursor
  })
}

/** A thousand in one transaction. `%d` in the name goes up by one every `step` publications. */
async function publishAll(
  client: Client,
  kind: Kind,
  { name, count, step }: { name: string; count: number; step: number },
): Promise<void> {
  const data = `jsonb_build_object('t', lpad('', 18, '0'), 'n', lpad((n % $3 + 1)::text, 10, '0'), 'p', repeat('x', 70))`
  const rows = `SELECT replace($4, '%d', (n / $3)::text) AS channel, ${data} AS data
    FROM generate_series($1::int, $2::int) AS n`
  for (let first = 0; first < count; first += 1000) {
    const values = [first, Math.min(first + 1000, count) - 1, step, name]
    await client.query(
      kind === 'daemon'
        ? `SELECT livemessage.publish_many(jsonb_agg(jsonb_build_object('channel', p.channel, 'data', p.data))) FROM (${rows}) AS p`
        : `INSERT INTO control.journal (channel, time, tag, data) SELECT p.channel, 0, 0, p.data::text FROM (${rows}) AS p`,
      values,
    )
  }
}
