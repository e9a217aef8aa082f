import { createLogger } from '../ops/logger.ts'
import type { Log } from '../ops/log.ts'
import { isRecord } from '../config/values.ts'

/** A line of the daemon's log, decoded. */
export type LogLine = { readonly level: string; readonly msg: string } & Readonly<Record<string, unknown>>

/** A log that is kept, for the test to look at. */
export interface KeptLog {
  readonly log: Log
  readonly lines: readonly LogLine[]
}

/** @param print from which level on lines are printed on standard error too; null: none */
export function keepLog(level: string, print: string | null): KeptLog {
  const lines: LogLine[] = []
  const printed = print === null ? Infinity : (LEVELS[print] ?? 0)
  const write = (text: string): void => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the logger's own lines
    const line = JSON.parse(text) as LogLine
    lines.push(line)
    if ((LEVELS[line.level] ?? 0) >= printed) process.stderr.write(text)
  }
  return { log: createLogger({ level, destination: { write } }), lines }
}

const LEVELS: Readonly<Record<string, number>> = { trace: 1, debug: 2, info: 3, warn: 4, error: 5, fatal: 6 }

/** What an action threw last, as the log has it: clients are told no more than `internal`. */
export function causeOf(lines: readonly LogLine[], action: string): Error | undefined {
  const line = lines.findLast(
    ({ level, subsystem, action: name, err }) =>
      level === 'error' && `${String(subsystem)}.${String(name)}` === action && isRecord(err),
  )
  const thrown = line?.['err']
  if (!isRecord(thrown)) return undefined
  const cause = new Error(String(thrown['message']))
  cause.name = String(thrown['type'])
  cause.stack = String(thrown['stack'])
  return cause
}
