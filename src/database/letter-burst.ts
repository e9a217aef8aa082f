import type { DeadLetter } from '../dead-letter.ts'
import type { Log } from '../ops/log.ts'

/** Tells of letters when they begin to come and when no more do: one line for a thousand. */
export class LetterBurst {
  readonly #log: Log
  readonly #quietMs: number
  #letters = 0
  #newestAt = 0

  /** @param quietMs it is over when none has come for so long */
  constructor(log: Log, quietMs: number) {
    this.#log = log
    this.#quietMs = quietMs
  }

  add({ source, subsystem, code }: DeadLetter): void {
    this.#newestAt = performance.now()
    if (this.#letters++ > 0) return
    this.#log.warn({ source, subsystem, code }, 'dead letters come in: see livemessage dead list')
    this.#watch(this.#quietMs)
  }

  /** Idempotent. */
  end(): void {
    if (this.#letters > 0) this.#log.info({ letters: this.#letters }, 'no more dead letters come in')
    this.#letters = 0
  }

  #watch(delayMs: number): void {
    setTimeout(() => {
      const leftMs = this.#newestAt + this.#quietMs - performance.now()
      if (leftMs > 0) this.#watch(leftMs)
      else this.end()
    }, delayMs).unref()
  }
}
