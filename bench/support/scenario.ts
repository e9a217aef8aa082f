import { existsSync } from 'node:fs'
import { Load } from './load.ts'
import type { Measured } from './load.ts'
import type { Row } from './report.ts'
import { DAEMON, removeFolder, startControl, startDaemon } from './server.ts'
import type { DaemonOptions, Kind, Server } from './server.ts'

export interface Options {
  readonly rounds: number
  /** Short windows and few rounds: whether it works, not what it takes. */
  readonly quick: boolean
  /** Leaves the daemon out: proves the bench itself. */
  readonly controlOnly: boolean
}

/** What the scenarios work with. */
export interface Bench extends Options {
  say(text: string): void
  /** Something was lost, came twice or out of order, or failed: the figures can't be trusted. */
  fault(text: string): void
  /** Keeps what tells whether the figures can be trusted. */
  keep(scenario: string, kind: Kind, measured: Measured): void
  /** URL of a new database, for the scenarios that need one; its server is started on first use. */
  database(): Promise<string>
  /** Null where there is none. */
  broker(): Promise<string | null>
}

export interface Scenario {
  readonly name: string
  run(bench: Bench): Promise<Row[]>
}

export type Rounds<T> = Record<Kind, T[]>

export interface AlternateOptions extends DaemonOptions {
  readonly kinds?: readonly Kind[]
  /** URL of the control's database. @default none */
  readonly controlDatabase?: string
}

/** Runs `measure` in turn on both servers, which live for all rounds; every other round begins with the daemon. */
export async function alternate<T>(
  bench: Bench,
  title: string,
  measure: (server: Server) => Promise<T>,
  options: AlternateOptions = {},
): Promise<Rounds<T>> {
  const kinds = (options.kinds ?? ['control', 'daemon']).filter(
    (kind) => kind === 'control' || hasDaemon(bench),
  )
  const results: Rounds<T> = { control: [], daemon: [] }
  const servers: Server[] = []
  try {
    for (const kind of kinds) {
      servers.push(await (kind === 'control' ? startControl(options.controlDatabase) : startDaemon(options)))
    }
    for (let round = 0; round < bench.rounds; round++) {
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        bench.say(`${title}: round ${round + 1} of ${bench.rounds}, ${server.kind}`)
        results[server.kind].push(await measure(server))
        await server.settle()
      }
    }
  } finally {
    for (const server of servers) {
      await server.stop()
      await removeFolder(server.folder)
    }
  }
  return results
}

export function hasDaemon(bench: Options): boolean {
  return !bench.controlOnly && existsSync(DAEMON)
}

/** A load generator for one measurement; the server has come to rest when `work` begins. */
export async function withLoad<T>(server: Server, work: (load: Load) => Promise<T>): Promise<T> {
  const load = new Load(server.port, server.pid)
  try {
    return await work(load)
  } finally {
    await load.end()
  }
}

/** Everything published has arrived, once and in order, and no connection was lost. */
export function verify(bench: Bench, server: Server, scenario: string, measured: Measured): Measured {
  bench.keep(scenario, server.kind, measured)
  const what = `${scenario}, ${server.kind}`
  const { expected, received, failed, disordered, unstamped, closed, error } = measured
  if (received !== expected) bench.fault(`${what}: ${received} deliveries where ${expected} were expected`)
  if (failed > 0) bench.fault(`${what}: ${failed} publications were refused: ${error}`)
  if (disordered > 0) bench.fault(`${what}: ${disordered} deliveries out of order`)
  if (unstamped > 0) bench.fault(`${what}: ${unstamped} deliveries with other data`)
  if (closed > 0) bench.fault(`${what}: ${closed} connections were closed: ${error}`)
  return measured
}

/** One row of two servers' rounds. */
export function row<T>(
  scenario: string,
  figure: string,
  rounds: Rounds<T>,
  value: (result: T) => number,
  target?: Row['target'],
): Row {
  const { control, daemon } = rounds
  const base = { scenario, figure, control: control.map(value), daemon: daemon.map(value) }
  return target ? { ...base, target } : base
}

export const perSecond = (m: Measured): number => m.received / m.seconds
export const perCpuSecond = (m: Measured): number => m.received / m.serverCpu
