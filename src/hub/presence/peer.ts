import type { Log } from '../../ops/log.ts'
import type { Book } from './entry.ts'
import type { Line, PresenceMemo } from './memos.ts'
import type { Rooms } from './rooms.ts'

export interface PeerDependencies {
  readonly node: string
  readonly rooms: Rooms
  readonly log: Log
  /** How long a page may take to come. */
  readonly pageMs: number
  maxEntries(): number
  onTrouble(reason: string): void
  /** Asks the node for all that it has. */
  ask(id: number): void
}

/** Between two times of asking for everything: more and more, until what the node says agrees. */
const MIN_PAUSE_MS = 250
const MAX_PAUSE_MS = 30_000

/** What one other node has told of its clients. */
export class Peer {
  readonly #deps: PeerDependencies
  readonly #book: Book
  /** Of its changes, the last that came. */
  #number = 0
  /** Its tellings of everything that were begun. */
  #round = 0
  /** The one under way. */
  #sync: { readonly id: number; page: number; at: number } | null = null
  #lastId = 0
  #notBefore = 0
  #pauseMs = 0
  #retry: NodeJS.Timeout | null = null
  #gone = false

  constructor(deps: PeerDependencies) {
    this.#deps = deps
    this.#book = { node: deps.node, count: 0, sum: 0 }
  }

  changes(number: number, lines: readonly Line[]): void {
    const missed = number !== this.#number + 1
    this.#number = number
    for (const line of lines) this.#take(line)
    // Before the first page of everything comes, gaps are what it is asked for.
    if (missed && (this.#sync === null || this.#sync.page > 0)) this.#ask()
  }

  digest(number: number, count: number, sum: number): void {
    if (this.#sync !== null && performance.now() - this.#sync.at < this.#deps.pageMs) return
    this.#sync = null
    if (number === this.#number && count === this.#book.count && sum === this.#book.sum) this.#pauseMs = 0
    else this.#ask()
  }

  page({ id, page, number, lines, last }: PresenceMemo & { kind: 'page' }): void {
    const sync = this.#sync
    // Of an answer that nobody waits for any more.
    if (sync === null || id !== sync.id) return
    if (page !== sync.page) return this.#ask()
    if (page === 0) {
      // What was said before it is in it, or over.
      this.#round++
      this.#number = number
    }
    sync.page++
    sync.at = performance.now()
    for (const line of lines) this.#take(line)
    if (!last) return
    this.#sync = null
    const round = this.#round
    this.#sweep(({ round: told }) => told < round)
  }

  /** It has gone, or can't be heard: so have its clients. `onEmpty` when nothing is left, unless it comes back. */
  gone(onEmpty: () => void): void {
    this.#gone = true
    this.stop()
    this.#sweep(
      () => this.#gone,
      () => {
        if (this.#gone) onEmpty()
      },
    )
  }

  back(): void {
    this.#gone = false
  }

  stop(): void {
    this.#sync = null
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#retry = null
  }

  #take([channel, session, user, info]: Line): void {
    const { rooms, maxEntries, onTrouble } = this.#deps
    if (user === undefined || info === undefined) {
      rooms.delete(channel, session, this.#book)
      return
    }
    if (this.#book.count >= maxEntries() && rooms.get(channel)?.get(session) === undefined) {
      return onTrouble('too many entries')
    }
    const put = rooms.put(channel, { session, user, info, book: this.#book, round: this.#round })
    if (put === 'foreign') onTrouble('a session of another node')
  }

  /** Asks for everything, now or when it may again. */
  #ask(): void {
    this.#sync = null
    if (this.#retry !== null) return
    const now = performance.now()
    const waitMs = this.#notBefore - now
    if (waitMs > 0) {
      this.#retry = setTimeout(() => {
        this.#retry = null
        this.#ask()
      }, waitMs).unref()
      return
    }
    this.#pauseMs = Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, 2 * this.#pauseMs))
    this.#notBefore = now + this.#pauseMs
    this.#sync = { id: ++this.#lastId, page: 0, at: now }
    this.#deps.ask(this.#sync.id)
  }

  #sweep(isStale: Parameters<Rooms['sweep']>[1], onDone?: () => void): void {
    const { rooms, log, node } = this.#deps
    rooms.sweep(this.#book, isStale).then(onDone, (error: unknown) => {
      log.error({ node, err: error }, 'entries of presence could not be removed')
    })
  }
}
