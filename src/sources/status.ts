import type { Log } from '../ops/log.ts'
import type { SourceHandlers, SourceState } from './source.ts'

/**
 * A source's state, told to its handlers and to the log: an outage is logged when it begins and when it
 * ends, however many attempts lie between.
 */
export class SourceStatus {
  readonly #log: Log
  #handlers: Pick<SourceHandlers, 'onState'> | null = null
  #state: SourceState = 'starting'
  #reason: string | null = null
  #since = 0
  #attempts = 0

  constructor(log: Log) {
    this.#log = log
  }

  get state(): SourceState {
    return this.#state
  }

  get reason(): string | null {
    return this.#reason
  }

  tell(handlers: Pick<SourceHandlers, 'onState'>): void {
    this.#handlers = handlers
  }

  up(): void {
    if (this.#state === 'up' || this.#state === 'stopped') return
    if (this.#state === 'down') {
      this.#log.info({ outageMs: Date.now() - this.#since, attempts: this.#attempts }, 'source is back')
    } else {
      this.#log.info('source is up')
    }
    this.#set('up', null)
  }

  /** Called for each failed attempt: the reason is kept up to date, the rest happens once. */
  down(reason: string): void {
    if (this.#state === 'stopped') return
    this.#attempts++
    if (this.#state === 'down') {
      this.#reason = reason
      return
    }
    this.#since = Date.now()
    this.#attempts = 1
    this.#log.warn({ reason }, 'source is down, trying on')
    this.#set('down', reason)
  }

  stopped(): void {
    if (this.#state !== 'stopped') this.#set('stopped', null)
  }

  #set(state: SourceState, reason: string | null): void {
    this.#state = state
    this.#reason = reason
    if (reason === null) this.#handlers?.onState(state)
    else this.#handlers?.onState(state, reason)
  }
}
