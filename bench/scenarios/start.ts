import type { Row } from '../support/report.ts'
import { hasDaemon } from '../support/scenario.ts'
import type { Bench, Scenario } from '../support/scenario.ts'
import { newFolder, removeFolder, startDaemon } from '../support/server.ts'
import type { DaemonOptions } from '../support/server.ts'

/** From the spawn of the process to the first accepted connection, on data and caches of an earlier start. */
export const start: Scenario = {
  name: 'start',
  async run(bench) {
    if (!hasDaemon(bench)) return []
    return [
      ...(await measure(bench, 'no database', { plain: true }, 500)),
      ...(await measure(bench, 'embedded database', { plain: true, database: 'embedded' }, 1000)),
    ]
  },
}

async function measure(bench: Bench, name: string, options: DaemonOptions, most: number): Promise<Row[]> {
  const folder = await newFolder()
  const listening: number[] = []
  const ready: number[] = []
  try {
    for (let round = -1; round < bench.rounds; round++) {
      bench.say(`start, ${name}: ${round < 0 ? 'cold' : `round ${round + 1} of ${bench.rounds}`}`)
      const server = await startDaemon(options, folder)
      await server.stop()
      if (round < 0) continue
      listening.push(server.listeningMs)
      ready.push(server.readyMs)
    }
  } finally {
    await removeFolder(folder)
  }
  const title = `start, warm, ${name}`
  return [
    { scenario: title, figure: 'to listening, ms', control: [], daemon: listening, target: { most } },
    { scenario: title, figure: 'to ready, ms', control: [], daemon: ready },
  ]
}
