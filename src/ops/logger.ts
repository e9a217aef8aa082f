import { type DestinationStream, pino } from 'pino'
import type { Log } from './log.ts'

export interface LoggerOptions {
  readonly level: string
  /** Where lines go. @default standard output, as JSON */
  readonly destination?: DestinationStream
}

/** JSON lines with a level as word and a time as ISO 8601. What looks like a secret is left out. */
export function createLogger({ level, destination }: LoggerOptions): Log {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: ['token', 'password', 'secret', '*.token', '*.password', '*.secret'], remove: true },
  }
  // Synchronous: the last lines before an exit are those that matter.
  return destination === undefined
    ? pino(options, pino.destination({ sync: true }))
    : pino(options, destination)
}
