import { pause } from '../backoff.ts'
import { withDeadline } from '../deadline.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { DatabasePool } from './pool.ts'
import { lacksSchema } from './refusals.ts'

/**
 * The lease by which one node does what must be done once: it journals bare notifications, moves what was enqueued,
 * applies retention, collects dead letters. A row with a term, not an advisory lock: a frozen node goes on holding
 * its lock, for the kernel answers keepalives in its name, but it can't renew a row. Whoever acts under the lease
 * names its token in the same transaction, which then fails when another node has taken over.
 */
export interface Leadership {
  /** The present term's token; null while another node leads, or nobody. Not trusted beyond the term's end. */
  readonly token: number | null
  /**
   * Told of every change of `token`; between two terms always of the null. What it returns is awaited before the
   * next renewal, for as long as a renewal may take.
   */
  onChange(listener: (token: number | null) => MaybePromise<void>): void
  /** Begins to ask for it; resolves after the first attempt, whatever came of it. */
  start(): Promise<void>
  /** Gives it back, so that another node need not wait for the term's end. Idempotent. */
  stop(): Promise<void>
}

/** The name of the one lease that there is; functions that act under it are told it, too. */
export const LEASE = 'leader'

export interface LeadershipOptions {
  /** One that always has a connection left for it: where others wait for one, the lease would be lost. */
  readonly pool: Pick<DatabasePool, 'withSignal'>
  /** Names this process among the nodes; another one at each start. */
  readonly holder: string
  readonly log: Log
  /** How long a term is. A leader that dies is followed within this time and `renewMs`. @default 6000 */
  readonly ttlMs?: number
  /** Interval of the renewals, and of the others' questions; an attempt gets as much time. @default ttlMs / 3 */
  readonly renewMs?: number
  /** How long a stop waits for the lease to be given back. @default 1000 */
  readonly stopMs?: number
}

export function createLeadership(options: LeadershipOptions): Leadership {
  return new LeaseRow(options)
}

interface Term {
  readonly token: number
  /** When trust in it ends, on the clock that never jumps. */
  readonly ends: number
  /** The same on the wall clock: the other one stands still while the machine sleeps. */
  readonly endsAt: number
}

class LeaseRow implements Leadership {
  readonly #options: Required<LeadershipOptions>
  readonly #log: Log
  readonly #listeners: ((token: number | null) => MaybePromise<void>)[] = []
  readonly #stopped = new AbortController()
  /** Ends the request under way, some time after `#stopped`. */
  readonly #cut = new AbortController()
  #term: Term | null = null
  /** What the server granted last, trusted or not: to be given back. */
  #granted: number | null = null
  /** What the listeners were told last. */
  #told: number | null = null
  #end: NodeJS.Timeout | undefined
  #running: Promise<void> | null = null
  #stopping: Promise<void> | null = null
  /** Why it can't be asked for; null while it can. */
  #trouble: string | null = null

  constructor(options: LeadershipOptions) {
    const ttlMs = options.ttlMs ?? 6_000
    this.#options = { ttlMs, renewMs: ttlMs / 3, stopMs: 1_000, ...options }
    this.#log = options.log
  }

  get token(): number | null {
    // By the clock and not by the timer: a process that was frozen runs other things before its late timers.
    return this.#term !== null && !isOver(this.#term) ? this.#term.token : null
  }

  onChange(listener: (token: number | null) => MaybePromise<void>): void {
    this.#listeners.push(listener)
  }

  start(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stopped.signal.aborted) resolve()
      else this.#running ??= this.#run(resolve)
    })
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop())
  }

  async #run(first: () => void): Promise<void> {
    const { signal } = this.#stopped
    const { renewMs } = this.#options
    while (!signal.aborted) {
      const began = performance.now()
      await this.#ask()
      first()
      // Those who ask in vain do so out of step: a lease that is free is not asked for by all at once.
      const waitMs = this.#term === null ? renewMs * (0.5 + Math.random() / 2) : renewMs
      await pause(Math.max(0, began + waitMs - performance.now()), signal)
    }
    first()
  }

  async #ask(): Promise<void> {
    const { ttlMs, renewMs } = this.#options
    // From before the request is sent: the server's term ends later than this one, whatever the way took.
    const [sent, sentAt] = [performance.now(), Date.now()]
    let token: number | null
    try {
      token = await withDeadline(renewMs, [this.#cut.signal], (signal) => this.#take(signal))
    } catch (error) {
      if (!this.#cut.signal.aborted) this.#failed(error)
      return // what was granted before holds until its end
    }
    this.#answered()
    this.#granted = token
    if (this.#term !== null && isOver(this.#term)) await this.#leave(OVER)
    else if (this.#term !== null && this.#term.token !== token) await this.#leave('another node leads')
    if (this.#stopped.signal.aborted) return
    // The server's clock and ours may differ in speed, hardly by a hundredth.
    const trustMs = ttlMs * 0.98
    if (token !== null) await this.#enter({ token, ends: sent + trustMs, endsAt: sentAt + trustMs })
  }

  async #take(signal: AbortSignal): Promise<number | null> {
    const { pool, holder, ttlMs } = this.#options
    const { rows } = await pool
      .withSignal(signal)
      .query<{ token: string | null }>('SELECT livemessage.lease_take($1, $2, $3) AS token', [
        LEASE,
        holder,
        ttlMs,
      ])
    const [row] = rows
    return row?.token == null ? null : Number(row.token)
  }

  async #enter(term: Term): Promise<void> {
    this.#term = term
    clearTimeout(this.#end)
    if (isOver(term)) return this.#leave(OVER)
    this.#end = setTimeout(() => void this.#leave(OVER), term.ends - performance.now()).unref()
    if (this.#told === term.token) return
    this.#log.info({ token: term.token }, 'this node leads')
    await this.#tell(term.token)
  }

  async #leave(reason: string): Promise<void> {
    this.#term = null
    clearTimeout(this.#end)
    if (this.#told === null) return
    this.#log.info({ reason: this.#trouble ?? reason }, 'this node no longer leads')
    await this.#tell(null)
  }

  async #tell(token: number | null): Promise<void> {
    this.#told = token
    const work = this.#listeners.map(async (listener) => listener(token))
    const all = Promise.all(work).catch((error: unknown) => {
      this.#log.error({ reason: messageOf(error) }, 'taking or leaving the lead failed')
    })
    await Promise.race([all, pause(this.#options.renewMs, this.#stopped.signal)])
  }

  /** Once per outage. */
  #failed(error: unknown): void {
    const before = this.#trouble
    const absent = lacksSchema(error)
    this.#trouble = absent ? 'the database has no lease table: livemessage migrate' : messageOf(error)
    if (before !== null) return
    if (absent)
      this.#log.warn({ reason: this.#trouble }, 'this node will not lead before the database is migrated')
    else this.#log.warn({ reason: this.#trouble }, 'the lead can not be asked for, trying on')
  }

  #answered(): void {
    if (this.#trouble === null) return
    this.#trouble = null
    this.#log.info('the lead can be asked for again')
  }

  async #stop(): Promise<void> {
    const { pool, stopMs } = this.#options
    this.#stopped.abort()
    const deadline = setTimeout(() => this.#cut.abort(), stopMs)
    await this.#running
    await this.#leave('the node stops')
    clearTimeout(deadline)
    if (this.#granted === null) return
    try {
      await withDeadline(stopMs, [], (signal) =>
        pool.withSignal(signal).query('SELECT livemessage.lease_give($1, $2)', [LEASE, this.#granted]),
      )
    } catch (error) {
      this.#log.info({ reason: messageOf(error) }, 'the lead was not given back: it ends with its term')
    }
  }
}

const OVER = 'its term is over'

function isOver({ ends, endsAt }: Term): boolean {
  return performance.now() >= ends || Date.now() >= endsAt
}
