import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import type { Test } from 'tap'
import { z } from 'zod'
import { findBinaries } from '../../src/database/binaries.ts'
import type { Binaries } from '../../src/database/binaries.ts'
import { startEmbedded } from '../../src/database/embedded.ts'
import type { EmbeddedOptions, EmbeddedServer } from '../../src/database/embedded.ts'
import { isAlive } from '../../src/database/process.ts'
import { databaseFolder, openFolder, silent } from './postgres.ts'
import { until, within } from './wait.ts'

export const root = process.getuid?.() === 0
export const NOBODY = 65_534
const SAID = z.object({
  url: z.string().default(''),
  pid: z.number().default(0),
  adopted: z.boolean().default(false),
  home: z.string().default(''),
  code: z.string().default(''),
  message: z.string().default(''),
})

/** A folder for a server, empty; it goes at teardown. */
export async function folder(t: Test): Promise<string> {
  const directory = await openFolder()
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** A folder with an empty database in it. */
export async function filled(t: Test): Promise<string> {
  const directory = await databaseFolder(await findBinaries())
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export async function start(
  t: Test,
  directory: string,
  options: EmbeddedOptions = {},
): Promise<EmbeddedServer> {
  const server = await startEmbedded({ directory }, silent(), options)
  t.teardown(() => server.stop())
  return server
}

export interface Daemon extends z.infer<typeof SAID> {
  readonly kill: () => Promise<void>
  readonly stop: () => Promise<void>
}

/** A daemon in a process of its own, so that it can be killed. */
export async function daemon(
  t: Test,
  directory: string,
  options: { uid?: number; binaries?: Binaries } = {},
): Promise<Daemon> {
  const script = path.resolve(import.meta.dirname, './embedded-daemon.ts')
  const input = JSON.stringify({ directory, ...options })
  // Without tap's own loader, which writes into the project at the end, as a user who may not.
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, '--import', 'tsx', script, input], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  let server = 0
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
    // It ends with its parent, a little later: until then it writes into the folder that the next teardown removes.
    if (server !== 0) await gone(server)
  })
  const [line] = await within('the daemon says something', once(createInterface(child.stdout), 'line'))
  const said = SAID.parse(JSON.parse(String(line)))
  if (!said.adopted) server = said.pid
  return {
    ...said,
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
    stop: async () => {
      child.stdin.write('stop\n')
      await within('the daemon ends', exited)
    },
  }
}

export async function ask(url: string, sql: string): Promise<unknown> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return Object.values((await client.query<Record<string, unknown>>(sql)).rows[0] ?? {})[0]
  } finally {
    await client.end()
  }
}

export const gone = (pid: number) => until(`the server ${pid} ends`, () => !isAlive(pid))
export const mode = async (file: string) => ((await stat(file)).mode & 0o777).toString(8)

/** The shells that watch over the holders of this folder's server. */
export async function keepersOf(home: string): Promise<number[]> {
  const found: number[] = []
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const command = await readFile(`/proc/${entry}/cmdline`, 'latin1').catch(() => '') // it has ended meanwhile
    if (command.startsWith('/bin/sh') && command.includes(`\0${home}\0`)) found.push(Number(entry))
  }
  return found
}
