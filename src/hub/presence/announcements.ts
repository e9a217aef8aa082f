import type { Change } from './room.ts'

interface Waiting {
  readonly change: Change
  tell(): void
}

/**
 * Tells who comes at once, and what happens soon after it together: of a thousand who come back at the same moment each
 * is told to all the others, and a socket takes what is sent in one turn in one write. Who leaves and is back before it
 * was told has not left: a client that subscribes anew to what it missed is off its channel for a moment.
 */
export class Announcements {
  readonly #windowMs: number
  #waiting = new Map<string, Waiting>()
  #window: NodeJS.Timeout | null = null

  /** @param windowMs 0: each at once */
  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  /** `who` is the same for who comes and who leaves, if it is the same. */
  tell(who: string, change: Change, tell: () => void): void {
    if (this.#windowMs === 0 || (change === 'join' && this.#window === null)) {
      this.#open()
      return tell()
    }
    const before = this.#waiting.get(who)
    // Behind what waits already, should it come to wait again.
    this.#waiting.delete(who)
    if (before === undefined || before.change === change) this.#waiting.set(who, { change, tell })
    this.#open()
  }

  /** Idempotent. */
  stop(): void {
    if (this.#window !== null) clearTimeout(this.#window)
    this.#window = null
    this.#waiting.clear()
  }

  #open(): void {
    if (this.#windowMs > 0) this.#window ??= setTimeout(() => this.#flush(), this.#windowMs).unref()
  }

  #flush(): void {
    this.#window = null
    if (this.#waiting.size === 0) return
    const waiting = this.#waiting
    this.#waiting = new Map()
    // Who comes meanwhile goes along next time.
    this.#open()
    for (const { tell } of waiting.values()) tell()
  }
}
