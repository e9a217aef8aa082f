import type { Client } from '../../hub/client.ts'

/** Something that a client's bytes wait in. */
export interface Waiting {
  readonly client: Client | null
  /** Bytes. */
  readonly waiting: number
}

/**
 * Tells clients that what waited for them has left. Neither engine says so through the library: whoever was seen
 * with something waiting is looked at again until nothing does.
 */
export class Drains {
  readonly #everyMs: number
  readonly #watched = new Map<Waiting, number>()
  #timer: NodeJS.Timeout | null = null

  /** @param everyMs @default 20 */
  constructor(everyMs = 20) {
    this.#everyMs = everyMs
  }

  watch(link: Waiting, bytes: number): void {
    if (!this.#watched.has(link)) this.#watched.set(link, bytes)
    this.#timer ??= setInterval(() => this.#look(), this.#everyMs).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    this.#watched.clear()
  }

  #look(): void {
    // What a client does when it is told may have it watched again: it is seen the next time.
    for (const [link, before] of [...this.#watched]) {
      const bytes = link.waiting
      if (bytes > 0) this.#watched.set(link, bytes)
      else this.#watched.delete(link)
      if (bytes < before) link.client?.onDrain()
    }
    if (this.#watched.size === 0) this.stop()
  }
}
