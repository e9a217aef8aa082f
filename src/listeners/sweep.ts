/** What a sweep looks at. */
export interface Watched {
  /** Asked four times per span: whether nothing has moved since it was asked last. */
  stuck(): boolean
  /** A whole span has gone by, and nothing moved. */
  expire(): void
}

/** Deadlines for very many things at the price of one timer; they are up to a quarter of the span late. */
export class Sweep {
  /** How often in a row each was found stuck. */
  readonly #watched = new Map<Watched, number>()
  readonly #timer: NodeJS.Timeout

  constructor(spanMs: number) {
    this.#timer = setInterval(() => this.#look(), spanMs / 4).unref()
  }

  add(watched: Watched): void {
    this.#watched.set(watched, 0)
  }

  delete(watched: Watched): void {
    this.#watched.delete(watched)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#watched.clear()
  }

  #look(): void {
    for (const [watched, times] of this.#watched) {
      if (!watched.stuck()) {
        if (times > 0) this.#watched.set(watched, 0)
        continue
      }
      // One more than four: the first quarter was under way already when it was added.
      if (times < 4) this.#watched.set(watched, times + 1)
      else {
        this.#watched.delete(watched)
        watched.expire()
      }
    }
  }
}
