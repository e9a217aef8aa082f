import type { MaybePromise } from './source.ts'

/**
 * Hands items over one at a time, in order. An item whose handling returns no promise costs none: the next
 * one follows in the same turn. `handle` answers for its own errors and must not throw or reject.
 */
export class Lane<T> {
  readonly #handle: (item: T) => MaybePromise<void>
  readonly #onIdle: (() => void) | undefined
  #waiting: T[] = []
  /** Index of the next item: an array's `shift` would move all that wait behind it. */
  #next = 0
  #busy = false
  #idle: (() => void)[] = []

  /** @param onIdle called each time that nothing is under way any more and nothing waits */
  constructor(handle: (item: T) => MaybePromise<void>, onIdle?: () => void) {
    this.#handle = handle
    this.#onIdle = onIdle
  }

  /** How many wait behind the one under way. */
  get waiting(): number {
    return this.#waiting.length - this.#next
  }

  push(item: T): void {
    if (this.#busy) {
      this.#waiting.push(item)
      return
    }
    this.#busy = true
    const work = this.#handle(item)
    if (work) void work.then(this.#continue)
    else this.#continue()
  }

  /** Forgets what waits; the one under way goes on. */
  clear(): void {
    this.#waiting = []
    this.#next = 0
  }

  /** Resolves with true when nothing is under way and nothing waits; with false after `deadlineMs`. */
  idle(deadlineMs: number): Promise<boolean> {
    if (!this.#busy) return Promise.resolve(true)
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), deadlineMs)
      this.#idle.push(() => {
        clearTimeout(timer)
        resolve(true)
      })
    })
  }

  readonly #continue = (): void => {
    while (this.#next < this.#waiting.length) {
      const item = this.#waiting[this.#next++]!
      const work = this.#handle(item)
      if (work) {
        void work.then(this.#continue)
        return
      }
    }
    this.clear()
    this.#busy = false
    for (const tell of this.#idle.splice(0)) tell()
    this.#onIdle?.()
  }
}
