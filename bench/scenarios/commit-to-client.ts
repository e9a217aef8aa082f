import { startApplication } from '../support/application.ts'
import { alternate, row, verify, withLoad } from '../support/scenario.ts'
import type { Scenario } from '../support/scenario.ts'

const SUBSCRIBERS = 1_000
const RATE = 20
const TITLE = 'COMMIT → client, 1,000 × 20/s'

/**
 * From just before `select livemessage.publish(…)`, which commits by itself, to the read that brought it. The control
 * hears a plain insert's NOTIFY.
 */
export const commitToClient: Scenario = {
  name: 'commit-to-client',
  async run(bench) {
    const seconds = bench.quick ? 2 : 5
    const databases = { daemon: await bench.database(), control: await bench.database() }
    const rounds = await alternate(
      bench,
      TITLE,
      (server) =>
        withLoad(server, async (load) => {
          await load.open(SUBSCRIBERS, 'kept:1')
          await server.settle()
          const source = server.kind === 'daemon' ? 'publish' : 'insert'
          const common = { source, url: databases[server.kind], subsystem: 'kept', rest: '1' } as const
          const job = { ...common, spread: 1, rate: RATE, size: 128 }
          const warm = await startApplication({ ...job, count: RATE })
          await load.receive(RATE * SUBSCRIBERS, 30, () => warm.run())
          const count = RATE * seconds
          const application = await startApplication({ ...job, count })
          const measured = await load.receive(count * SUBSCRIBERS, seconds + 30, () => application.run())
          return verify(bench, server, TITLE, measured)
        }),
      { database: databases.daemon, controlDatabase: databases.control },
    )
    return [
      row(TITLE, 'p50, ms', rounds, (m) => m.latency.p50 / 1e6),
      row(TITLE, 'p99, ms', rounds, (m) => m.latency.p99 / 1e6),
      row(TITLE, 'max, ms', rounds, (m) => m.latency.max / 1e6),
    ]
  },
}
