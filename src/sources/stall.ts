export interface StallOptions {
  /** How long one message may take before those behind it are said to be held up. */
  readonly stallMs: number
  /** They are held up, and why; or no longer: null. */
  readonly onStall: (reason: string | null) => void
}

/** One message in hand, while it is watched. */
export interface Watch {
  /** An attempt at it failed. */
  failed(reason: string): void
  /** Its place is settled, and the journal is at it. */
  placed(): void
  /** It is done with; nothing is told of it any more. */
  end(): void
}

/** So many failures are no hiccup any more. */
const FAILURES = 3

/**
 * Watches the messages in hand of one queue: one that failed three times, or is not done with after `stallMs`, holds
 * up those behind it, which are not acknowledged before it. Told once when that begins, and once when it ends.
 */
export class Stall {
  readonly #options: StallOptions
  /** In the order in which they came: the first is the next to be late. */
  readonly #watches = new Set<InHand>()
  /** Those that hold up others; why the first one does is told. */
  readonly #late = new Map<InHand, string>()
  #timer: NodeJS.Timeout | null = null
  #told: string | null = null

  constructor(options: StallOptions) {
    this.#options = options
  }

  watch(): Watch {
    const { stallMs } = this.#options
    const since = performance.now()
    const inHand: InHand = { since, reason: `not handled within ${stallMs} ms` }
    let failures = 0
    this.#watches.add(inHand)
    this.#timer ??= this.#wake(stallMs)
    return {
      failed: (reason) => {
        if (!this.#watches.has(inHand)) return
        inHand.reason = reason
        if (++failures >= FAILURES || this.#late.has(inHand)) this.#hold(inHand)
      },
      placed: () => {
        inHand.reason = `the journal has not taken it within ${stallMs} ms`
        if (this.#late.has(inHand)) this.#hold(inHand)
      },
      end: () => {
        this.#watches.delete(inHand)
        if (this.#late.delete(inHand)) this.#tell()
        if (this.#watches.size > 0 || this.#timer === null) return
        clearTimeout(this.#timer)
        this.#timer = null
      },
    }
  }

  #wake(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#timer = null
      const now = performance.now()
      for (const inHand of this.#watches) {
        const leftMs = inHand.since + this.#options.stallMs - now
        if (leftMs > 0) {
          this.#timer = this.#wake(leftMs)
          break
        }
        if (!this.#late.has(inHand)) this.#hold(inHand)
      }
    }, ms).unref()
  }

  #hold(inHand: InHand): void {
    this.#late.set(inHand, inHand.reason)
    this.#tell()
  }

  #tell(): void {
    const [reason = null] = this.#late.values()
    if (reason === this.#told) return
    this.#told = reason
    this.#options.onStall(reason)
  }
}

interface InHand {
  readonly since: number
  reason: string
}
