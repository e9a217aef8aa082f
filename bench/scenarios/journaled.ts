import { alternate, perCpuSecond, row, verify, withLoad } from '../support/scenario.ts'
import type { Scenario } from '../support/scenario.ts'

const SUBSCRIBERS = 1_000

/** A channel with history, beside the transient one of the same server; the control has none of it. */
export const journaled: Scenario = {
  name: 'journaled',
  async run(bench) {
    const rounds = await alternate(bench, 'channel with history', async (server) => {
      const results = []
      for (const channel of ['bench:1', server.kind === 'daemon' ? 'kept:1' : 'bench:1']) {
        const [many, one] = await withLoad(server, async (load) => {
          await load.open(SUBSCRIBERS, channel)
          await server.settle()
          const window = { channel, seconds: bench.quick ? 1 : 3, warmup: bench.quick ? 0.3 : 1 }
          const many = await load.publish({ ...window, flight: 16, lowat: 4096 })
          const one = await load.publish({ ...window, flight: 1, lowat: 1024 })
          return [
            verify(bench, server, `${channel}, 16 in flight`, many),
            verify(bench, server, `${channel}, one in flight`, one),
          ]
        })
        results.push({ many, one })
      }
      return { transient: results[0]!, journaled: results[1]! }
    })
    const figure = 'deliveries per CPU-second'
    const title = (what: string): string => `${what}, 1,000 subscribers`
    return [
      row(title('transient, 16 in flight'), figure, rounds, (r) => perCpuSecond(r.transient.many)),
      row(title('with history, 16 in flight'), figure, rounds, (r) => perCpuSecond(r.journaled.many)),
      row(title('transient, one in flight'), figure, rounds, (r) => perCpuSecond(r.transient.one)),
      row(title('with history, one in flight'), figure, rounds, (r) => perCpuSecond(r.journaled.one)),
    ]
  },
}
