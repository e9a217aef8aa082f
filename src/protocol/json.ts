import { isAscii, isUtf8 } from 'node:buffer'
import { oneLine } from './json-text.ts'

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
  // SSE and NDJSON need one line. Not by writing the value again: that would round large numbers.
  return { text: oneLine(text), value }
}

/**
 * A value as JSON text; `undefined` becomes null.
 * @throws {TypeError} where JSON can't carry it: cycles, BigInt
 * @throws {RangeError} where it is nested so deeply that it can't be written
 */
export function writeJson(value: unknown): string {
  const json: string | undefined = JSON.stringify(value)
  return json ?? 'null'
}

/** A value as JSON text; undefined where JSON can't carry it. */
export function tryWriteJson(value: unknown): string | undefined {
  try {
    return writeJson(value)
  } catch {
    // Whatever a module's `toJSON` threw: the answer is that there is no text.
    return undefined
  }
}

/** An object that is no list, as JSON has them. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
