import type { Log } from '../ops/log.ts'

export type Outcome = 'taken' | 'failed' | 'given_up'

/** What became of the signals for each target, as plain numbers. */
export class Tally {
  readonly #log: Log
  readonly #counts = new Map<string, Record<Outcome, number>>()
  readonly #waiting = new Map<string, number>()
  /** Of these the log knows already that some are given up. */
  readonly #told = new Set<string>()

  constructor(log: Log) {
    this.#log = log
  }

  taken(target: string, count: number): void {
    this.#of(target).taken += count
    this.#told.delete(target)
  }

  /** An attempt was in vain. */
  failed(target: string): void {
    this.#of(target).failed++
  }

  /** Nobody will be told these any more. */
  givenUp(target: string, count: number, why: string): void {
    if (count === 0) return
    this.#of(target).given_up += count
    if (this.#told.has(target)) return
    this.#told.add(target)
    this.#log.warn({ target, why }, 'signals are given up')
  }

  waits(target: string, count: number): void {
    this.#waiting.set(target, count)
  }

  forget(): void {
    this.#waiting.clear()
  }

  get waiting(): ReadonlyMap<string, number> {
    return this.#waiting
  }

  *[Symbol.iterator](): IterableIterator<readonly [target: string, outcome: Outcome, count: number]> {
    for (const [target, { taken, failed, given_up }] of this.#counts) {
      yield [target, 'taken', taken]
      yield [target, 'failed', failed]
      yield [target, 'given_up', given_up]
    }
  }

  #of(target: string): Record<Outcome, number> {
    let counts = this.#counts.get(target)
    if (counts === undefined) this.#counts.set(target, (counts = { taken: 0, failed: 0, given_up: 0 }))
    return counts
  }
}
