import { isAscii, isUtf8 } from 'node:buffer'

/** JSON text and what it says. */
export interface Json {
  /** On one line, otherwise as it came: numbers keep every digit. */
  readonly text: string
  readonly value: unknown
}

/** Reads JSON bytes. Null when they are not UTF-8 or not JSON. */
export function readJson(bytes: Buffer): Json | null {
  if (isAscii(bytes)) return parseJson(bytes.toString('latin1'))
  return isUtf8(bytes) ? parseJson(bytes.toString('utf8')) : null
}

/** Reads JSON text. Null when it is none. */
export function parseJson(text: string): Json | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
  // In JSON text a line break can only be white space between tokens; SSE and NDJSON need one line.
  return { text: LINE_BREAK.test(text) ? JSON.stringify(value) : text, value }
}

/**
 * A value as JSON text; `undefined` becomes null.
 * @throws {TypeError} where JSON can't carry it: cycles, BigInt
 */
export function writeJson(value: unknown): string {
  return (JSON.stringify(value) as string | undefined) ?? 'null'
}

const LINE_BREAK = /[\n\r]/
