import type { KeptLetter } from './letter-store.ts'
import { table } from './table.ts'

const REASON_WIDTH = 60
const BODY_BYTES = 10_000
const DUMP_BYTES = 256

/** A list of letters, for people. */
export function letterTable(letters: readonly KeptLetter[]): string {
  const rows = letters.map((letter) => [
    letter.id,
    timeOf(letter),
    printable(letter.source),
    printable(letter.channel ?? letter.name ?? ''),
    printable(letter.code),
    String(letter.attempts),
    String(letter.bytes),
    cut(printable(letter.reason), REASON_WIDTH),
  ])
  return table(['ID', 'TIME', 'SOURCE', 'PLACE', 'CODE', 'ATTEMPTS', 'BYTES', 'REASON'], rows)
}

/** One letter, for people. */
export function letterText(letter: KeptLetter): string {
  const {
    id,
    source,
    name,
    channel,
    subsystem,
    code,
    reason,
    attempts,
    bytes,
    headers,
    properties,
    database,
  } = letter
  const fields: readonly (readonly [string, string | null])[] = [
    ['id', id],
    ['time', timeOf(letter)],
    ['source', source],
    ['name', name],
    ['channel', channel],
    ['subsystem', subsystem],
    ['database', database],
    ['code', code],
    ['reason', reason],
    ['attempts', String(attempts)],
    ...Object.entries(properties ?? {}).map(([key, value]) => [key, inline(value)] as const),
    ...Object.entries(headers ?? {}).map(([key, value]) => [`header ${key}`, inline(value)] as const),
    ['body', letter.body === null ? 'none' : `${bytes} bytes`],
  ]
  const lines = fields
    .filter(([, value]) => value !== null)
    .map(([field, value]) => `${`${printable(field)}:`.padEnd(12)}${printable(value ?? '')}`)
  return `${lines.join('\n')}\n\n${bodyText(letter)}`
}

/** As JSON: the body is a text where it is one, else `bodyBase64`. */
export function letterJson({ body, key: _key, time, ...rest }: KeptLetter): Record<string, unknown> {
  const json = { ...rest, time: time === null ? null : new Date(time).toISOString() }
  if (body === null) return json
  const text = bodyAsText(body)
  return text === null
    ? { ...json, bodyBase64: Buffer.from(body).toString('base64') }
    : { ...json, body: text }
}

/** Without what would change the terminal. */
export function printable(text: string): string {
  return text.replace(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

// C0, DEL and C1; and what turns the direction of writing.
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

function bodyText({ body, bytes }: KeptLetter): string {
  if (body === null) return ''
  const text = bodyAsText(body)
  if (text === null) return `${dump(Buffer.from(body))}${more(bytes - DUMP_BYTES)}`
  const lines = cut(text, BODY_BYTES)
    .split('\n')
    .map((line) => printable(line))
  return `${lines.join('\n')}${more(bytes - Math.max(BODY_BYTES, Buffer.byteLength(text.slice(0, BODY_BYTES))))}`
}

/** Null where it is no UTF-8. */
function bodyAsText(body: string | Buffer): string | null {
  if (typeof body === 'string') return body
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
  } catch (error) {
    if (error instanceof TypeError) return null
    throw error
  }
}

function dump(body: Buffer): string {
  const lines: string[] = []
  for (let at = 0; at < Math.min(body.length, DUMP_BYTES); at += 16) {
    const bytes = body.subarray(at, at + 16)
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const text = [...bytes]
      .map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.'))
      .join('')
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  ${text}`)
  }
  return lines.join('\n')
}

function more(bytes: number): string {
  return bytes > 0 ? `\n… ${bytes} bytes more: --raw writes all of it` : ''
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text
}

function inline(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function timeOf({ time }: KeptLetter): string {
  return time === null ? '' : new Date(time).toISOString()
}
