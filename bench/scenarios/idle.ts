import type { Speech } from '../support/load.ts'
import type { Row } from '../support/report.ts'
import { hasDaemon, row, withLoad } from '../support/scenario.ts'
import type { Bench, Rounds, Scenario } from '../support/scenario.ts'
import { removeFolder, startControl, startDaemon } from '../support/server.ts'
import type { Kind, Server } from '../support/server.ts'

/** 20,000 files may be open here: one of them a connection's. */
const CONNECTIONS = 18_000

interface Bytes {
  readonly connected: number
  readonly subscribed: number
}

/**
 * What the process holds for connections that do nothing. A new process each round: heaps don't shrink. By RSS: it
 * moves by 1 % between rounds, where PSS depends on what else runs the same Node.
 */
export const idle: Scenario = {
  name: 'idle',
  async run(bench) {
    const rounds: Rounds<Bytes> = { control: [], daemon: [] }
    const kinds: readonly Kind[] = hasDaemon(bench) ? ['control', 'daemon'] : ['control']
    for (let round = 0; round < bench.rounds; round++) {
      for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) {
        bench.say(`idle connections: round ${round + 1} of ${bench.rounds}, ${kind}`)
        const server = await (kind === 'control' ? startControl() : startDaemon())
        try {
          rounds[kind].push(await measure(bench, server))
        } finally {
          await server.stop()
          await removeFolder(server.folder)
        }
      }
    }
    const title = `${CONNECTIONS.toLocaleString('en')} idle connections`
    const figure = 'KiB of the process each'
    return [
      row(title, figure, rounds, (r) => r.connected / 1024, { above: 1.5 }),
      row(`${title}, each subscribed to its own channel`, figure, rounds, (r) => r.subscribed / 1024),
    ]
  },
}

/** As `idle`, by transport: subscribed to one channel, and nothing comes. */
export const parked: Scenario = {
  name: 'parked',
  async run(bench) {
    const count = bench.quick ? 2_000 : 10_000
    const rows: Row[] = []
    for (const speech of ['sse', 'poll', 'socketio'] as const) {
      const rounds: Rounds<number> = { control: [], daemon: [] }
      for (let round = 0; round < bench.rounds; round++) {
        for (const kind of hasDaemon(bench) ? (['control', 'daemon'] as const) : (['control'] as const)) {
          bench.say(`${speech}, parked: round ${round + 1} of ${bench.rounds}, ${kind}`)
          const server = await (kind === 'control' ? startControl() : startDaemon())
          try {
            rounds[kind].push(await parkedBytes(server, speech, count))
          } finally {
            await server.stop()
            await removeFolder(server.folder)
          }
        }
      }
      const title = `${count.toLocaleString('en')} parked: ${speech}`
      rows.push(row(title, 'KiB of the process each', rounds, (bytes) => bytes / 1024))
    }
    return rows
  },
}

async function parkedBytes(server: Server, speech: Speech, count: number): Promise<number> {
  await withLoad(server, (load) => load.openOther(100, speech, 'kept:1'))
  const before = await atRest(server)
  return withLoad(server, async (load) => {
    await load.openOther(count, speech, 'kept:1')
    return ((await atRest(server)) - before) / count
  })
}

async function measure(bench: Bench, server: Server): Promise<Bytes> {
  const count = bench.quick ? 4_000 : CONNECTIONS
  // What the first connections set up once (code, pools) is not a connection's.
  await withLoad(server, (load) => load.open(100, 'bench:%d'))
  const before = await atRest(server)
  return withLoad(server, async (load) => {
    await load.open(count)
    const connected = await atRest(server)
    await load.subscribe('bench:%d')
    const subscribed = await atRest(server)
    return { connected: (connected - before) / count, subscribed: (subscribed - before) / count }
  })
}

async function atRest(server: Server): Promise<number> {
  await server.settle()
  await server.memory()
  await server.settle()
  return await server.memory()
}
