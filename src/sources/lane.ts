import type { MaybePromise, Taken } from './source.ts'

/**
 * Hands items over one at a time, in order. An item whose handling returns no promise costs none: the next one
 * follows in the same turn. One that is `Taken` lets the next one follow too, and stays in hand until it is kept.
 * `handle` answers for its own errors: neither it nor `kept` may throw or reject.
 */
export class Lane<T> {
  readonly #handle: (item: T) => MaybePromise<Taken | void>
  readonly #onIdle: (() => void) | undefined
  #waiting: T[] = []
  /** Index of the next item: an array's `shift` would move all that wait behind it. */
  #next = 0
  /** One is being handed over. */
  #busy = false
  /** Handed over, and not yet kept. */
  #inHand = 0
  #idle: (() => void)[] = []

  /** @param onIdle called each time that nothing is under way or in hand any more and nothing waits */
  constructor(handle: (item: T) => MaybePromise<Taken | void>, onIdle?: () => void) {
    this.#handle = handle
    this.#onIdle = onIdle
  }

  /** How many wait behind the one that is being handed over. */
  get waiting(): number {
    return this.#waiting.length - this.#next
  }

  /** How many are handed over and not yet kept. */
  get inHand(): number {
    return this.#inHand
  }

  push(item: T): void {
    if (this.#busy) {
      this.#waiting.push(item)
      return
    }
    this.#busy = true
    const work = this.#handle(item)
    if (work instanceof Promise) void work.then(this.#continue)
    else this.#continue(work)
  }

  /** Forgets what waits; the one under way goes on, and so do those in hand. */
  clear(): void {
    this.#waiting = []
    this.#next = 0
  }

  /** Resolves with true when nothing is under way or in hand and nothing waits; with false after `deadlineMs`. */
  idle(deadlineMs: number): Promise<boolean> {
    if (!this.#busy && this.#inHand === 0) return Promise.resolve(true)
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), deadlineMs)
      this.#idle.push(() => {
        clearTimeout(timer)
        resolve(true)
      })
    })
  }

  /** @param taken what became of the one that was under way */
  readonly #continue = (taken: Taken | void): void => {
    if (taken) this.#hold(taken)
    while (this.#next < this.#waiting.length) {
      const item = this.#waiting[this.#next++]!
      const work = this.#handle(item)
      if (work instanceof Promise) {
        void work.then(this.#continue)
        return
      }
      if (work) this.#hold(work)
    }
    this.clear()
    this.#busy = false
    this.#tellIdle()
  }

  #hold({ kept }: Taken): void {
    this.#inHand++
    void kept.then(this.#release)
  }

  readonly #release = (): void => {
    this.#inHand--
    this.#tellIdle()
  }

  #tellIdle(): void {
    if (this.#busy || this.#inHand > 0) return
    for (const tell of this.#idle.splice(0)) tell()
    this.#onIdle?.()
  }
}
