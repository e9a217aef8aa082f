import { alternate, row, verify, withLoad } from '../support/scenario.ts'
import type { Scenario } from '../support/scenario.ts'

const TITLE = 'HTTP publish to one subscriber, 64 keep-alive connections'

/** What a POST /publish costs, on a transient channel. */
export const http: Scenario = {
  name: 'http',
  async run(bench) {
    const rounds = await alternate(bench, 'HTTP publish', (server) =>
      withLoad(server, async (load) => {
        await load.open(1, 'bench:1')
        await server.settle()
        const window = { seconds: bench.quick ? 1 : 4, warmup: bench.quick ? 0.3 : 1 }
        const measured = await load.post({ channel: 'bench:1', connections: 64, fan: 1, ...window })
        return verify(bench, server, TITLE, measured)
      }),
    )
    return [
      row(TITLE, 'requests/s', rounds, (m) => m.sent / m.seconds),
      row(TITLE, 'requests per CPU-second', rounds, (m) => m.sent / m.serverCpu, { ratio: 0.7 }),
      row(TITLE, 'answer p50, ms', rounds, (m) => m.answers.p50 / 1e6),
      row(TITLE, 'answer p99, ms', rounds, (m) => m.answers.p99 / 1e6),
    ]
  },
}
