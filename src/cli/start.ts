import path from 'node:path'
import type { Command } from 'commander'
import type { Flags } from '../config/settings.ts'
import type { Started } from '../daemon.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { createLogger } from '../ops/logger.ts'
import { WORKER } from '../workers/messages.ts'
import type { GroupStarted } from '../workers/primary.ts'
import { banner } from './banner.ts'
import { loadVersion, type Version } from './load-version.ts'
import { type ConfigFlags, print, withConfig } from './options.ts'
import { obeyErrors, obeySignals, type Process, stray } from './signals.ts'
import { terminalLog } from './terminal-log.ts'

type StartFlags = ConfigFlags &
  Omit<Flags, 'host'> & { readonly interface?: string; readonly watch?: boolean }

export function define(command: Command): void {
  withConfig(command)
    .argument('[interface:port]', 'where to listen: 0:8000, [::1]:7777, :8000')
    .option('-i, --interface <host>', "interface to listen on (default: the config's, else 127.0.0.1)")
    .option('-p, --port <port>', "port to listen on; 0 takes a free one (default: the config's, else 7777)")
    .option('--socket <path>', 'listen on a unix socket instead')
    .option(
      '-d, --databases <names>',
      'databases of the server, separated by commas; the home one is that of postgres.url',
    )
    .option('--max-cursor <n>', 'connections to each database, at the most')
    .option('--listener <engine>', 'auto, uws or node')
    .option('-w, --workers <n>', "processes that share the port (default: the config's, else 1)")
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent')
    .option('--watch', 'reload when the config or a module changes')
    .option('--dev', 'serve the demo page at /; only on a loopback interface')
    .action(async (address: string | undefined, flags: StartFlags) => start(address, flags))
    .addHelpText(
      'after',
      `
Flags win over the environment (LIVEMESSAGES_PORT, LIVEMESSAGES_POSTGRES_URL, …), that over the config.

Signals: SIGHUP loads config and modules again, without dropping a connection. SIGTERM stops gracefully and
tells clients to come back soon, SIGINT that it is over; a second one ends at once. With workers they are for
the first process, which passes them on.

Examples:
  livemessage start --dev --watch
  livemessage start 0:8000 -c /etc/livemessages/livemessages.config.ts
  livemessage start 0:8000 --workers 4
`,
    )
}

/** A reload that is asked for while there is nothing to reload yet must not end the process. */
const LATER = (): void => undefined

async function start(
  address: string | undefined,
  { interface: host, watch: watching, ...rest }: StartFlags,
): Promise<void> {
  process.on('SIGHUP', LATER)
  const flags = {
    ...rest,
    ...(address === undefined ? {} : { address }),
    ...(host === undefined ? {} : { host }),
  }
  /** What the latest attempt at a version has loaded or tried, be it that it was refused. */
  let tried: ReadonlySet<string> = new Set()
  const load = async () => {
    const files = new Set<string>()
    tried = files
    return loadVersion(flags, (file) => files.add(file))
  }
  if (process.env[WORKER] !== undefined) {
    // Nobody's setting, and not for the processes that modules start.
    delete process.env[WORKER]
    const { runWorker } = await import('./worker.ts')
    return runWorker(load)
  }
  const version = await load()
  const terminal = process.stdout.isTTY
  const log = createLogger({
    level: version.config.log.level,
    ...(terminal ? { destination: terminalLog((text) => process.stdout.write(text)) } : {}),
  })
  for (const warning of version.warnings) log.warn({ warning }, 'config')
  for (const { subsystem, key, path: file } of version.registry.modules) {
    log.debug({ subsystem, name: key, path: file }, 'module loaded')
  }
  const running =
    version.config.workers > 1 ? await group(version, load, log) : await node(version, load, log)
  const stopping = obeySignals(running, log)
  // Before the start: what changes meanwhile is newer than what was loaded. A reload waits for the start.
  const watch = watching === true ? await import('./watch.ts') : null
  const ended = new AbortController()
  stopping.addEventListener('abort', () => ended.abort())
  const ini = path.resolve(flags.ini ?? path.join(version.config.root, 'livemessages.ini'))
  if (!stopping.aborted)
    watch?.watchFiles({
      signal: ended.signal,
      files: () => new Set([...running.files(), ...tried, ini]),
      onChange: () => running.reload(),
    })
  try {
    const { address, listener, parts, workers } = await running.start()
    const started = { address, listener, parts }
    if (terminal) print(banner(started, version.config, version.registry))
    else {
      const processes = workers === undefined ? {} : { workers }
      log.info({ ...started, pid: process.pid, ...processes }, 'listening')
    }
  } catch (error) {
    ended.abort()
    // A signal came first: `stop` ends the process.
    if (stopping.aborted) return
    throw error
  }
}

type Load = () => Promise<Version>

/** What this process is: one node, or the primary of several. */
interface Running extends Process {
  start(): Promise<Started & Partial<Pick<GroupStarted, 'workers'>>>
  /** The modules of the version that runs. */
  files(): ReadonlySet<string>
}

async function node(version: Version, load: Load, log: Log): Promise<Running> {
  const { Daemon } = await import('../daemon.ts')
  const daemon = new Daemon({ ...version, log, load })
  obeyErrors((kind, error) => stray(daemon, kind, error))
  return {
    start: () => daemon.start(),
    stop: (reason) => daemon.stop(reason),
    reload: () => told(daemon.reload(), log),
    kill: () => undefined,
    files: () => daemon.rules.registry.files,
  }
}

async function group(version: Version, load: Load, log: Log): Promise<Running> {
  const { Primary } = await import('../workers/primary.ts')
  const primary = new Primary({ ...version, log, load })
  obeyErrors((kind, error) => stray({ log }, kind, error))
  return {
    start: () => primary.start(),
    stop: (reason) => primary.stop(reason),
    reload: () => told(primary.reload(), log),
    kill: () => primary.kill(),
    files: () => primary.registry.files,
  }
}

/** False when it was refused, which has been logged with its problems. */
async function told(reload: Promise<void>, log: Log): Promise<boolean> {
  try {
    await reload
    return true
  } catch (error) {
    log.debug({ reason: messageOf(error) }, 'reload ended')
    return false
  }
}
