import type { Job } from '../publisher.ts'
import { startApplication } from '../support/application.ts'
import type { Load, Measured } from '../support/load.ts'
import type { Row } from '../support/report.ts'
import { alternate, hasDaemon, row, verify, withLoad } from '../support/scenario.ts'
import type { Bench, Rounds, Scenario } from '../support/scenario.ts'
import type { DaemonOptions } from '../support/server.ts'

const SUBSCRIBERS = 1_000
const RATE = 20
const CHANNEL = 'bench:1'

/** From publishing to receiving, at 1,000 subscribers and 20 publications a second. */
export const latency: Scenario = {
  name: 'latency',
  async run(bench) {
    const seconds = bench.quick ? 2 : 10
    const window = { channel: CHANNEL, rate: RATE, seconds, warmup: 1 }
    const rows = [
      ...rowsOf('WebSocket', await measure(bench, 'WebSocket', {}, (load) => load.publish(window))),
      ...rowsOf(
        'HTTP',
        await measure(bench, 'HTTP', {}, (load) =>
          load.post({ ...window, connections: 4, fan: SUBSCRIBERS }),
        ),
      ),
    ]
    if (!hasDaemon(bench)) return rows

    const broker = await bench.broker()
    if (broker !== null) {
      const options = { broker }
      const rounds = await measure(bench, 'AMQP', options, (load) => bySource(load, 'amqp', broker, seconds))
      rows.push(...rowsOf('AMQP', rounds))
    }
    const database = await bench.database()
    const rounds = await measure(bench, 'NOTIFY', { database }, (load) =>
      bySource(load, 'notify', database, seconds),
    )
    return [...rows, ...rowsOf('NOTIFY', rounds)]
  },
}

function measure(
  bench: Bench,
  name: string,
  options: DaemonOptions,
  publish: (load: Load) => Promise<Measured>,
): Promise<Rounds<Measured>> {
  const kinds = Object.keys(options).length > 0 ? (['daemon'] as const) : (['control', 'daemon'] as const)
  return alternate(
    bench,
    `latency by ${name}`,
    (server) =>
      withLoad(server, async (load) => {
        await load.open(SUBSCRIBERS, CHANNEL)
        await server.settle()
        return verify(bench, server, `1,000 × 20/s, ${name}`, await publish(load))
      }),
    { ...options, kinds },
  )
}

async function bySource(load: Load, source: Job['source'], url: string, seconds: number): Promise<Measured> {
  const common = { source, url, subsystem: 'bench', rest: '1', spread: 1, rate: RATE, size: 128 }
  const warm = await startApplication({ ...common, count: RATE })
  await load.receive(RATE * SUBSCRIBERS, 30, () => warm.run())
  const count = RATE * seconds
  const application = await startApplication({ ...common, count })
  return load.receive(count * SUBSCRIBERS, seconds + 30, () => application.run())
}

function rowsOf(name: string, rounds: Rounds<Measured>): Row[] {
  const title = `published → received, 1,000 × 20/s, ${name}`
  return [
    row(title, 'p50, ms', rounds, (m) => m.latency.p50 / 1e6),
    row(title, 'p99, ms', rounds, (m) => m.latency.p99 / 1e6),
    row(title, 'max, ms', rounds, (m) => m.latency.max / 1e6),
  ]
}
