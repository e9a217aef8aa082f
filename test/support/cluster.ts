import { Client } from 'pg'
import { Hopper, type Heard } from './hopper.ts'
import { type Installation, project, type RunningDaemon, freePort } from './installation.ts'
import type { Publisher } from './publishers.ts'
import { faultsOf, faultsOfJournal } from './records.ts'
import { type Teardown, until } from './wait.ts'

/** A node that may be killed and started again, always on the same port. */
export interface TestNode {
  readonly url: string
  readonly ws: string
  readonly daemon: RunningDaemon
  kill(signal: NodeJS.Signals): void
  /** Resolves when it listens again. */
  restart(): Promise<void>
}

/** Starts a node of its own process, with this config as JSON. */
export async function startNode(
  t: Teardown,
  it: Installation,
  config: object,
  env: Readonly<Record<string, string>> = {},
): Promise<TestNode> {
  const port = await freePort()
  const cwd = await project(t, { 'livemessages.config.json': JSON.stringify({ ...config, port }) })
  const start = (): Promise<RunningDaemon> => it.start(t, [], { cwd, env })
  let daemon = await start()
  return {
    url: `http://127.0.0.1:${port}`,
    ws: `ws://127.0.0.1:${port}/ws`,
    get daemon() {
      return daemon
    },
    kill: (signal) => daemon.kill(signal),
    async restart() {
      await daemon.ended
      daemon = await start()
    },
  }
}

/** The journal as the database has it. */
export async function readJournal(url: string): Promise<Heard[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<{ position: string; channel: string; data: string }>(
      'SELECT position, channel, data FROM livemessage.journal ORDER BY position',
    )
    return rows.map(({ position, channel, data }) => ({
      position: Number(position),
      channel,
      data: JSON.parse(data) as unknown,
    }))
  } finally {
    await client.end()
  }
}

/** Waits until every client has what the journal has, and gives what is wrong with their records. */
export async function settled(
  hoppers: readonly Hopper[],
  publishers: readonly Publisher[],
  read: () => Promise<readonly Heard[]>,
  mayKeep: (channel: string) => number,
): Promise<{ readonly faults: readonly string[]; readonly journal: readonly Heard[] }> {
  for (const hopper of hoppers) hopper.settle()
  let journal = await read()
  const behind = (): Hopper[] =>
    hoppers.filter((hopper) => {
      const last = journal.findLast(({ channel }) => hopper.channels.includes(channel))
      return last !== undefined && hopper.position < last.position
    })
  try {
    await until(
      'every client to have everything',
      async () => {
        // What waited in a queue may still be on its way.
        const before = journal.length
        journal = await read()
        if (journal.length !== before) return false
        return behind().length === 0
      },
      30_000,
    )
  } catch {
    // The faults below say what is missing.
  }
  const clients = hoppers.flatMap((hopper, index) =>
    faultsOf(hopper, journal, mayKeep).map((fault) => `client ${index}: ${fault}`),
  )
  return { faults: [...faultsOfJournal(journal, publishers), ...clients], journal }
}

export function newHoppers(
  t: Teardown,
  count: number,
  options: {
    readonly nodes: () => readonly string[]
    readonly channels: readonly string[]
    readonly stayMs: number
  },
): Hopper[] {
  return Array.from({ length: count }, (_, index) => {
    const own = options.channels.filter(
      (_channel, at) => options.channels.length === 1 || index % 3 === 0 || at % 2 === index % 2,
    )
    const hopper = new Hopper({ ...options, channels: own, sluggish: index % 5 === 4 })
    t.teardown(() => hopper.end())
    hopper.begin()
    return hopper
  })
}
