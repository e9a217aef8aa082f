import { type Person, userKey } from '../protocol/people.ts'
import { Bucket, type Rate } from './rates.ts'

/** Users that are looked at before the first clearing. */
const FIRST_CLEARING = 1000

/**
 * What users may still ask for, all their connections together. A user's bucket that is full again says nothing, and is
 * forgotten: those stay that have asked within the time that their burst takes.
 */
export class UserRates {
  readonly #buckets = new Map<string, Bucket>()
  #clearAt = FIRST_CLEARING

  get size(): number {
    return this.#buckets.size
  }

  /** Takes one; false when there is none. */
  take(user: Person, now: number, rate: Rate): boolean {
    const name = userKey(user)
    let bucket = this.#buckets.get(name)
    if (bucket === undefined) {
      if (this.#buckets.size >= this.#clearAt) this.#clear(now)
      this.#buckets.set(name, (bucket = new Bucket()))
    }
    return bucket.take(now, rate)
  }

  /** Each time that there are twice as many as were left the last time: it costs each of them the same. */
  #clear(now: number): void {
    for (const [name, bucket] of this.#buckets) if (bucket.isFull(now)) this.#buckets.delete(name)
    this.#clearAt = Math.max(FIRST_CLEARING, 2 * this.#buckets.size)
  }
}
