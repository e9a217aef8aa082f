import { backoffMs, pause } from '../backoff.ts'
import type { Retry } from '../backoff.ts'
import { withDeadline } from '../deadline.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { Leadership } from './leadership.ts'
import type { DatabasePool } from './pool.ts'
import { isLeaseRefusal } from './refusals.ts'

/** What a chore needs to do its work once. */
export interface Shift {
  /** One statement, with a deadline of its own. */
  query<Row extends Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>
  readonly token: number
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
}

export interface ChoreOptions {
  /** As the log shows it. */
  readonly name: string
  readonly pool: Pick<DatabasePool, 'withSignal'>
  readonly leadership: Pick<Leadership, 'token'>
  readonly log: Log
  /** From the end of one to the begin of the next; four times as long as the last one took, where that is more. */
  readonly intervalMs: number
  readonly retry: Retry
  /** Deadline of each statement. */
  readonly statementMs: number
  /** True: it goes on at once. */
  work(shift: Shift): Promise<boolean>
}

/** Does the same thing again and again, while this node leads. */
export class Chore {
  readonly #options: ChoreOptions
  readonly #stopped = new AbortController()
  #running: Promise<void> | null = null
  #failing = false
  #wake: (() => void) | null = null

  constructor(options: ChoreOptions) {
    this.#options = options
  }

  start(): void {
    if (!this.#stopped.signal.aborted) this.#running ??= this.#run()
  }

  /** This node leads, or no longer. */
  wake(): void {
    this.#wake?.()
  }

  /** Idempotent. What is under way is cancelled, and rolled back. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    this.#wake?.()
    await this.#running
  }

  async #run(): Promise<void> {
    const { leadership, intervalMs, retry } = this.#options
    const { signal } = this.#stopped
    for (let tries = 0; !signal.aborted;) {
      const { token } = leadership
      if (token === null) {
        await new Promise<void>((resolve) => (this.#wake = resolve))
        continue
      }
      const began = performance.now()
      try {
        const more = await this.#work(token)
        this.#worked()
        tries = 0
        // What is dear is done less often: it never takes more than a fifth of a connection's time.
        if (!more) await pause(Math.max(intervalMs, 4 * (performance.now() - began)), signal)
      } catch (error) {
        if (!signal.aborted && !isLeaseRefusal(error)) this.#failed(error)
        await pause(Math.max(intervalMs, backoffMs(tries++, retry)), signal)
      }
    }
  }

  #work(token: number): Promise<boolean> {
    const { pool, statementMs, work } = this.#options
    const { signal } = this.#stopped
    return work({
      query: async <Row extends Record<string, unknown>>(text: string, values?: unknown[]) => {
        const { rows } = await withDeadline(statementMs, [signal], (either) =>
          pool.withSignal(either).query<Row>(text, values),
        )
        return rows
      },
      token,
      signal,
    })
  }

  /** Once per outage. */
  #failed(error: unknown): void {
    if (this.#failing) return
    this.#failing = true
    this.#options.log.warn(
      { chore: this.#options.name, reason: messageOf(error) },
      'housekeeping fails, trying on',
    )
  }

  #worked(): void {
    if (!this.#failing) return
    this.#failing = false
    this.#options.log.info({ chore: this.#options.name }, 'housekeeping works again')
  }
}
