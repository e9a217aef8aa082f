import path from 'node:path'
import { Command } from 'commander'
import type { Config } from '../config/config.ts'
import { secretFile } from '../config/secret.ts'
import type { Flags } from '../config/settings.ts'
import { isLoopback } from '../auth/ip.ts'
import { Daemon } from '../daemon.ts'
import { ConfigError, messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { createLogger } from '../ops/logger.ts'
import { loadRegistry } from '../registry/load.ts'
import type { Registry } from '../registry/registry.ts'
import { banner } from './banner.ts'
import { type ConfigFlags, load, print, withConfig } from './options.ts'
import { terminalLog } from './terminal-log.ts'
import { watch } from './watch.ts'

type StartFlags = ConfigFlags &
  Omit<Flags, 'host'> & { readonly interface?: string; readonly watch?: boolean }

interface Version {
  readonly config: Config
  readonly registry: Registry
  readonly warnings: readonly string[]
}

export function startCommand(): Command {
  return withConfig(new Command('start'))
    .description('start the daemon')
    .argument('[interface:port]', "where to listen, e.g. 0:8000 for all interfaces (default: the config's)")
    .option('-i, --interface <host>', 'interface to listen on')
    .option('-p, --port <port>', 'port to listen on; 0 takes a free one')
    .option('-d, --databases <names>', 'databases to listen to, separated by commas')
    .option('--max-cursor <n>', 'connections to each database, at the most')
    .option('--socket <path>', 'listen on a unix socket instead')
    .option('--listener <engine>', 'auto, uws or node')
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent')
    .option('--watch', 'load modules and policies again when their files change')
    .option('--dev', 'serve the demo page; only on a loopback interface')
    .action(async (address: string | undefined, flags: StartFlags) => start(address, flags))
}

async function start(
  address: string | undefined,
  { interface: host, watch: watching, ...rest }: StartFlags,
): Promise<void> {
  const flags = {
    ...rest,
    ...(address === undefined ? {} : { address }),
    ...(host === undefined ? {} : { host }),
  }
  const version = await loadVersion(flags)
  const terminal = process.stdout.isTTY
  const log = createLogger({
    level: version.config.log.level,
    ...(terminal ? { destination: terminalLog((text) => process.stdout.write(text)) } : {}),
  })
  const daemon = new Daemon({ ...version, log, load: () => loadVersion(flags) })
  const stopping = endBySignal(daemon, log)
  for (const warning of version.warnings) log.warn({ warning }, 'config')
  for (const { subsystem, key, path: file } of version.registry.modules) {
    log.debug({ subsystem, name: key, path: file }, 'module loaded')
  }
  try {
    const started = await daemon.start()
    if (terminal) print(banner(started, version.config, version.registry))
    else log.info({ address: started.address, listener: started.listener, parts: started.parts }, 'listening')
  } catch (error) {
    if (stopping.signal.aborted) return
    throw error
  }
  process.on('SIGHUP', () => reload(daemon, log))
  if (watching === true) {
    await watch(daemon, { signal: stopping.signal, onChange: () => reload(daemon, log) })
  }
}

/** Config and modules, of one and the same moment. */
async function loadVersion(flags: ConfigFlags & Flags): Promise<Version> {
  const { config, loader, warnings } = await load(flags)
  const registry = await loadRegistry(config, loader)
  return { config: config.dev ? forDevelopment(config) : config, registry, warnings }
}

/** The demo page signs tokens for whoever asks: only for this machine, with a secret of its own. */
function forDevelopment(config: Config): Config {
  if (config.socket === null && config.host !== 'localhost' && !isLoopback(config.host)) {
    throw new ConfigError(
      [
        {
          code: 'CONFIG_INVALID',
          key: 'host',
          message: `--dev serves a demo page that anyone could use: expected 127.0.0.1, ::1 or localhost, got '${config.host}'`,
        },
      ],
      config.file,
    )
  }
  if (config.auth.jwt !== null) return config
  const secret = secretFile(path.join(config.root, '.livemessages', 'jwt-secret'))
  return { ...config, auth: { ...config.auth, jwt: { secret, algorithms: ['HS256'] } } }
}

/** The first signal stops gracefully; a second one at once. */
function endBySignal(daemon: Daemon, log: Log): AbortController {
  const stopping = new AbortController()
  const end = (signal: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(130)
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
  // A module's stray promise or timer must not take everyone's connections down.
  process.on('unhandledRejection', (reason) => stray(daemon, log, 'rejection', reason))
  process.on('uncaughtException', (error) => stray(daemon, log, 'exception', error))
  return stopping
}

function stray(daemon: Daemon, log: Log, kind: string, error: unknown): void {
  daemon.counts.error('process', kind)
  log.error(
    { kind, err: error },
    'nobody handled this error: look for a floating promise or a timer in a module',
  )
}

function reload(daemon: Daemon, log: Log): void {
  // Refused reloads are logged by the daemon, with their problems.
  daemon.reload().catch((error: unknown) => log.debug({ reason: messageOf(error) }, 'reload ended'))
}
