import type { Book, Entry } from './entry.ts'
import type { Line } from './memos.ts'
import type { Rooms } from './rooms.ts'

export interface TransferOptions {
  readonly rooms: Rooms
  /** Whose entries are told. */
  readonly own: Book
  send(page: number, lines: readonly Line[], last: boolean): void
  /** Pause between two pages. */
  pauseMs(): number
}

/** A page's entries, and how many are looked at for it: the others' are between them. */
const PAGE_LINES = 300
const PAGE_LOOKS = 5_000

/**
 * Tells one node all entries of this one, page by page. Whatever changes meanwhile is told to it as to all: who comes
 * is in a later page too, or not, and who goes is in none.
 */
export class Transfer {
  readonly #options: TransferOptions
  readonly #entries: Iterator<readonly [string, Entry]>
  #page = 0
  #timer: NodeJS.Timeout | null = null

  constructor(options: TransferOptions) {
    this.#options = options
    this.#entries = all(options.rooms)
  }

  start(): void {
    const { own, send, pauseMs } = this.#options
    const lines: Line[] = []
    let over = false
    for (let looks = 0; looks < PAGE_LOOKS && lines.length < PAGE_LINES; looks++) {
      const next = this.#entries.next()
      over = next.done === true
      if (next.done === true) break
      const [channel, { session, user, info, book }] = next.value
      if (book === own) lines.push([channel, session, user, info])
    }
    send(this.#page++, lines, over)
    if (!over) this.#timer = setTimeout(() => this.start(), pauseMs()).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
  }
}

function* all(rooms: Rooms): Iterator<readonly [string, Entry]> {
  for (const [channel, room] of rooms) for (const entry of room.entries()) yield [channel, entry]
}
