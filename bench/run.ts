// oxlint-disable no-console
import { parseArgs } from 'node:util'
import { calls } from './scenarios/calls.ts'
import { commitToClient } from './scenarios/commit-to-client.ts'
import { contention } from './scenarios/contention.ts'
import { fanout } from './scenarios/fanout.ts'
import { poll, socketio, sse } from './scenarios/feeds.ts'
import { http } from './scenarios/http.ts'
import { idle, parked } from './scenarios/idle.ts'
import { journalHttp } from './scenarios/journal-http.ts'
import { journalSql } from './scenarios/journal-sql.ts'
import { journaled } from './scenarios/journaled.ts'
import { latency } from './scenarios/latency.ts'
import { reconnect } from './scenarios/reconnect.ts'
import { start } from './scenarios/start.ts'
import { storage } from './scenarios/storage.ts'
import { unicast } from './scenarios/unicast.ts'
import { buildLoad } from './support/load.ts'
import type { Measured } from './support/load.ts'
import { OTHER_CORE, pin } from './support/process.ts'
import { conditions, evidenceTable, table, writeReport } from './support/report.ts'
import type { Evidence, Row } from './support/report.ts'
import { hasDaemon } from './support/scenario.ts'
import type { Bench, Options, Scenario } from './support/scenario.ts'
import { buildDaemon } from './support/server.ts'
import { createServices } from './support/services.ts'

const SCENARIOS: readonly Scenario[] = [
  fanout,
  journaled,
  unicast,
  latency,
  http,
  idle,
  parked,
  sse,
  poll,
  socketio,
  calls,
  start,
  journalHttp,
  journalSql,
  contention,
  commitToClient,
  reconnect,
  storage,
]

const USAGE = `npm run bench -- [options]
  --only <names>     ${SCENARIOS.map(({ name }) => name).join(', ')} (several: with commas)
  --rounds <n>       rounds of each measurement (default 5; 2 with --quick)
  --quick            short windows: whether it works, not what it takes
  --control-only     leaves the daemon out: proves the bench itself
  --out <file>       writes the table between two marker comments of a Markdown file, too`

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    'control-only': { type: 'boolean', default: false },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) {
  console.log(USAGE)
} else {
  const options: Options = {
    rounds: Number(values.rounds ?? (values.quick ? 2 : 5)),
    quick: values.quick,
    controlOnly: values['control-only'],
  }
  const scenarios = chosen(values.only)
  if (!scenarios) console.error(`--only: no such scenario in '${values.only}'\n${USAGE}`)
  process.exitCode = scenarios ? await runAll(scenarios, options, values.out) : 2
}

/** Null where a name is unknown. */
function chosen(only: string | undefined): readonly Scenario[] | null {
  if (only === undefined) return SCENARIOS
  const found = only.split(',').map((name) => SCENARIOS.find((scenario) => scenario.name === name))
  return found.every((scenario) => scenario !== undefined) ? found : null
}

async function runAll(
  scenarios: readonly Scenario[],
  options: Options,
  out: string | undefined,
): Promise<number> {
  await buildLoad()
  // The runner, and what it starts later: everything but the servers.
  await pin(process.pid, OTHER_CORE)
  if (hasDaemon(options)) await buildDaemon()
  else console.error('without the daemon: only the control is measured')

  const rows: Row[] = []
  const faults: string[] = []
  const evidence: (Evidence & { measured: Measured[] })[] = []
  const services = createServices()
  const bench: Bench = {
    ...options,
    say: (text) => console.error(text),
    fault: (text) => faults.push(text),
    keep(scenario, kind, measured) {
      const known = evidence.find((one) => one.scenario === scenario && one.kind === kind)
      if (known) known.measured.push(measured)
      else evidence.push({ scenario, kind, measured: [measured] })
    },
    database: () => services.database(),
    broker: () => services.broker(),
  }
  try {
    for (const scenario of scenarios) {
      try {
        rows.push(...(await scenario.run(bench)))
      } catch (error) {
        console.error(error)
        faults.push(`${scenario.name}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
  } finally {
    await services.stop()
  }
  const parts = [table(rows), `${await conditions(options.rounds, options.quick)}.`]
  if (evidence.length > 0) parts.push(evidenceTable(evidence))
  const text = parts.join('\n\n')
  console.log(`\n${text}`)
  if (out !== undefined && faults.length === 0) await writeReport(out, text)
  for (const fault of faults) console.error(`FAULT ${fault}`)
  return faults.length === 0 ? 0 : 1
}
