import type { Tally } from './tally.ts'
import type { Waiting } from './target.ts'

/** What waits for one target, oldest first. */
export interface SignalQueue {
  peek(most: number, signal: AbortSignal): Promise<readonly Waiting[]>
  /** These need not be told any more. */
  remove(waiting: readonly Waiting[], signal: AbortSignal): Promise<void>
}

export interface MemoryQueueOptions {
  readonly target: string
  readonly tally: Tally
  readonly max: () => number
  readonly maxUnits: number
  readonly keepMs: () => number
}

interface Kept extends Waiting {
  /** On the clock that never jumps. */
  readonly since: number
}

/** Where there is no database: gone with the process. Beyond its bounds the oldest are given up. */
export class MemoryQueue implements SignalQueue {
  readonly #options: MemoryQueueOptions
  #items: Kept[] = []
  /** Of these the first so many are gone; cut off now and then. */
  #start = 0
  #units = 0
  #last = 0

  constructor(options: MemoryQueueOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#items.length - this.#start
  }

  push(body: string): void {
    const { max, maxUnits, target, tally } = this.#options
    this.#items.push({ key: String(++this.#last), body, since: performance.now() })
    this.#units += body.length
    let over = 0
    while (this.size - over > max() || (this.#units > maxUnits && this.size - over > 1)) {
      this.#units -= this.#items[this.#start + over]!.body.length
      over++
    }
    this.#start += over
    this.#cut()
    tally.givenUp(target, over, 'too many')
    tally.waits(target, this.size)
  }

  peek(most: number): Promise<readonly Waiting[]> {
    this.#expire()
    return Promise.resolve(this.#items.slice(this.#start, this.#start + most))
  }

  remove(waiting: readonly Waiting[]): Promise<void> {
    // Some of them may have been given up meanwhile, the oldest first.
    const last = Number(waiting.at(-1)?.key ?? 0)
    while (this.size > 0 && Number(this.#items[this.#start]!.key) <= last) this.#shift()
    this.#cut()
    this.#options.tally.waits(this.#options.target, this.size)
    return Promise.resolve()
  }

  #expire(): void {
    const { keepMs, target, tally } = this.#options
    const since = performance.now() - keepMs()
    let count = 0
    for (; this.size > 0 && this.#items[this.#start]!.since < since; count++) this.#shift()
    this.#cut()
    tally.givenUp(target, count, 'too old')
    tally.waits(target, this.size)
  }

  #shift(): void {
    this.#units -= this.#items[this.#start]!.body.length
    this.#start++
  }

  #cut(): void {
    if (this.#start < 1000 && this.#start < this.#items.length) return
    this.#items = this.#items.slice(this.#start)
    this.#start = 0
  }
}
