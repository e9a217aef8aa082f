import { Daemon } from '../daemon.ts'
import { LivemessageError } from '../errors.ts'
import { createLogger } from '../ops/logger.ts'
import { withFixed } from '../reload.ts'
import { Link } from '../workers/link.ts'
import type { Version } from './load-version.ts'
import { obeyErrors, stray } from './signals.ts'
import { terminalLog } from './terminal-log.ts'

/**
 * One node of a group: what it does and when it stops the primary says, and what it can't do is told there. Its own
 * SIGTERM stops it too, and another takes its place.
 */
export async function runWorker(load: () => Promise<Version>): Promise<void> {
  // A terminal and a service manager signal all processes at once; the primary passes on what is meant.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => undefined)
  process.stdout.on('error', () => undefined)
  const link = new Link()
  let stopping = false
  try {
    const fixed = await link.join()
    const version = async (): Promise<Version> => {
      const { config, ...rest } = await load()
      return { ...rest, config: withFixed(config, fixed) }
    }
    const { config, registry } = await version()
    const terminal = process.stdout.isTTY
    const log = createLogger({
      level: config.log.level,
      ...(terminal ? { destination: terminalLog((text) => process.stdout.write(text)) } : {}),
    }).child({ worker: link.worker })
    const daemon = new Daemon({ config, registry, log, load: version, group: link })
    const stop = (reason: 'restart' | 'shutdown'): void => {
      if (stopping) return
      stopping = true
      if (link.orphaned) log.error('the primary process is gone: stopping')
      daemon.stop(reason).then(
        () => process.exit(0),
        (error: unknown) => {
          log.fatal({ err: error }, 'stop failed')
          process.exit(1)
        },
      )
    }
    let asked = false
    process.on('SIGTERM', () => {
      if (asked) process.exit(143)
      asked = true
      if (!stopping) log.info({ signal: 'SIGTERM' }, 'stopping')
      stop('restart')
    })
    obeyErrors((kind, error) => stray(daemon, kind, error))
    link.obey({ stop, reload: () => daemon.reload(), measure: () => daemon.measure() })
    if (stopping) return
    link.listening(await daemon.start())
  } catch (error) {
    // Whoever wants it stopped ends the process.
    if (stopping) return
    await link.failed(error)
    const unexpected = !(error instanceof LivemessageError) && error instanceof Error
    if (unexpected) process.stderr.write(`livemessage: worker ${link.worker}: ${error.stack}\n`)
    process.exit(error instanceof LivemessageError ? error.exitCode : 1)
  }
}
