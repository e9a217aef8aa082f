export interface SlicesOptions {
  /** How long others may be kept waiting, in ms. @default 5 */
  readonly sliceMs?: number
}

/** Does something for each of many at the end of this turn; where that takes long, the rest in the turns after it. */
export class Slices<Item> {
  readonly #work: (item: Item) => void
  readonly #sliceMs: number
  #due: Item[] = []
  #next = 0
  #scheduled = false

  /** @param work may not throw */
  constructor(work: (item: Item) => void, { sliceMs = 5 }: SlicesOptions = {}) {
    this.#work = work
    this.#sliceMs = sliceMs
  }

  /** How many wait. */
  get size(): number {
    return this.#due.length - this.#next
  }

  add(item: Item): void {
    this.#due.push(item)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#run())
  }

  #run(): void {
    this.#scheduled = false
    const end = performance.now() + this.#sliceMs
    while (this.#next < this.#due.length) {
      // A look at the clock for each would cost more than most of them take.
      if (this.#next % LOOK_EVERY === 0 && performance.now() > end) return this.#schedule()
      this.#work(this.#due[this.#next++]!)
    }
    this.#due = []
    this.#next = 0
  }
}

const LOOK_EVERY = 16
