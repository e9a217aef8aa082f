import type { Log } from '../ops/log.ts'

/** Whether the journal can append. An outage is logged when it begins and when it ends. */
export class StreamState {
  /** Resolves when it was told for the first time, whatever came of it. */
  readonly first: Promise<void>
  readonly #log: Log
  readonly #onChange: () => void
  #reason: string | null = 'not started'
  #isNew = true
  #since = 0
  #stopped = false
  #onFirst: () => void = () => undefined

  constructor(log: Log, onChange: () => void) {
    this.#log = log
    this.#onChange = onChange
    this.first = new Promise((resolve) => (this.#onFirst = resolve))
  }

  /** Null: it can; else why not. */
  get reason(): string | null {
    return this.#stopped ? 'stopped' : this.#reason
  }

  /** It can append: null; or why not. */
  tell(reason: string | null): void {
    if (this.#stopped) return
    const was = this.#reason
    const isNew = this.#isNew
    this.#reason = reason
    this.#isNew = false
    this.#onFirst()
    if (reason !== null && (was === null || isNew)) {
      this.#since = performance.now()
      this.#log.warn({ reason }, 'journal is away, trying on')
    } else if (reason === null && was !== null) {
      if (isNew) this.#log.info('journal is up')
      else this.#log.info({ outageMs: Math.round(performance.now() - this.#since) }, 'journal is back')
    }
    if ((was === null) !== (reason === null)) this.#onChange()
  }

  /** Nothing is told any more; who waits for the first time does not. */
  stop(): void {
    this.#stopped = true
    this.#onFirst()
  }
}
