import { pause } from '../backoff.ts'
import type { Log } from '../ops/log.ts'
import type { Shift } from './chore.ts'

export interface NotifyQueueOptions {
  readonly log: Log
  /** Fractions of the queue from which on it is a warning, and an error. @default 0.1, 0.25 */
  readonly warnAbove?: number
  readonly endAbove?: number
  /** Application name of our own listeners. @default 'livemessages listen' */
  readonly listeners?: string
  /** A listener that has been silent for less is never ended. @default 60000 */
  readonly silentMs?: number
  /** It has to be found stuck so many times, so far apart. @default 5 looks, 1000 ms */
  readonly looks?: number
  readonly lookMs?: number
}

/**
 * Watches how full the server's NOTIFY queue is. What a listener has not read stays in it, and when it is full every
 * transaction that notifies fails at its COMMIT; so past a quarter, listeners of ours that read nothing are ended.
 */
export class NotifyQueue {
  readonly #options: Required<NotifyQueueOptions>
  /** How full it was at the last look, 0 to 1; null before the first. */
  usage: number | null = null
  /** Listeners that were ended. */
  ended = 0
  #level: 'low' | 'high' | 'critical' = 'low'

  constructor(options: NotifyQueueOptions) {
    this.#options = {
      warnAbove: 0.1,
      endAbove: 0.25,
      listeners: 'livemessages listen',
      silentMs: 60_000,
      looks: 5,
      lookMs: 1_000,
      ...options,
    }
  }

  async check({ query, signal }: Shift): Promise<void> {
    const [row] = await query<{ usage: number }>('SELECT pg_notification_queue_usage() AS usage')
    this.usage = row?.usage ?? 0
    this.#tell(this.usage)
    if (this.#level === 'critical') await this.#endStale(query, signal)
  }

  #tell(usage: number): void {
    const { warnAbove, endAbove, log } = this.#options
    const level = usage > endAbove ? 'critical' : usage > warnAbove ? 'high' : 'low'
    if (level === this.#level) return
    this.#level = level
    if (level === 'critical')
      log.error({ usage }, "the server's NOTIFY queue fills: at 1 every COMMIT that notifies fails")
    else if (level === 'high')
      log.warn({ usage }, "a listener does not read: the server's NOTIFY queue fills")
    else log.info({ usage }, "the server's NOTIFY queue is read again")
  }

  /**
   * A process that is frozen reads nothing, and its kernel goes on acknowledging: its backend waits in the middle of
   * sending, for ever. It is told from one that is slow by the question that each of our listeners asks every 10 s:
   * whoever reads gets the answer, and `state_change` moves on.
   */
  async #endStale(query: Shift['query'], signal: AbortSignal): Promise<void> {
    const { listeners, silentMs, looks, lookMs, log } = this.#options
    let stuck: string[] | null = null
    for (let look = 1; look <= looks; look++) {
      if (look > 1) await pause(lookMs, signal)
      signal.throwIfAborted()
      const rows = await query<{ session: string }>(STUCK, [listeners, silentMs])
      const found = rows.map(({ session }) => session)
      stuck = stuck === null ? found : stuck.filter((session) => found.includes(session))
      if (stuck.length === 0) return
    }
    const rows = await query<{ pid: number; ended: boolean }>(
      `SELECT pid, pg_terminate_backend(pid) AS ended FROM (${STUCK}) AS stuck WHERE session = ANY($3)`,
      [listeners, silentMs, stuck],
    )
    for (const { pid, ended } of rows) {
      if (!ended) continue
      this.ended++
      log.error({ pid }, 'a listener that read nothing any more was ended')
    }
  }
}

// A number may belong to another backend by the next look; with its start it does not. Sending is where it hangs: one
// that waits for its client to speak (ClientRead) has sent everything.
const STUCK = `
  SELECT pid, pid || ' ' || backend_start AS session FROM pg_stat_activity
  WHERE usename = current_user AND application_name = $1 AND wait_event = 'ClientWrite'
    AND state_change < clock_timestamp() - $2 * interval '1 millisecond'`
