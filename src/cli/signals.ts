import { messageOf } from '../errors.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { culpritOf } from '../registry/culprit.ts'
import type { Registry } from '../registry/registry.ts'

/** Whatever this process runs: a node, or a group of workers. */
export interface Process {
  stop(reason: 'restart' | 'shutdown'): Promise<void>
  /** False when it was refused, which has been logged; never rejects. */
  reload(): Promise<boolean>
  /** Ends at once what would outlive this process. */
  kill(): void
}

/** An error that nobody has handled. */
export type OnStray = (kind: 'rejection' | 'exception', error: unknown) => void

/** The first signal stops gracefully, a second one at once. The signal returned is aborted by the first. */
export function obeySignals(running: Process, log: Log): AbortSignal {
  const stopping = new AbortController()
  const end = (signal: NodeJS.Signals): void => {
    if (stopping.signal.aborted) {
      running.kill()
      process.exit(signal === 'SIGTERM' ? 143 : 130)
    }
    stopping.abort()
    log.info({ signal }, 'stopping')
    running.stop(signal === 'SIGTERM' ? 'restart' : 'shutdown').then(
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
  process.on('SIGHUP', () => void running.reload())
  // The terminal is gone, and nobody is left who could end us there.
  process.stdout.on('error', () => {
    if (!stopping.signal.aborted) end('SIGTERM')
  })
  return stopping.signal
}

/** A module's stray promise or timer must not take everyone's connections down. */
export function obeyErrors(onStray: OnStray): void {
  process.on('unhandledRejection', (reason) => onStray('rejection', reason))
  process.on('uncaughtException', (error) => onStray('exception', error))
}

/** Tells of such an error, and whose it is as far as its stack says; counted where somebody counts. */
export function stray(
  {
    log,
    counts,
    rules,
  }: {
    readonly log: Log
    readonly counts?: Counts
    readonly rules?: { readonly registry: Pick<Registry, 'modules'> }
  },
  kind: 'rejection' | 'exception',
  error: unknown,
): void {
  counts?.error('process', kind)
  const culprit = culpritOf(error, rules?.registry.modules ?? [])
  const named =
    culprit === null ? {} : { subsystem: culprit.subsystem, action: culprit.key, path: culprit.path }
  log.error(
    { kind, ...named, err: error instanceof Error ? error : new Error(messageOf(error)) },
    'nobody handled this error: look for a floating promise or a timer in a module',
  )
}
