import { pause } from '../backoff.ts'
import { deferred } from '../deferred.ts'

export interface ErrandsOptions<Item, Answer> {
  /** Does all of them; the answers in the same order. */
  run(items: readonly Item[], signal: AbortSignal): Promise<readonly Answer[]>
  /** How long one may take altogether, in ms. */
  patienceMs(): number
  /** Whether the failure is an outage, in which another try may do. */
  isOutage(error: unknown): boolean
  /** What is told to those for whom there was no time left. */
  unavailable(): Error
  /** Pause between two tries, in ms. */
  readonly retryMs: number
  /** The first failure of an outage, and its end. */
  noteOutage(error: unknown): void
  noteRecovery(): void
  /** How many are done at once. @default 5000 */
  readonly most?: number
}

interface Errand<Item, Answer> {
  readonly item: Item
  readonly until: number
  resolve(answer: Answer): void
  reject(error: unknown): void
}

/**
 * Many small things that are done together: those of one turn, and those that came while others were being done. One
 * run is under way at a time. In an outage they are tried again, in their order, as long as each of them can wait.
 */
export class Errands<Item, Answer> {
  readonly #options: ErrandsOptions<Item, Answer>
  /** What is under way ends with it. */
  #under = new AbortController()
  #stopped = false
  #waiting: Errand<Item, Answer>[] = []
  #running: Promise<void> | null = null
  #away = false

  constructor(options: ErrandsOptions<Item, Answer>) {
    this.#options = options
  }

  add(item: Item): Promise<Answer> {
    const { promise, resolve, reject } = deferred<Answer>()
    if (this.#stopped) reject(this.#options.unavailable())
    else {
      this.#waiting.push({ item, until: performance.now() + this.#options.patienceMs(), resolve, reject })
      this.#running ??= this.#run().finally(() => (this.#running = null))
    }
    return promise
  }

  /** What is under way is cut, and nobody waits any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#under.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { most = 5000 } = this.#options
    // Whoever comes in this same turn goes along.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      await this.#do(this.#waiting.splice(0, most))
    }
  }

  async #do(errands: Errand<Item, Answer>[]): Promise<void> {
    const { run, isOutage, retryMs } = this.#options
    const under = new AbortController()
    const { signal } = under
    this.#under = under
    if (this.#stopped) under.abort()
    // Not AbortSignal.timeout and any: in Node 20 they may be collected before they fire.
    const deadline = setTimeout(() => under.abort(), this.#leftMs(errands))
    try {
      const answers = await run(
        errands.map(({ item }) => item),
        signal,
      )
      for (const [index, { resolve }] of errands.entries()) resolve(answers[index]!)
      if (this.#away) this.#options.noteRecovery()
      this.#away = false
    } catch (error) {
      if (!signal.aborted && !isOutage(error)) {
        for (const { reject } of errands) reject(error)
        return
      }
      if (!this.#away && !this.#stopped) this.#options.noteOutage(error)
      this.#away = true
      this.#waiting = [...errands, ...this.#waiting]
      // The deadline is over now; a stop still ends the pause.
      this.#under = new AbortController()
      if (!this.#stopped) await pause(retryMs, this.#under.signal)
      this.#dismiss()
    } finally {
      clearTimeout(deadline)
    }
  }

  /** The patience of the one that has waited longest. */
  #leftMs(errands: readonly Errand<Item, Answer>[]): number {
    return Math.max(1, Math.ceil(errands[0]!.until - performance.now()))
  }

  /** Tells those who can't wait any longer. */
  #dismiss(): void {
    const now = performance.now()
    const over = this.#stopped
    const waiting = this.#waiting
    this.#waiting = []
    for (const errand of waiting) {
      if (over || errand.until <= now) errand.reject(this.#options.unavailable())
      else this.#waiting.push(errand)
    }
  }
}
