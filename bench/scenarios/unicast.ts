import type { Job } from '../publisher.ts'
import { startApplication } from '../support/application.ts'
import type { Measured } from '../support/load.ts'
import type { Row } from '../support/report.ts'
import { alternate, hasDaemon, perSecond, row, verify, withLoad } from '../support/scenario.ts'
import type { Bench, Rounds, Scenario } from '../support/scenario.ts'

const SUBSCRIBERS = 5_000

/** Each subscriber on a channel of its own: what one small message costs, by source. */
export const unicast: Scenario = {
  name: 'unicast',
  async run(bench) {
    const http = await alternate(bench, 'unicast by HTTP', (server) =>
      withLoad(server, async (load) => {
        await load.open(SUBSCRIBERS, 'bench:%d')
        await server.settle()
        const window = { seconds: bench.quick ? 1 : 4, warmup: bench.quick ? 0.3 : 1 }
        const measured = await load.post({
          channel: 'bench:%d',
          spread: SUBSCRIBERS,
          fan: 1,
          connections: 64,
          ...window,
        })
        return verify(bench, server, 'unicast to 5,000, HTTP', measured)
      }),
    )
    const rows = rowsOf('HTTP, 64 connections', http)
    if (!hasDaemon(bench)) return rows

    const broker = await bench.broker()
    if (broker !== null) {
      const job = { source: 'amqp', url: broker, count: bench.quick ? 10_000 : 50_000 } as const
      rows.push(...rowsOf('AMQP, confirmed', await bySource(bench, job)))
    }
    const job = {
      source: 'notify',
      url: await bench.database(),
      count: bench.quick ? 10_000 : 100_000,
    } as const
    rows.push(...rowsOf('NOTIFY, 100 a transaction', await bySource(bench, job)))
    return rows
  },
}

/** The same on the daemon with a source that the control has not. */
function bySource(bench: Bench, part: Pick<Job, 'source' | 'url' | 'count'>): Promise<Rounds<Measured>> {
  const job: Job = { ...part, subsystem: 'bench', rest: '%d', spread: SUBSCRIBERS, rate: 0, size: 128 }
  return alternate(
    bench,
    `unicast by ${part.source}`,
    (server) =>
      withLoad(server, async (load) => {
        await load.open(SUBSCRIBERS, 'bench:%d')
        await server.settle()
        const application = await startApplication(job)
        const measured = await load.receive(job.count, 120, () => application.run())
        return verify(bench, server, `unicast to 5,000, ${part.source}`, measured)
      }),
    { kinds: ['daemon'], ...(part.source === 'amqp' ? { broker: part.url } : { database: part.url }) },
  )
}

function rowsOf(name: string, rounds: Rounds<Measured>): Row[] {
  const title = `unicast to 5,000, ${name}`
  return [
    row(title, 'messages/s', rounds, perSecond),
    row(title, 'CPU of the server, µs a message', rounds, (m) => (m.serverCpu / m.received) * 1e6),
  ]
}
