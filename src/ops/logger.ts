import { type DestinationStream, pino } from 'pino'
import type { Log } from './log.ts'

export interface LoggerOptions {
  readonly level: string
  /** Where lines go. @default standard output, as JSON */
  readonly destination?: DestinationStream
}

/** JSON lines with a level as word and a time as ISO 8601. What looks like a secret is left out. */
export function createLogger({ level, destination = standardOutput() }: LoggerOptions): Log {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: ['token', 'password', 'secret', '*.token', '*.password', '*.secret'], remove: true },
  }
  return pino(options, destination)
}

function standardOutput(): DestinationStream {
  // Synchronous: the last lines before an exit are those that matter.
  const output = pino.destination({ sync: true })
  // Whoever reads the log may have gone, and the disk may be full: neither is a reason to drop everyone's
  // connections, and there is nowhere else to tell it.
  output.on('error', () => undefined)
  return output
}
