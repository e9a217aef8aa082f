import type { Row } from '../support/report.ts'
import { alternate, perCpuSecond, perSecond, row, verify, withLoad } from '../support/scenario.ts'
import type { Bench, Scenario } from '../support/scenario.ts'

const CHANNEL = 'bench:1'

interface Manner {
  readonly name: string
  readonly words: { flight?: number; rate?: number; lowat?: number }
  readonly seconds: number
}

const FLIGHT_16: Manner = { name: '16 in flight', words: { flight: 16, lowat: 4096 }, seconds: 4 }
const FLIGHT_1: Manner = { name: 'one in flight', words: { flight: 1, lowat: 1024 }, seconds: 3 }
const SPACED: Manner = { name: '100 publications/s', words: { rate: 100 }, seconds: 4 }

/** One channel, one publisher, all subscribers. */
export const fanout: Scenario = {
  name: 'fanout',
  async run(bench) {
    return [
      ...(await fanOut(bench, 1_000, [FLIGHT_16, FLIGHT_1, SPACED])),
      ...(await fanOut(bench, 10_000, [FLIGHT_16, SPACED])),
    ]
  },
}

async function fanOut(bench: Bench, count: number, manners: readonly Manner[]): Promise<Row[]> {
  const subscribers = `${count.toLocaleString('en')} subscribers`
  const rounds = await alternate(bench, `fan-out to ${subscribers}`, (server) =>
    withLoad(server, async (load) => {
      await load.open(count, CHANNEL)
      await server.settle()
      const results = []
      for (const { name, words, seconds } of manners) {
        const window = { seconds: bench.quick ? 1 : seconds, warmup: bench.quick ? 0.3 : 1 }
        const measured = await load.publish({ channel: CHANNEL, ...window, ...words })
        results.push(verify(bench, server, `fan-out, ${subscribers}, ${name}`, measured))
      }
      return results
    }),
  )
  return manners.flatMap(({ name }, index) => {
    const title = `fan-out, ${subscribers}, ${name}`
    const of = { control: rounds.control.map((r) => r[index]!), daemon: rounds.daemon.map((r) => r[index]!) }
    return [
      row(title, 'deliveries/s', of, perSecond),
      row(title, 'deliveries per CPU-second', of, perCpuSecond, { ratio: 0.95 }),
    ]
  })
}
