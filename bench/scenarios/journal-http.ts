import { alternate, row, verify, withLoad } from '../support/scenario.ts'
import type { Scenario } from '../support/scenario.ts'

const TITLE = 'journaled HTTP publish, 64 keep-alive connections'
const CHANNEL = 'kept:1'

/** What a POST /publish costs that is in the database when it is answered. The control inserts, in batches too. */
export const journalHttp: Scenario = {
  name: 'journal-http',
  async run(bench) {
    const rounds = await alternate(
      bench,
      TITLE,
      (server) =>
        withLoad(server, async (load) => {
          await load.open(1, CHANNEL)
          await server.settle()
          const window = { seconds: bench.quick ? 1 : 4, warmup: bench.quick ? 0.3 : 1 }
          const measured = await load.post({ channel: CHANNEL, connections: 64, fan: 1, ...window })
          return verify(bench, server, TITLE, measured)
        }),
      { database: await bench.database(), controlDatabase: await bench.database() },
    )
    return [
      row(TITLE, 'publications/s', rounds, (m) => m.sent / m.seconds, { ratio: 0.7 }),
      row(TITLE, 'CPU of the server, µs each', rounds, (m) => (m.serverCpu / m.sent) * 1e6),
      row(TITLE, 'answer p50, ms', rounds, (m) => m.answers.p50 / 1e6),
      row(TITLE, 'answer p99, ms', rounds, (m) => m.answers.p99 / 1e6),
    ]
  },
}
