import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { HARD_BUFFER_BYTES, SECRET } from './limits.ts'
import { freePort, memoryOf, OTHER_CORE, SERVER_CORE, settle } from './process.ts'

const run = promisify(execFile)
const BENCH = fileURLToPath(new URL('../', import.meta.url))
export const DAEMON = fileURLToPath(new URL('../../bin/livemessage.js', import.meta.url))

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url))

const START_DEADLINE_MS = 30_000

export type Kind = 'control' | 'daemon'

export interface DaemonOptions {
  /** URL of a database; `embedded`: the daemon's own. @default none */
  readonly database?: string
  /** URL of a broker. @default none */
  readonly broker?: string
  /** Memory of recent publications. @default the daemon's */
  readonly windowBytes?: number
  /** How long publications of `kept` are kept. @default '1h' */
  readonly maxAge?: string
  /** As users start it: on all cores, and without what `memory` needs. @default false */
  readonly plain?: boolean
}

/** A server process, pinned to its core. */
export interface Server {
  readonly kind: Kind
  readonly pid: number
  readonly port: number
  readonly folder: string
  /** From the spawn to the first TCP connection that was accepted. */
  readonly listeningMs: number
  /** From the spawn to a `/readyz` that says 200; the same as `listeningMs` for the control. */
  readonly readyMs: number
  /** Collects garbage; resolves with the resident bytes then. */
  memory(): Promise<number>
  /** Resolves when it has nothing to do. */
  settle(): Promise<void>
  stop(): Promise<void>
}

/** Compiles the daemon: what is measured is what users run. */
export async function buildDaemon(): Promise<void> {
  try {
    await run('npm', ['run', '--silent', 'build'], { cwd: dirname(BENCH) })
  } catch (error) {
    const said = error instanceof Error && 'stdout' in error ? String(error.stdout) : ''
    throw new Error(`the daemon does not build:\n${said}`, { cause: error })
  }
}

/** `database`: where it keeps what is published to it. @default nowhere */
export async function startControl(database?: string): Promise<Server> {
  const port = await freePort()
  const folder = await newFolder()
  const words = [String(port), ...(database === undefined ? [] : [database])]
  return start('control', port, ['--import', 'tsx', join(BENCH, 'control.ts'), ...words], { folder })
}

/** `folder`: of an earlier start, to start warm. */
export async function startDaemon(options: DaemonOptions = {}, folder?: string): Promise<Server> {
  const port = await freePort()
  const home = folder ?? (await newFolder())
  const config = join(home, 'livemessages.config.ts')
  await writeFile(join(home, 'nothing.mjs'), 'export default () => null\n')
  await writeFile(config, `export default ${JSON.stringify(configOf(port, options), null, 2)}\n`)
  return start('daemon', port, [DAEMON, 'start', '-c', config], { folder: home, plain: options.plain })
}

/** A folder that the embedded database's own user can enter, too. */
export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'livemessages-bench-'))
  await chmod(folder, 0o755)
  return folder
}

/** Nothing but limits that a bench would run into differs from the defaults. */
function configOf(port: number, { database, broker, windowBytes, maxAge = '1h' }: DaemonOptions): object {
  return {
    host: '127.0.0.1',
    port,
    ACTIONS: {
      bench: { nothing: './nothing.mjs' },
      kept: {},
      messages: database === undefined ? {} : { read: join(DIST, 'actions/messages/read.js') },
    },
    auth: { jwt: { secret: SECRET } },
    channels: {
      messages: { access: 'user' },
      bench: { access: 'public', publish: 'public', delivery: 'transient' },
      kept: { access: 'public', publish: 'public', history: { count: 1000, maxAge } },
    },
    postgres: database === undefined ? false : database === 'embedded' ? {} : { url: database },
    ...(broker ? { broker: { url: broker } } : {}),
    limits: {
      callsPerSecond: 1_000_000_000,
      callBurst: 1_000_000_000,
      framesPerSecond: 1_000_000_000,
      connectionsPerAddress: 1_000_000,
      bufferBytes: HARD_BUFFER_BYTES,
      ...(windowBytes === undefined ? {} : { windowBytes }),
    },
    log: { level: 'warn' },
  }
}

async function start(
  kind: Kind,
  port: number,
  args: readonly string[],
  { folder, plain = false }: { folder: string; plain?: boolean | undefined },
): Promise<Server> {
  const logFile = join(folder, `${kind}.log`)
  const log = await open(logFile, 'a')
  const begun = performance.now()
  const cores = plain ? `${SERVER_CORE},${OTHER_CORE}` : SERVER_CORE
  const flags = plain ? [] : ['--expose-gc', '--import', join(BENCH, 'collect.mjs')]
  const child = spawn('taskset', ['-c', cores, process.execPath, ...flags, ...args], {
    stdio: ['ignore', log.fd, log.fd, plain ? 'ignore' : 'ipc'],
    cwd: dirname(BENCH), // where tsx is found
  })
  await once(child, 'spawn')
  await log.close()
  try {
    const listeningMs = await since(begun, child, () => isListening(port))
    const readyMs = kind === 'control' ? listeningMs : await since(begun, child, () => isReady(port))
    return running(kind, child, { port, folder, listeningMs, readyMs })
  } catch (error) {
    child.kill('SIGKILL')
    const said = (await readFile(logFile, 'utf8')).slice(-2000)
    throw new Error(`the ${kind} does not start; its log ends with:\n${said}`, { cause: error })
  }
}

function running(
  kind: Kind,
  child: ChildProcess,
  facts: Pick<Server, 'port' | 'folder' | 'listeningMs' | 'readyMs'>,
): Server {
  const pid = child.pid!
  return {
    kind,
    pid,
    ...facts,
    async memory() {
      const collected = new Promise((resolve) => child.once('message', resolve))
      child.send('collect')
      await collected
      return memoryOf(pid)
    },
    settle: () => settle(pid),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
      await gone
      clearTimeout(timer)
    },
  }
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
}

async function since(begun: number, child: ChildProcess, probe: () => Promise<boolean>): Promise<number> {
  while (!(await probe())) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`)
    if (performance.now() - begun > START_DEADLINE_MS) throw new Error(`it took over ${START_DEADLINE_MS} ms`)
    await sleep(2)
  }
  return performance.now() - begun
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => socket.destroy() && resolve(true))
    socket.once('error', () => resolve(false))
  })
}

async function isReady(port: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`)
  await response.arrayBuffer()
  return response.status === 200
}
