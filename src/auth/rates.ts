export interface RateOptions {
  /** What is allowed a second in the long run; `Infinity` for no limit. */
  readonly perSecond: number
  /** What may be saved up and taken at once; at least 1. */
  readonly burst: number
}

/** A limit, for as many buckets as there are. */
export interface Rate {
  readonly intervalMs: number
  readonly slackMs: number
}

/** @throws {RangeError} when `perSecond` is not above 0 or `burst` is below 1 */
export function createRate({ perSecond, burst }: RateOptions): Rate {
  if (!(perSecond > 0)) throw new RangeError(`perSecond: expected a number above 0, got ${perSecond}`)
  if (!(burst >= 1)) throw new RangeError(`burst: expected a number of at least 1, got ${burst}`)
  const intervalMs = 1000 / perSecond
  return {
    intervalMs,
    // A hundredth more than exact: sums of fractions of a millisecond must not cost a token of the burst.
    slackMs: intervalMs === 0 ? 0 : (burst - 0.99) * intervalMs,
  }
}

/**
 * A token bucket, full at first, written as the time at which it will be full again: one number, no timer. The
 * rate is not its own: a reload may change it.
 */
export class Bucket {
  #fullAt = -Infinity

  /** Whether it is as it was at first. */
  isFull(now: number): boolean {
    return this.#fullAt <= now
  }

  /**
   * Takes one token; false when there is none. `now` in milliseconds, by any clock, always the same one; `rate`
   * is the present one.
   */
  take(now: number, { intervalMs, slackMs }: Rate): boolean {
    const ahead = this.#fullAt - now
    if (ahead <= 0) {
      this.#fullAt = now + intervalMs
      return true
    }
    if (ahead <= slackMs) {
      this.#fullAt += intervalMs
      return true
    }
    // More than a bucket can ever owe: the clock was set back, or the rate was a slower one. Nobody waits for
    // the hour to come round.
    if (ahead > slackMs + 2 * intervalMs) {
      this.#fullAt = now + intervalMs
      return true
    }
    return false
  }
}
