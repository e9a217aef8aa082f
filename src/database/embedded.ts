import { open, rename, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import type { EmbeddedConfig } from '../config/config.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { findBinaries, prepareBinaries } from './binaries.ts'
import type { Binaries } from './binaries.ts'
import {
  forgetPassword,
  inability,
  lastLines,
  NAME,
  passwordOf,
  prepareCluster,
  removeLeftovers,
} from './cluster.ts'
import { hold, launch } from './keeper.ts'
import type { Hold } from './keeper.ts'
import { findPlace } from './place.ts'
import type { Place } from './place.ts'
import { choosePort, keepPort } from './port.ts'
import { endPostmaster, findPostmaster, removeStalePostmaster, untilReady } from './postmaster.ts'
import { codeOf, isAlive } from './process.ts'

/** A PostgreSQL server of our own, on 127.0.0.1. */
export interface EmbeddedServer {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Where data and log are: `<postgres.directory>/server`, links resolved. */
  readonly directory: string
  /** It ran already: another daemon's, or left over. */
  readonly adopted: boolean
  /** Lets go of the server; it ends with the last daemon that uses it, and then this waits for its end. Idempotent. */
  stop(): Promise<void>
}

export interface EmbeddedOptions {
  /** Server settings on the command line: `{ fsync: 'off' }` for tests. */
  readonly settings?: Readonly<Record<string, string>>
  /** Another PostgreSQL than the package's. */
  readonly binaries?: Binaries
  /** System users that may run it for root. @default ['postgres', '_postgres', 'nobody'] */
  readonly users?: readonly string[]
  /** Where the data goes when those can't enter the directory. @default /var/lib/livemessages, then /var/tmp */
  readonly bases?: (hash: string) => readonly string[]
  /** This port and no other; waited for until it is free. @default the last one, or any */
  readonly port?: number
  /** Deadline of the start; recovery after a crash is part of it. @default 60_000 */
  readonly startMs?: number
  /** Time for an orderly end, before the server is ended at once. @default 15_000 */
  readonly stopMs?: number
}

/**
 * Starts the embedded server of this directory, or attaches to the one that runs on it. It lives until the last
 * daemon has stopped or died.
 * @throws {LivemessageError} `DATABASE_NOT_INSTALLED`, `DATABASE_OTHER_MAJOR`, `DATABASE_BUSY`, `DATABASE_FAILED`
 */
export async function startEmbedded(
  config: Pick<EmbeddedConfig, 'directory'>,
  log: Log,
  options: EmbeddedOptions = {},
): Promise<EmbeddedServer> {
  if (process.platform === 'win32') {
    throw failed('the embedded server needs a POSIX system: set postgres.url to a database of your own')
  }
  const began = performance.now()
  const deadline = began + (options.startMs ?? 60_000)
  const {
    users = ['postgres', '_postgres', 'nobody'],
    bases = (hash: string) => ['/var/lib/livemessages', `/var/tmp/livemessages-${hash}`],
  } = options
  const found = options.binaries ?? (await findBinaries())
  const place = await findPlace(path.resolve(config.directory), { users, bases, log })
  const secret = await passwordOf(place.directory)

  const start: Start = { place, found, secret, log, options, deadline }
  try {
    const server = await startOrAttach(start)
    const { directory, port, adopted } = server
    const ms = Math.round(performance.now() - began)
    log.info({ directory, port, adopted, ms }, 'embedded PostgreSQL ready')
    return server
  } catch (error) {
    // No server knows it: the next start must not take it for the right one.
    if (secret.fresh) await forgetPassword(place.directory)
    throw error
  }
}

interface Start {
  readonly place: Place
  readonly found: Binaries
  readonly secret: { readonly password: string; readonly fresh: boolean }
  readonly log: Log
  readonly options: EmbeddedOptions
  readonly deadline: number
}

async function startOrAttach(start: Start): Promise<EmbeddedServer> {
  const { home } = start.place
  for (;;) {
    const running = await findPostmaster(home)
    const server = running === null ? await startServer(start) : await attach(start, running.pid)
    if (server !== null) return server
    if (performance.now() > start.deadline) {
      throw failed(`${home}: no server came up in time; see ${logFile(start.place)}`)
    }
    await delay(10)
  }
}

/** Null: something stood in the way that passes; look again. */
async function startServer(start: Start): Promise<EmbeddedServer | null> {
  const { place, log, options } = start
  const binaries = await prepareBinaries(start.found, {
    user: place.user,
    base: path.dirname(place.home),
    log,
  })
  await removeLeftovers(place.home)
  await removeStalePostmaster(place.home)
  await prepareCluster(place, binaries, start.secret, log)
  const before = await rotate(logFile(place))

  const port = options.port ?? (await choosePort(place.directory))
  const settings = { listen_addresses: '127.0.0.1', port, unix_socket_directories: '', ...options.settings }
  const launched = await launch(place, [
    path.join(binaries.folder, 'bin', 'postgres'),
    '-D',
    path.join(place.home, 'data'),
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ])
  if ('pid' in launched && (await ready(launched.pid, launched.hold))) {
    await keepPort(place.directory, port)
    return serverOf(start, { pid: launched.pid, port, hold: launched.hold, adopted: false })
  }
  if ('hold' in launched) launched.hold.release()

  const said = 'output' in launched ? launched.output : ''
  const { code } = 'pid' in launched ? { code: launched.child.exitCode } : launched
  const text = said + (await readFrom(logFile(place), before))
  // Its port or folder was taken a moment ago, or the processes of a killed server are still on their way out.
  if (/Address already in use|lock file "postmaster.pid"|shared memory block .* still in use/.test(text))
    return null
  throw failed(`${place.home}: the server ended with ${code}${inability(code)}: ${lastLines(text)}`)

  async function ready(pid: number, held: Hold): Promise<boolean> {
    try {
      return await untilReady(place.home, pid, start.deadline)
    } catch (error) {
      held.release() // which ends it
      throw failed(
        `${place.home}: ${messageOf(error)}: ${lastLines(await readFrom(logFile(place), before))}`,
        error,
      )
    }
  }
}

/** Null: it is ending. */
async function attach(start: Start, pid: number): Promise<EmbeddedServer | null> {
  const { place, secret, deadline } = start
  const held = await hold(place, pid)
  if (held === null) return null
  try {
    for (; isAlive(pid); await delay(10)) {
      const found = await findPostmaster(place.home)
      const port = found?.pid === pid ? found.port : null
      const refusal = port === null ? null : await refusalOf(urlOf(port, secret.password))
      if (port !== null && refusal === null) return serverOf(start, { pid, port, hold: held, adopted: true })
      const passing =
        refusal === null || ['57P03', 'ECONNREFUSED', 'ECONNRESET', '53300'].includes(codeOf(refusal) ?? '')
      if (passing && performance.now() < deadline) continue
      throw new LivemessageError(
        'DATABASE_BUSY',
        `postgres: a server (process ${pid}) runs on ${place.home} already and does not let this daemon in: ` +
          `${messageOf(refusal)}. End it (kill ${pid}), or name another postgres.directory`,
        { cause: refusal },
      )
    }
  } catch (error) {
    held.release()
    throw error
  }
  held.release()
  return null
}

function serverOf(
  { place, secret, options, log }: Start,
  { pid, port, hold, adopted }: { pid: number; port: number; hold: Hold; adopted: boolean },
): EmbeddedServer {
  let stopping: Promise<void> | undefined
  async function stop(): Promise<void> {
    if (!hold.release()) return // others still use it
    if (await endPostmaster(place.home, pid, options.stopMs ?? 15_000)) return
    log.error({ pid, directory: place.home }, 'embedded PostgreSQL does not end')
  }
  return {
    url: urlOf(port, secret.password),
    port,
    pid,
    directory: place.home,
    adopted,
    stop: () => (stopping ??= stop()),
  }
}

function urlOf(port: number, password: string): string {
  return `postgres://${NAME}:${password}@127.0.0.1:${port}/${NAME}`
}

/** Why the server doesn't let us in; null when it does. */
async function refusalOf(url: string): Promise<unknown> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: 5000,
    application_name: NAME,
  })
  let lost: unknown = null
  client.on('error', (error) => (lost = error))
  try {
    await client.connect()
    return lost
  } catch (error) {
    return error
  } finally {
    await client.end()
  }
}

function logFile(place: Place): string {
  return path.join(place.home, 'log')
}

/** Begins a new log when this one is long. Resolves with the bytes that are in it already. */
async function rotate(file: string): Promise<number> {
  try {
    const { size } = await stat(file)
    if (size < 1024 * 1024) return size
    await rename(file, `${file}.old`)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
  return 0
}

async function readFrom(file: string, start: number): Promise<string> {
  try {
    const handle = await open(file, 'r')
    try {
      const { size } = await handle.stat()
      const from = Math.max(start, size - 16_384)
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.max(0, size - from)), 0, null, from)
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return ''
    throw error
  }
}

function failed(message: string, cause?: unknown): LivemessageError {
  return new LivemessageError('DATABASE_FAILED', `postgres: ${message}`, cause === undefined ? {} : { cause })
}
