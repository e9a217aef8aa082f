import { encodeMessage } from '../protocol/encode.ts'
import { formatCursor } from './cursor.ts'
import type { Entry } from './journal.ts'

/** An entry, with its message object written once for all who get it. `json` is the data's JSON text. */
export function makeEntry(
  epoch: string,
  position: number,
  channel: string,
  time: number,
  json: string,
  exclude?: string,
  mark?: string,
): Entry {
  const message = encodeMessage(channel, formatCursor(epoch, position), json, time)
  // Most have neither, and all of those share one shape.
  if (exclude === undefined && mark === undefined) return { position, channel, time, message }
  const entry: { -readonly [Key in keyof Entry]: Entry[Key] } = { position, channel, time, message }
  if (exclude !== undefined) entry.exclude = exclude
  if (mark !== undefined) entry.mark = mark
  return entry
}
