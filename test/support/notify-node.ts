import { createLeadership } from '../../src/database/leadership.ts'
import type { Leadership } from '../../src/database/leadership.ts'
import { Notifications } from '../../src/database/notifications.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { PostgresJournal } from '../../src/journal/postgres.ts'
import type { Log } from '../../src/ops/log.ts'
import { Duty } from '../../src/sources/duty.ts'
import { createPostgresSource } from '../../src/sources/postgres.ts'
import type { PostgresSource } from '../../src/sources/postgres.ts'
import type { MaybePromise, Notification, Rejection, Taken } from '../../src/sources/source.ts'
import { silent } from './postgres.ts'

export interface NotifyNodeOptions {
  readonly url: string
  readonly holder: string
  readonly ttlMs: number
  /** The NOTIFY name that carries publications. */
  readonly channel: string
  readonly notify?: ReadonlyMap<string, readonly string[]>
  readonly log?: Log
  /** What happens to a notification before it goes to the journal; null: instead. */
  readonly before?: (notification: Notification) => MaybePromise<null | void>
}

/** As much of a node as it takes to journal bare NOTIFYs under the lease. Subsystem `quotes` is transient. */
export interface NotifyNode {
  readonly leadership: Leadership
  readonly duty: Duty
  readonly source: PostgresSource
  readonly journal: PostgresJournal
  /** What went past the journal. */
  readonly transient: Notification[]
  readonly rejects: Rejection[]
  start(): Promise<void>
  stop(): Promise<void>
}

export function makeNotifyNode(options: NotifyNodeOptions): NotifyNode {
  const { url, holder, ttlMs, channel, log = silent(), before } = options
  const retry = { minMs: 10, maxMs: 100 }
  const notifications = new Notifications({ url, retry, checkMs: 500, closeMs: 200 })
  const pool = createDatabase({
    url,
    minConnections: 0,
    maxConnections: 4,
    cleanupTimeoutMs: 10_000,
    connectMs: 1_000,
    stopMs: 500,
    log: silent(),
  })
  const leadership = createLeadership({ pool, holder, log, ttlMs, stopMs: 300 })
  const journal = new PostgresJournal({
    url,
    notifications,
    log: silent(),
    windowBytes: 1024 * 1024,
    idempotencyMs: () => 60_000,
    statementMs: 2_000,
    stopMs: 500,
    retry,
  })
  const caughtUp = async (): Promise<void> => {
    const { rows } = await pool.query<{ head: string }>(
      'SELECT coalesce(max(position), 0) AS head FROM livemessage.journal',
    )
    while (journal.head < Number(rows[0]?.head)) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const isJournaled = (subsystem: string): boolean => subsystem !== 'quotes'
  const duty = new Duty({ leadership, isJournaled, caughtUp, log, retry })
  const source = createPostgresSource({
    name: 'postgres',
    listen: notifications,
    channel,
    notify: options.notify ?? new Map(),
    duty,
    log,
    retry,
  })
  const transient: Notification[] = []
  const rejects: Rejection[] = []
  const append = (notification: Notification): Taken | void => {
    const { everywhere, channel = `${notification.subsystem}:all`, json = 'null' } = notification
    if (everywhere) return void transient.push(notification)
    const { mark, lease, patience } = notification
    const draft = { channel, json, mark: mark!, lease: lease!, patience: patience! }
    return { kept: journal.append(draft).then(() => undefined) }
  }
  return {
    leadership,
    duty,
    source,
    journal,
    transient,
    rejects,
    async start() {
      await journal.start({ onEntry: (entry) => duty.onEntry(entry), onEpoch: () => {}, onReady: () => {} })
      await source.start({
        onNotification: (notification) => {
          const wait = before?.(notification)
          if (wait === null) return undefined
          if (wait) return wait.then((nothing) => (nothing === null ? undefined : append(notification)))
          return append(notification)
        },
        onGap: () => {},
        onState: () => {},
        onReject: (rejection) => void rejects.push(rejection),
      })
      await leadership.start()
    },
    async stop() {
      await source.stop()
      duty.stop()
      await leadership.stop()
      await journal.stop()
      await notifications.stop()
      await pool.stop()
    },
  }
}
