import { timeOf } from '../../protocol/encode.ts'
import { JSON_HEADERS } from '../http.ts'
import { namesTag, tagOf } from '../poll/answers.ts'
import type { AnswerFormat } from '../poll/poller.ts'
import { readPublished } from './messages.ts'
import { rangeOf, type Since } from './since.ts'

/** Who keeps the answer of a comet would take it for the next one. */
const ONCE = { 'Cache-Control': 'no-store' }

/** Some of what a place promised is gone. */
const LOST = { 'Livemessage-Lost': 'true' }

/**
 * The comet: the next message after the client's place, as it was published, with that message's place as its ETag;
 * 304 where none came.
 * @param since null: from now on
 * @param newest among how many a time is looked for
 */
export function cometFormat(since: Since | null, newest: number): AnswerFormat {
  const afterMs = since !== null && 'afterMs' in since ? since.afterMs : null
  return {
    refusal: ONCE,
    holds: true,
    wants: (message) => afterMs === null || timeOf(message) > afterMs,
    past: () => (since === null ? {} : rangeOf(since, newest)),
    reply({ cursor, lost, messages }) {
      const next = afterMs === null ? messages[0] : messages.find((message) => timeOf(message) > afterMs)
      const gone = lost.length === 0 ? ONCE : { ...ONCE, ...LOST }
      if (next === undefined) return { status: 304, headers: { ...gone, ...tagged(cursor) }, body: '' }
      const { contentType, body, id, time } = readPublished(next)
      const headers = {
        ...gone,
        ...tagged(id ?? cursor),
        'Content-Type': contentType,
        'Last-Modified': new Date(time).toUTCString(),
        'X-Content-Type-Options': 'nosniff',
      }
      return { status: 200, headers, body }
    },
  }
}

/**
 * Polling: a list of message objects, the newest first. 304 for a list that the client has. Where its place is lost it
 * is sent to `all`, the address of all that is kept: an empty list would leave it with that place for ever.
 * @param sent it comes from there
 */
export function listFormat(
  since: Since,
  newest: number,
  { all, sent }: { all: string; sent: boolean },
): AnswerFormat {
  const afterMs = 'afterMs' in since ? since.afterMs : 0
  return {
    refusal: ONCE,
    past: () => rangeOf(since, newest),
    reply(answer, { ifNoneMatch }) {
      const messages = answer.messages.filter((message) => afterMs === 0 || timeOf(message) > afterMs)
      const tag = tagOf({ ...answer, messages })
      const gone = answer.lost.length === 0 && !sent ? {} : LOST
      if (answer.lost.length > 0 && messages.length === 0 && 'cursor' in since) {
        return { status: 302, headers: { ...ONCE, ...LOST, Location: all }, body: '' }
      }
      const headers = { ...JSON_HEADERS, ...gone, 'Cache-Control': 'private, no-cache', ETag: tag }
      if (ifNoneMatch !== '' && namesTag(ifNoneMatch, tag)) return { status: 304, headers, body: '' }
      return { status: 200, headers, body: `[${messages.toReversed().join(',')}]` }
    },
  }
}

function tagged(cursor: string | null): Readonly<Record<string, string>> {
  return cursor === null ? {} : { ETag: `"${cursor}"` }
}
