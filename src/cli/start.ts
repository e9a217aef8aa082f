import path from 'node:path'
import type { Command } from 'commander'
import type { Flags } from '../config/settings.ts'
import { Daemon } from '../daemon.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { createLogger } from '../ops/logger.ts'
import { banner } from './banner.ts'
import { loadVersion } from './load-version.ts'
import { type ConfigFlags, print, withConfig } from './options.ts'
import { terminalLog } from './terminal-log.ts'

type StartFlags = ConfigFlags &
  Omit<Flags, 'host'> & { readonly interface?: string; readonly watch?: boolean }

export function define(command: Command): void {
  withConfig(command)
    .argument('[interface:port]', 'where to listen: 0:8000, [::1]:7777, :8000')
    .option('-i, --interface <host>', "interface to listen on (default: the config's, else 127.0.0.1)")
    .option('-p, --port <port>', "port to listen on; 0 takes a free one (default: the config's, else 7777)")
    .option('--socket <path>', 'listen on a unix socket instead')
    .option('-d, --databases <names>', 'further databases of the server to listen to, separated by commas')
    .option('--max-cursor <n>', 'connections to each database, at the most')
    .option('--listener <engine>', 'auto, uws or node')
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent')
    .option('--watch', 'reload when the config or a module changes')
    .option('--dev', 'serve the demo page at /; only on a loopback interface')
    .action(async (address: string | undefined, flags: StartFlags) => start(address, flags))
    .addHelpText(
      'after',
      `
Flags win over the environment (LIVEMESSAGES_PORT, LIVEMESSAGES_POSTGRES_URL, …), that over the config.

Signals: SIGHUP loads config and modules again, without dropping a connection. SIGTERM stops gracefully and
tells clients to come back soon, SIGINT that it is over; a second one ends at once.

Examples:
  livemessage start --dev --watch
  livemessage start 0:8000 -c /etc/livemessages/livemessages.config.ts
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
  const version = await load()
  const terminal = process.stdout.isTTY
  const log = createLogger({
    level: version.config.log.level,
    ...(terminal ? { destination: terminalLog((text) => process.stdout.write(text)) } : {}),
  })
  const daemon = new Daemon({ ...version, log, load })
  const stopping = obeySignals(daemon, log)
  for (const warning of version.warnings) log.warn({ warning }, 'config')
  for (const { subsystem, key, path: file } of version.registry.modules) {
    log.debug({ subsystem, name: key, path: file }, 'module loaded')
  }
  try {
    const started = await daemon.start()
    const { address, listener, parts } = started
    if (terminal) print(banner(started, version.config, version.registry))
    else log.info({ address, listener, parts, pid: process.pid }, 'listening')
  } catch (error) {
    // A signal came first: `stop` ends the process.
    if (stopping.aborted) return
    throw error
  }
  if (watching !== true || stopping.aborted) return
  const { watchFiles } = await import('./watch.ts')
  const ini = path.resolve(flags.ini ?? path.join(version.config.root, 'livemessages.ini'))
  watchFiles({
    signal: stopping,
    files: () => new Set([...daemon.rules.registry.files, ...tried, ini]),
    onChange: () => reload(daemon, log),
  })
}

/** The first signal stops gracefully, a second one at once. The signal returned is aborted by the first. */
function obeySignals(daemon: Daemon, log: Log): AbortSignal {
  const stopping = new AbortController()
  const end = (signal: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(signal === 'SIGTERM' ? 143 : 130)
    stopping.abort()
    log.info({ signal }, 'stopping')
    daemon.stop(signal === 'SIGTERM' ? 'restart' : 'shutdown').then(
      () => {
        log.info('stopped')
        // Modules may have left timers behind: nothing of ours is open any more.
        process.exit(0)
      },
      (error: unknown) => {
        log.fatal({ err: error }, 'stop failed')
        process.exit(1)
      },
    )
  }
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
  process.on('SIGHUP', () => void reload(daemon, log))
  // The terminal is gone, and nobody is left who could end us there.
  process.stdout.on('error', () => {
    if (!stopping.signal.aborted) end('SIGTERM')
  })
  // A module's stray promise or timer must not take everyone's connections down.
  process.on('unhandledRejection', (reason) => stray(daemon, log, 'rejection', reason))
  process.on('uncaughtException', (error) => stray(daemon, log, 'exception', error))
  return stopping.signal
}

function stray(daemon: Daemon, log: Log, kind: string, error: unknown): void {
  daemon.counts.error('process', kind)
  log.error(
    { kind, err: error instanceof Error ? error : new Error(messageOf(error)) },
    'nobody handled this error: look for a floating promise or a timer in a module',
  )
}

/** False when it was refused, which the daemon has logged with its problems. */
async function reload(daemon: Daemon, log: Log): Promise<boolean> {
  try {
    await daemon.reload()
    return true
  } catch (error) {
    log.debug({ reason: messageOf(error) }, 'reload ended')
    return false
  }
}
