/** Of the same kind of thing only so many are said within one time, and with the next how many were not. */
export class Repeated {
  readonly #everyMs: number
  readonly #burst: number
  readonly #kinds = new Map<string, { until: number; said: number; unsaid: number }>()

  /**
   * @param burst how many are said @default 20
   * @param everyMs within this time @default 10_000
   */
  constructor(burst = 20, everyMs = 10_000) {
    this.#burst = burst
    this.#everyMs = everyMs
  }

  /** Null where it is not to be said; else how many were not since the last that was. */
  count(kind: string, now: number = performance.now()): number | null {
    let known = this.#kinds.get(kind)
    if (known === undefined || now >= known.until) {
      known = { until: now + this.#everyMs, said: 0, unsaid: known?.unsaid ?? 0 }
      this.#kinds.set(kind, known)
    }
    if (known.said === this.#burst) {
      known.unsaid++
      return null
    }
    known.said++
    const { unsaid } = known
    known.unsaid = 0
    return unsaid
  }
}
