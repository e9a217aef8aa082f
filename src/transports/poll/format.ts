import { JSON_HEADERS } from '../http.ts'
import { namesTag, tagOf } from './answers.ts'
import type { AnswerFormat } from './poller.ts'

/** Whoever keeps an answer asks each time whether it still holds. */
const CHECKED = { ...JSON_HEADERS, 'Cache-Control': 'private, no-cache' }

/** Of an answer that was waited for there is no second one. */
const ONCE = { ...JSON_HEADERS, 'Cache-Control': 'no-store' }

/** The answers of `/poll`. Plain polling has an ETag: 304 says that there is what was there the last time. */
export const plainFormat: AnswerFormat = {
  refusal: { 'Cache-Control': 'no-store' },
  reply(answer, { waitMs, session, ifNoneMatch }, bodyOf) {
    // A session's secret is in no cache.
    if (waitMs > 0 || session !== null) return { status: 200, headers: ONCE, body: bodyOf(answer) }
    const tag = tagOf(answer)
    const headers = { ...CHECKED, ETag: tag }
    if (ifNoneMatch !== '' && namesTag(ifNoneMatch, tag)) return { status: 304, headers, body: '' }
    return { status: 200, headers, body: bodyOf(answer) }
  },
}
