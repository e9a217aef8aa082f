import type { DestinationStream } from 'pino'
import { DIM, GREEN, RED, RESET, YELLOW } from './colours.ts'

/** Log lines for people: time, level, sentence, and the fields behind it. */
export function terminalLog(write: (text: string) => void): DestinationStream {
  return {
    write(line: string) {
      const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>
      const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${plain(value)}`)
      write(
        `${DIM}${localTime(String(time))}${RESET} ${colourOf(level)}${String(level).padEnd(5)}${RESET} ` +
          `${String(msg)}${DIM}${rest.join('')}${RESET}\n${stackOf(err)}`,
      )
    },
  }
}

/** As the wall clock of whoever sits there has it. */
function localTime(iso: string): string {
  return new Date(iso).toTimeString().slice(0, 8)
}

function colourOf(level: unknown): string {
  if (level === 'error' || level === 'fatal') return RED
  return level === 'warn' ? YELLOW : GREEN
}

/** Texts of several lines, as the problems of a config, stay readable. */
function plain(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value)
  if (value.includes('\n')) return value
  return /[\s"=]/.test(value) ? JSON.stringify(value) : value
}

function stackOf(err: unknown): string {
  if (typeof err !== 'object' || err === null || !('stack' in err)) return ''
  return `${String(err.stack).replace(/^/gm, '      ')}\n`
}
