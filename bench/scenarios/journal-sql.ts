import { findPgbench, pgbench } from '../support/pgbench.ts'
import { commitMs, startPostgres } from '../support/postgres.ts'
import { ALL_CORES } from '../support/process.ts'
import type { Row } from '../support/report.ts'
import { hasDaemon } from '../support/scenario.ts'
import type { Bench, Rounds, Scenario } from '../support/scenario.ts'
import { INSERT_AND_NOTIFY, PUBLISH, withSettings } from '../support/scripts.ts'
import { removeFolder, startControl, startDaemon } from '../support/server.ts'
import type { Kind, Server } from '../support/server.ts'

const CLIENTS = 8

/** Durable, both wait for the disk, one transaction after another; without that, what is left is CPU. */
const DURABLE = { synchronous_commit: 'on' }
const LOSSY = { synchronous_commit: 'off' }

type Urls = Record<Kind, string>

/** `select livemessage.publish(…)` by itself, a transaction each, against the same insert with a `pg_notify`. */
export const journalSql: Scenario = {
  name: 'journal-sql',
  async run(bench) {
    const program = await findPgbench()
    if (program === null || !hasDaemon(bench)) {
      bench.say('journal-sql is left out: it needs pgbench (Debian: postgresql-contrib) and the daemon')
      return []
    }
    const postgres = await startPostgres({ cores: ALL_CORES })
    try {
      const urls = { control: await postgres.newDatabase(), daemon: await postgres.newDatabase() }
      const alone = await measure(bench, program, urls, 'nobody listening')
      const servers: Server[] = []
      try {
        servers.push(await startControl(urls.control), await startDaemon({ database: urls.daemon }))
        return [...alone, ...(await measure(bench, program, urls, 'a node listening'))]
      } finally {
        for (const server of servers) {
          await server.stop()
          await removeFolder(server.folder)
        }
      }
    } finally {
      await postgres.stop()
    }
  },
}

async function measure(bench: Bench, program: string, urls: Urls, name: string): Promise<Row[]> {
  const rounds = Math.min(bench.rounds, 3)
  const durable: Rounds<number> = { control: [], daemon: [] }
  const lossy: Rounds<number> = { control: [], daemon: [] }
  const commits: number[] = []
  const once = async (kind: Kind, settings: Record<string, string>): Promise<number> => {
    const script = kind === 'control' ? INSERT_AND_NOTIFY : PUBLISH
    const run = { clients: CLIENTS, seconds: bench.quick ? 1 : 2 }
    const { perSecond, failed } = await pgbench(program, withSettings(urls[kind], settings), script, run)
    if (failed > 0) bench.fault(`publish by SQL, ${name}, ${kind}: ${failed} transactions failed`)
    return perSecond
  }
  for (let round = 0; round < rounds; round++) {
    bench.say(`publish by SQL, ${name}: round ${round + 1} of ${rounds}`)
    commits.push(await commitMs(urls.control))
    const kinds: readonly Kind[] = round % 2 === 0 ? ['control', 'daemon'] : ['daemon', 'control']
    for (const kind of kinds) durable[kind].push(await once(kind, DURABLE))
    for (const kind of kinds) lossy[kind].push(await once(kind, LOSSY))
  }
  const title = `publish by SQL, one a transaction, ${CLIENTS} clients, ${name}`
  const figure = 'transactions/s'
  return [
    { scenario: title, figure, ...durable, target: { ratio: 0.75 } },
    { scenario: `${title}, synchronous_commit=off`, figure, ...lossy },
    { scenario: `${title}: the disk before each round`, figure: 'ms a commit', control: commits, daemon: [] },
  ]
}
