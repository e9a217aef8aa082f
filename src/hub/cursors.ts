import { formatCursor } from '../journal/cursor.ts'
import type { Journal } from '../journal/journal.ts'
import { COMPLETE_PARTS } from './client.ts'

export interface MovingCursorsOptions {
  readonly journal: Pick<Journal, 'epoch' | 'head'>
  /** Tells a part of those whose subscriptions are complete. */
  announce(part: number, cursor: string): void
  /** How often each of them is told, at the most. */
  readonly everyMs: number
}

/**
 * Moves the cursors of quiet channels: a client that comes back after hours names a place that memory still reaches,
 * and the database need not be asked for a proof that it missed nothing. One publication to each part of the clients
 * for each interval in which the journal went on; it goes the way of the messages, and so can't overtake one.
 */
export class MovingCursors {
  readonly #options: MovingCursorsOptions
  /** What each part was told last. */
  readonly #told: string[] = []
  #part = 0
  #timer: NodeJS.Timeout | null = null

  constructor(options: MovingCursorsOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#tick(), this.#options.everyMs / COMPLETE_PARTS).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  #tick(): void {
    const { journal, announce } = this.#options
    this.#part = (this.#part + 1) % COMPLETE_PARTS
    if (journal.epoch === '') return
    const cursor = formatCursor(journal.epoch, journal.head)
    if (cursor === this.#told[this.#part]) return
    this.#told[this.#part] = cursor
    announce(this.#part, cursor)
  }
}
