import type { Load, Measured, Speech } from '../support/load.ts'
import type { Row } from '../support/report.ts'
import { alternate, perCpuSecond, perSecond, row, verify, withLoad } from '../support/scenario.ts'
import type { Bench, Rounds, Scenario } from '../support/scenario.ts'
import type { Server } from '../support/server.ts'

const CHANNEL = 'bench:1'
const FLIGHT_16 = { flight: 16, lowat: 4096 }
const FLIGHT_1 = { flight: 1, lowat: 1024 }

/** As `fanout`, to 1,000 EventSources; the control writes each block to each response. */
export const sse: Scenario = {
  name: 'sse',
  run: (bench) => besideWebSocket(bench, 'SSE', 'sse', 0.8),
}

/** As `fanout`, to 1,000 Socket.IO clients; the control is a bare Socket.IO server on uWebSockets.js. */
export const socketio: Scenario = {
  name: 'socketio',
  run: (bench) => besideWebSocket(bench, 'Socket.IO', 'socketio', 0.9),
}

async function besideWebSocket(bench: Bench, name: string, speech: Speech, ratio: number): Promise<Row[]> {
  const title = `${name}, fan-out to 1,000`
  const rounds = await alternate(bench, title, async (server) => ({
    sixteen: await fanOut(bench, server, `${title}, 16 in flight`, speech, FLIGHT_16),
    one: await fanOut(bench, server, `${title}, one in flight`, speech, FLIGHT_1),
    websocket: await fanOut(bench, server, `${title}, WebSockets beside`, null, FLIGHT_16),
  }))
  const of = (key: 'sixteen' | 'one'): Rounds<Measured> => ({
    control: rounds.control.map((r) => r[key]),
    daemon: rounds.daemon.map((r) => r[key]),
  })
  const beside = {
    control: rounds.daemon.map((r) => r.websocket),
    daemon: rounds.daemon.map((r) => r.sixteen),
  }
  return [
    row(`${title}, 16 in flight`, 'deliveries/s', of('sixteen'), perSecond),
    row(`${title}, 16 in flight`, 'deliveries per CPU-second', of('sixteen'), perCpuSecond, { ratio }),
    row(`${title}, one in flight`, 'deliveries per CPU-second', of('one'), perCpuSecond, { ratio }),
    row(`${title}; control: the daemon's own WebSockets`, 'deliveries per CPU-second', beside, perCpuSecond),
  ]
}

async function fanOut(
  bench: Bench,
  server: Server,
  title: string,
  speech: Speech | null,
  words: { flight: number; lowat: number },
): Promise<Measured> {
  const window = { seconds: bench.quick ? 1 : 3, warmup: bench.quick ? 0.3 : 1 }
  return withLoad(server, async (load) => {
    await open(load, 1_000, speech)
    await server.settle()
    return verify(bench, server, title, await load.publish({ channel: CHANNEL, ...window, ...words }))
  })
}

function open(load: Load, count: number, speech: Speech | null): Promise<void> {
  return speech === null ? load.open(count, CHANNEL) : load.openOther(count, speech, CHANNEL)
}

/** 10,000 requests are parked, each publication answers all of them, and they ask again. */
export const poll: Scenario = {
  name: 'poll',
  async run(bench) {
    const count = bench.quick ? 2_000 : 10_000
    const title = `long-polling, ${count.toLocaleString('en')} parked`
    const rounds = await alternate(bench, title, (server) =>
      withLoad(server, async (load) => {
        await load.openOther(count, 'poll', 'kept:1')
        await server.settle()
        const window = { seconds: bench.quick ? 2 : 6, warmup: 1, rate: 1 }
        return verify(bench, server, title, await load.publish({ channel: 'kept:1', ...window }))
      }),
    )
    return [
      row(title, 'requests per CPU-second', rounds, perCpuSecond),
      row(title, 'p50 ms from publication to answer', rounds, (m) => m.latency.p50 / 1e6),
      row(title, 'p99 ms from publication to answer', rounds, (m) => m.latency.p99 / 1e6),
    ]
  },
}
