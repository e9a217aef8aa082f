/** How many transactions are remembered: those whose NOTIFY may still be on its way. */
const SIZE = 512

/** The tags of the newest transactions: by these a node knows what it has, and sees what is another. */
export class Recent {
  readonly #firsts = new Float64Array(SIZE)
  readonly #lasts = new Float64Array(SIZE)
  readonly #tags: string[] = []
  #next = 0

  /** Begins anew: of what came up to now, only the newest is known, if that. */
  reset(position: number, tag: string | null): void {
    this.#firsts.fill(0)
    this.#lasts.fill(0)
    this.#tags.length = 0
    this.#next = 0
    if (tag !== null) this.note(position, tag)
  }

  note(position: number, tag: string): void {
    const newest = (this.#next + SIZE - 1) % SIZE
    if (this.#tags[newest] === tag) {
      this.#lasts[newest] = position
      return
    }
    this.#firsts[this.#next] = position
    this.#lasts[this.#next] = position
    this.#tags[this.#next] = tag
    this.#next = (this.#next + 1) % SIZE
  }

  /** Undefined when that is too long ago. */
  find(position: number): string | undefined {
    // The newest first: what is asked for was there a moment ago.
    for (let step = 1; step <= this.#tags.length; step++) {
      const index = (this.#next + SIZE - step) % SIZE
      if (position > this.#lasts[index]!) return undefined
      if (position >= this.#firsts[index]!) return this.#tags[index]
    }
    return undefined
  }
}
