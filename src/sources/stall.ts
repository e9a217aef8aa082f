export interface StallOptions {
  /** How long one message may take before those behind it are said to be held up. */
  readonly stallMs: number
  /** It is held up, and why; or no longer: null. */
  readonly onStall: (reason: string | null) => void
}

/** So many failures are no hiccup any more. */
const FAILURES = 3

/** Watches one message that holds up those behind it: told after three failures, or after `stallMs`. */
export class Stall {
  readonly #onStall: (reason: string | null) => void
  readonly #timer: NodeJS.Timeout
  #reason: string
  #failures = 0
  #told = false
  #ended = false

  constructor({ stallMs, onStall }: StallOptions) {
    this.#onStall = onStall
    this.#reason = `not handled within ${stallMs} ms`
    this.#timer = setTimeout(() => this.#tell(), stallMs).unref()
  }

  failed(reason: string): void {
    if (this.#ended) return
    this.#reason = reason
    this.#failures++
    if (this.#told || this.#failures >= FAILURES) this.#tell()
  }

  end(): void {
    this.#ended = true
    clearTimeout(this.#timer)
    if (!this.#told) return
    this.#told = false
    this.#onStall(null)
  }

  #tell(): void {
    this.#told = true
    this.#onStall(this.#reason)
  }
}
