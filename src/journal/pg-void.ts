import { parseJson, isRecord } from '../protocol/json.ts'
import { isChannel } from '../protocol/names.ts'
import type { Forgotten } from './journal.ts'

/** Whether a row of the table is of no channel: a publication that was forgotten, or the tombstone that says so. */
export function isVoid({ channel }: { readonly channel: string }): boolean {
  return channel === ''
}

/** What a tombstone says; null for a row that has nothing to say. */
export function decodeTombstone(data: string): Forgotten | null {
  const value = data === '' ? null : parseJson(data)?.value
  if (!isRecord(value)) return null
  const { channel, positions = null, upTo = 0, more = false } = value
  if (typeof channel !== 'string' || !isChannel(channel) || !isPosition(upTo)) return null
  if (positions !== null && !(Array.isArray(positions) && positions.every(isPosition))) return null
  return { channel, positions, upTo, more: more === true }
}

function isPosition(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
