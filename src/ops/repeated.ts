/** What is said of the same thing within one time is said once, with how often it was. */
export class Repeated {
  readonly #everyMs: number
  readonly #said = new Map<string, { until: number; more: number }>()

  /** @param everyMs how long the first stands for those that follow @default 10_000 */
  constructor(everyMs = 10_000) {
    this.#everyMs = everyMs
  }

  /** Null where it was said a moment ago; else how often it was not said since the last time. */
  count(what: string, now: number = performance.now()): number | null {
    const known = this.#said.get(what)
    if (known !== undefined && now < known.until) {
      known.more++
      return null
    }
    // Of names that others choose there may be very many.
    if (this.#said.size >= MAX_KINDS) this.#said.clear()
    this.#said.set(what, { until: now + this.#everyMs, more: 0 })
    return known?.more ?? 0
  }
}

const MAX_KINDS = 1000
