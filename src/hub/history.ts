import { parseCursor } from '../journal/cursor.ts'
import type { Journal, Page } from '../journal/journal.ts'
import { ClientError } from '../protocol/codes.ts'
import type { Live } from '../rules.ts'
import { subsystemOf } from '../protocol/names.ts'
import type { MaybePromise } from '../sources/source.ts'
import { answerBytesOf } from './pacing.ts'

export interface HistoryRange {
  readonly since?: string
  readonly last?: number
  readonly limit?: number
}

/** Answers questions about a channel's past, for clients that don't want to subscribe. */
export class History {
  readonly #live: Live
  readonly #journal: Journal

  constructor(live: Live, journal: Journal) {
    this.#live = live
    this.#journal = journal
  }

  /**
   * `{"messages":[…],"complete":…}` as JSON text, oldest first, within the recovery limits. `complete` is a
   * proof that the channel had exactly these since the cursor; with `last`, that they are the newest. A
   * transient channel has none, and proves nothing.
   * @throws {ClientError} invalid_input; unavailable while the journal can't be reached
   */
  read(channel: string, { since, last, limit }: HistoryRange): MaybePromise<string> {
    const { channels, limits } = this.#live.rules.config
    if (channels.get(subsystemOf(channel))?.history == null) return NOTHING
    const journal = this.#journal
    if (journal.epoch === '') throw notReached()
    const { recoveryMessages } = limits
    const most = Math.min(limit ?? recoveryMessages, recoveryMessages)
    if (since === undefined) {
      return this.#answer(journal.last([channel], Math.min(last ?? most, most)), 'newest')
    }
    const cursor = parseCursor(since)
    if (cursor === null) throw new ClientError('invalid_input', 'since: expected a cursor')
    if (cursor.epoch !== journal.epoch) return NOTHING
    return this.#answer(journal.since([channel], cursor.position, most), 'oldest')
  }

  #answer(page: MaybePromise<Page>, keep: 'newest' | 'oldest'): MaybePromise<string> {
    const { epoch } = this.#journal
    if (page instanceof Promise) {
      return page.then((known) => (epoch === this.#journal.epoch ? this.#write(known, keep) : NOTHING))
    }
    return this.#write(page, keep)
  }

  #write(page: Page, keep: 'newest' | 'oldest'): string {
    const bytes = answerBytesOf(this.#live.rules.config.limits)
    const messages = page.entries.map((entry) => entry.message)
    if (keep === 'newest') messages.reverse()
    let size = 0
    const fitting = messages.findIndex((message) => (size += message.length) > bytes)
    if (fitting !== -1) messages.length = Math.max(fitting, 1)
    if (keep === 'newest') messages.reverse()
    const cut = messages.length < page.entries.length || page.more || page.lost.length > 0
    return `{"messages":[${messages.join(',')}],"complete":${!cut}}`
  }
}

/** Before the journal was reached for the first time. */
export function notReached(): ClientError {
  return new ClientError('unavailable', 'the journal has not been reached yet')
}

const NOTHING = '{"messages":[],"complete":false}'
