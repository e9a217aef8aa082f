import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'pg'
import { startApplication } from '../support/application.ts'
import { numberOf, startPostgres, withClient } from '../support/postgres.ts'
import type { Row } from '../support/report.ts'
import { hasDaemon } from '../support/scenario.ts'
import type { Bench, Scenario } from '../support/scenario.ts'
import { DATA } from '../support/scripts.ts'
import { removeFolder, startDaemon } from '../support/server.ts'
import { brief } from '../support/stats.ts'

const PUBLICATIONS = 50_000

/** Short, so that many ages fit into a run; the server's vacuum looks as often as the daemon sweeps. */
const MAX_AGE_SECONDS = 2
const NAP_SECONDS = 5
const RATE = 2_000
const SAMPLE_SECONDS = 3

/** What a publication of 128 bytes takes on disk, and whether retention keeps the table from growing. */
export const storage: Scenario = {
  name: 'storage',
  async run(bench) {
    const postgres = await startPostgres({ settings: { autovacuum_naptime: `${NAP_SECONDS}s` } })
    try {
      const rows = await sizes(await postgres.newDatabase())
      const bytesEach = rows.reduce((sum, { daemon }) => sum + daemon[0]!, 0)
      return [...rows, ...(await retention(bench, await postgres.newDatabase(), bytesEach))]
    } finally {
      await postgres.stop()
    }
  },
}

function sizes(url: string): Promise<Row[]> {
  return withClient(url, async (client) => {
    for (let sent = 0; sent < PUBLICATIONS; sent += 1000) {
      await client.query(
        `SELECT livemessage.publish('kept:' || n, $1::jsonb) FROM generate_series(1, 1000) AS n`,
        [DATA],
      )
    }
    await client.query(
      `INSERT INTO control.journal (channel, time, tag, data) SELECT channel, time, tag, data FROM livemessage.journal`,
    )
    const of = async (sql: string): Promise<{ control: number[]; daemon: number[] }> => ({
      control: [(await numberOf(client, sql, ['control.journal'])) / PUBLICATIONS],
      daemon: [(await numberOf(client, sql, ['livemessage.journal'])) / PUBLICATIONS],
    })
    const scenario = `a publication of ${DATA.length} bytes in the table`
    return [
      { scenario, figure: 'bytes of the heap', ...(await of('SELECT pg_relation_size($1::regclass)')) },
      { scenario, figure: 'bytes of the indexes', ...(await of('SELECT pg_indexes_size($1::regclass)')) },
    ]
  })
}

async function retention(bench: Bench, url: string, bytesEach: number): Promise<Row[]> {
  if (!hasDaemon(bench)) return []
  const seconds = bench.quick ? 12 : 54
  const daemon = await startDaemon({ database: url, maxAge: `${MAX_AGE_SECONDS}s` })
  try {
    const samples = await withClient(url, async (client) => {
      const application = await startApplication({
        source: 'many',
        url,
        subsystem: 'kept',
        rest: '%d',
        spread: 100,
        count: RATE * seconds,
        rate: RATE,
        size: 128,
      })
      const published = application.run()
      const samples: Sample[] = []
      for (let at = SAMPLE_SECONDS; at <= seconds; at += SAMPLE_SECONDS) {
        await sleep(SAMPLE_SECONDS * 1000)
        samples.push(await sampleOf(client))
        bench.say(`retention: ${describe(samples.at(-1)!)}`)
      }
      await published
      return samples
    })
    const third = Math.ceil(samples.length / 3)
    const most = (part: readonly Sample[]): number => Math.max(...part.map(({ bytes }) => bytes)) / 2 ** 20
    const middle = most(samples.slice(third, -third))
    const last = most(samples.slice(-third))
    if (!bench.quick && last > middle * 1.25) {
      bench.fault(
        `retention: ${last.toFixed(1)} MiB in the last third, ${middle.toFixed(1)} in the one before`,
      )
    }
    const scenario = `${brief(RATE)} publications/s for ${seconds} s, kept for ${MAX_AGE_SECONDS} s, vacuum every ${NAP_SECONDS} s`
    const figure = (what: string, value: number): Row => ({
      scenario,
      figure: what,
      control: [],
      daemon: [value],
    })
    return [
      figure('most MiB on disk, first third', most(samples.slice(0, third))),
      figure('most MiB on disk, second third', middle),
      figure('most MiB on disk, last third', last),
      figure('MiB on disk were nothing deleted', (samples.at(-1)!.head * bytesEach) / 2 ** 20),
    ]
  } finally {
    await daemon.stop()
    await removeFolder(daemon.folder)
  }
}

interface Sample {
  /** Heap and indexes of the journal, and what waits for its commit. */
  readonly bytes: number
  readonly rows: number
  readonly head: number
}

async function sampleOf(client: Client): Promise<Sample> {
  return {
    bytes: await numberOf(
      client,
      `SELECT pg_total_relation_size('livemessage.journal') + pg_total_relation_size('livemessage.pending')`,
    ),
    rows: await numberOf(client, 'SELECT count(*) FROM livemessage.journal'),
    head: await numberOf(client, 'SELECT last_value FROM livemessage.positions'),
  }
}

function describe({ bytes, rows, head }: Sample): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB, ${rows} rows of ${head} that were published`
}
