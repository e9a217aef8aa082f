import type { DestinationStream } from 'pino'

/** Log lines for people: time, level, sentence, and the fields behind it. */
export function terminalLog(write: (text: string) => void): DestinationStream {
  return {
    write(line: string) {
      const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>
      const rest = Object.entries(fields).map(([key, value]) => `${key}=${plain(value)}`)
      const stack = stackOf(err)
      write(
        `${DIM}${String(time).slice(11, 19)}${RESET} ${colourOf(level)}${String(level).padEnd(5)}${RESET} ` +
          `${String(msg)} ${DIM}${rest.join(' ')}${RESET}\n${stack}`,
      )
    },
  }
}

const DIM = '\u001b[2m'
const RESET = '\u001b[0m'

function colourOf(level: unknown): string {
  if (level === 'error' || level === 'fatal') return '\u001b[31m'
  return level === 'warn' ? '\u001b[33m' : '\u001b[32m'
}

function plain(value: unknown): string {
  return typeof value === 'string' && !/[\s"=]/.test(value) ? value : JSON.stringify(value)
}

function stackOf(err: unknown): string {
  if (typeof err !== 'object' || err === null || !('stack' in err)) return ''
  return `${String(err.stack).replace(/^/gm, '      ')}\n`
}
