import { setTimeout as sleep } from 'node:timers/promises'

export interface AheadOptions {
  /** Brings this node up to all that is in the journal when it is called. */
  catchUp(): Promise<void>
  head(): number
  /** The time between two catch-ups of which the first left a position out of reach. @default 100 */
  readonly quietMs?: number | undefined
  /** How long after a catch-up positions far beyond the head are not looked for. @default 1000 */
  readonly lostMs?: number | undefined
  /** So many positions no journal gets in `lostMs`: what is further away can't be there. @default 100_000 */
  readonly farBeyond?: number | undefined
}

/**
 * For cursors that are ahead of this node, because they come from one that has read on: one catch-up for all who wait.
 * What is under way may have begun too early for who asks now: it gets the next one. Clients may make up cursors: a
 * catch-up that was in vain is not repeated at once, and what it has shown to be nowhere near is not asked for again.
 */
export class Ahead {
  readonly #options: AheadOptions
  readonly #quietMs: number
  readonly #lostMs: number
  readonly #farBeyond: number
  /** What is wanted of the catch-up that has not begun: this, and what is below. */
  #wanted = 0
  #next: Promise<void> | null = null
  #last: Promise<void> = Promise.resolve()
  #quietUntil = 0
  /** What is known to be nowhere. */
  #lost = { above: 0, until: 0 }

  constructor(options: AheadOptions) {
    this.#options = options
    this.#quietMs = options.quietMs ?? 100
    this.#lostMs = options.lostMs ?? 1000
    this.#farBeyond = options.farBeyond ?? 100_000
  }

  /**
   * Resolves when a catch-up that begins from now on has ended, whether it reached the position or not; rejects as that
   * does. Null where there is nothing to wait for.
   */
  reach(position: number): Promise<void> | null {
    if (position <= this.#options.head() || this.#isLost(position)) return null
    this.#wanted = Math.max(this.#wanted, position)
    return (this.#next ??= this.#round())
  }

  #round(): Promise<void> {
    const round = this.#last.then(async () => {
      const quietMs = this.#quietUntil - performance.now()
      if (quietMs > 0) await sleep(quietMs, undefined, { ref: false })
      const wanted = this.#wanted
      this.#wanted = 0
      this.#next = null
      let vain = true
      try {
        await this.#options.catchUp()
        const head = this.#options.head()
        vain = wanted > head
        this.#lost = { above: head + this.#farBeyond, until: performance.now() + this.#lostMs }
      } finally {
        this.#quietUntil = vain ? performance.now() + this.#quietMs : 0
      }
    })
    this.#last = round.catch(() => undefined)
    return round
  }

  #isLost(position: number): boolean {
    const { above, until } = this.#lost
    // A head that has come so far says that positions began anew.
    return position > above && this.#options.head() <= above && performance.now() < until
  }
}
