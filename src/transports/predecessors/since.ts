import type { Range } from '../../hub/subscriber.ts'
import { parseCursor } from '../../journal/cursor.ts'
import { invalid } from '../fields.ts'

/** From where on a page of a predecessor wants messages: a cursor, or a time in ms, 0 for all that is kept. */
export type Since = { readonly cursor: string } | { readonly afterMs: number }

/** The year 5138 in seconds, and 1973 in milliseconds: which of both a number means. */
const LEAST_MS = 1e11

/**
 * A cursor, or a time in milliseconds or seconds since 1970.
 * @throws {ClientError} invalid_input
 */
export function readSince(text: string): Since {
  if (parseCursor(text) !== null) return { cursor: text }
  if (!/^\d{1,16}(\.\d{1,9})?$/.test(text)) {
    throw invalid('since: expected the id of a message, 0, or a time in milliseconds or seconds since 1970')
  }
  const number = Number(text)
  return { afterMs: number < LEAST_MS ? number * 1000 : number }
}

/** What is asked of the journal for it: a time is looked for among the newest. */
export function rangeOf(since: Since, newest: number): Range {
  return 'cursor' in since ? { since: since.cursor } : { last: newest }
}
