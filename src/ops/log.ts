import type { Logger as PinoLogger } from 'pino'

/** Fields, then a constant sentence: `log.warn({ source: 'postgres', attempt }, 'reconnecting')`. */
export type Log = Pick<PinoLogger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'level'> & {
  child(bindings: Record<string, unknown>): Log
}
