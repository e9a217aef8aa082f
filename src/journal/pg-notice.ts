import { isChannel } from '../protocol/names.ts'
import { makeEntry } from './entry.ts'
import type { Draft, Entry } from './journal.ts'

/** PostgreSQL takes 7,999 bytes a payload; the difference is for the header that the server puts in front. */
const MAX_BODY_BYTES = 7900

/*
 * A payload: `<first position> <count> <time> <tag>`, and a line for each entry: `<channel> !<exclude> ~<mark> <json>`.
 * Or `epoch <new epoch>`. It is read without JSON.parse and without a split: this is done for every publication.
 */

/** What a payload says of a transaction's entries. */
export interface Notice {
  readonly first: number
  readonly count: number
  readonly time: number
  readonly tag: string
  /** Where the lines begin; -1 when there are none, and the entries must be read from the table. */
  readonly lines: number
}

/** Null for what is no such payload. */
export function decodeNotice(payload: string): Notice | null {
  const end = payload.indexOf('\n')
  const one = payload.indexOf(' ')
  const two = payload.indexOf(' ', one + 1)
  const three = payload.indexOf(' ', two + 1)
  if (one < 1 || two < 0 || three < 0 || (end !== -1 && end < three)) return null
  const first = Number(payload.slice(0, one))
  const count = Number(payload.slice(one + 1, two))
  const time = Number(payload.slice(two + 1, three))
  const tag = payload.slice(three + 1, end === -1 ? payload.length : end)
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || !Number.isSafeInteger(time)) return null
  if (first < 1 || count < 1 || tag === '' || !Number.isSafeInteger(first + count)) return null
  return { first, count, time, tag, lines: end === -1 || end === payload.length - 1 ? -1 : end + 1 }
}

/** The entries of a payload's lines, or null where these are not what the header says. */
export function readLines(payload: string, notice: Notice, epoch: string): Entry[] | null {
  const entries: Entry[] = []
  let at = notice.lines
  for (let index = 0; index < notice.count; index++) {
    if (at > payload.length) return null
    let end = payload.indexOf('\n', at)
    if (end === -1) end = payload.length
    const entry = readLine(payload, at, end, notice.first + index, notice.time, epoch)
    if (entry === null) return null
    entries.push(entry)
    at = end + 1
  }
  return at >= payload.length ? entries : null
}

function readLine(
  payload: string,
  start: number,
  end: number,
  position: number,
  time: number,
  epoch: string,
): Entry | null {
  let space = payload.indexOf(' ', start)
  if (space === -1 || space >= end) return null
  const channel = payload.slice(start, space)
  // Whatever role of the database wrote this: a channel is set into frames as it is.
  if (!isChannel(channel)) return null
  let exclude: string | undefined
  let mark: string | undefined
  if (payload.charCodeAt(space + 1) === 33) {
    const next = payload.indexOf(' ', space + 1)
    if (next === -1 || next >= end) return null
    exclude = payload.slice(space + 2, next)
    space = next
  }
  if (payload.charCodeAt(space + 1) === 126) {
    const next = payload.indexOf(' ', space + 1)
    if (next === -1 || next >= end) return null
    mark = payload.slice(space + 2, next)
    space = next
  }
  if (space + 1 >= end) return null
  return makeEntry(epoch, position, channel, time, payload.slice(space + 1, end), exclude, mark)
}

/** Packs drafts into as few payload bodies as they fit in, each with the number of its entries. */
export function packBodies(
  drafts: readonly Draft[],
  withData: boolean,
): { bodies: string[]; counts: number[] } {
  if (!withData) return { bodies: [''], counts: [drafts.length] }
  const bodies: string[] = []
  const counts: number[] = []
  let room = -1
  for (const draft of drafts) {
    const line = lineOf(draft)
    const bytes = Buffer.byteLength(line)
    const last = bodies.length - 1
    if (bytes > MAX_BODY_BYTES) {
      // Too large for any: it is announced by its position, together with others of its kind beside it.
      if (room === 0) counts[last]!++
      else {
        bodies.push('')
        counts.push(1)
      }
      room = 0
    } else if (bytes + 1 <= room) {
      bodies[last] += `\n${line}`
      counts[last]!++
      room -= bytes + 1
    } else {
      bodies.push(line)
      counts.push(1)
      room = MAX_BODY_BYTES - bytes
    }
  }
  return { bodies, counts }
}

function lineOf({ channel, exclude, mark, json }: Draft): string {
  const head = exclude === undefined ? channel : `${channel} !${exclude}`
  return mark === undefined ? `${head} ${json}` : `${head} ~${mark} ${json}`
}
