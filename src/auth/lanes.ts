import { ClientError } from '../protocol/codes.ts'

export interface LanesOptions {
  /** Pieces of work at once. */
  readonly width: number
  /** Those that wait; the next one is refused. */
  readonly maxWaiting: number
  /** For how long one waits. */
  readonly waitMs: number
}

interface Waiter {
  readonly deadline: number
  start(): void
  refuse(): void
}

/** So much at once and no more; the rest waits in its order, in a queue with an end, and not for ever. */
export class Lanes {
  readonly #options: LanesOptions
  readonly #waiting: Waiter[] = []
  #busy = 0
  #timer: NodeJS.Timeout | null = null

  constructor(options: LanesOptions) {
    this.#options = options
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** @throws {ClientError} unavailable: too many wait, or it waited too long */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const { width, maxWaiting } = this.#options
    if (this.#busy < width) this.#busy++
    else if (this.#waiting.length >= maxWaiting) throw overloaded()
    else await this.#wait()
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  /** The place of who ends goes to who waits longest. */
  #next(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#busy--
    else next.start()
  }

  #wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + this.#options.waitMs
      this.#waiting.push({ deadline, start: resolve, refuse: () => reject(overloaded()) })
      if (this.#timer === null) this.#timer = setTimeout(() => this.#expire(), this.#options.waitMs).unref()
    })
  }

  /** All wait equally long: the first in the queue is the first whose time is up. */
  #expire(): void {
    this.#timer = null
    const now = performance.now()
    while (this.#waiting[0] !== undefined && this.#waiting[0].deadline <= now) this.#waiting.shift()?.refuse()
    const first = this.#waiting[0]
    if (first === undefined) return
    this.#timer = setTimeout(() => this.#expire(), Math.max(1, first.deadline - now)).unref()
  }
}

function overloaded(): ClientError {
  return new ClientError('unavailable', 'too many ask who they are at the moment, try again later')
}
