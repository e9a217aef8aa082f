import type { Retry } from '../backoff.ts'
import type { Notifications } from '../database/notifications.ts'
import type { DatabasePool } from '../database/pool.ts'
import type { Log } from '../ops/log.ts'

export interface PostgresJournalOptions {
  readonly url: string
  /** The shared LISTEN connection, to the same database. */
  readonly notifications: Notifications
  readonly log: Log
  /** Memory of the window. */
  readonly windowBytes: number
  /** How long an idempotency key is remembered. */
  idempotencyMs(): number
  /** Refuses a schema that this daemon can't work with; asked once, at the first connection. */
  checkSchema?(pool: DatabasePool): Promise<void>
  /** How long a draft waits for an unreachable database. @default 5000 */
  readonly patienceMs?: number
  /** Deadline of each statement; what an append came to is found out afterwards. @default 10_000 */
  readonly statementMs?: number
  /** Deadline of `stop` for what is in hand. @default 5000 */
  readonly stopMs?: number
  /** How long the window may take to be filled at the start. @default 3000 */
  readonly preloadMs?: number
  /** What waits to be appended. @default 67_108_864 bytes, 100_000 drafts */
  readonly queueBytes?: number
  readonly queueDrafts?: number
  /** What may be appended together. @default 16_000_000 bytes */
  readonly unitBytes?: number
  /** What goes into one transaction. @default 1_048_576 bytes, 512 drafts */
  readonly batchBytes?: number
  readonly batchDrafts?: number
  /** What is forgotten in one transaction. @default 2000 rows */
  readonly forgetRows?: number
  readonly retry?: Retry
  /** After a cursor that is ahead was looked for in vain: how long until the next is. @default 100 */
  readonly quietMs?: number
  /** How often entries past their age are dropped. @default 10_000 */
  readonly sweepMs?: number
  /** @default Date.now */
  readonly now?: () => number
}

/** What the journal has done, as plain numbers. */
export interface PostgresJournalCounts {
  /** Times the table was read for what NOTIFYs did not bring: after reconnects, jumps, large publications. */
  readonly catchUps: number
  /** Entries that came that way. */
  readonly caughtUp: number
  /** NOTIFYs that could not be delivered as they were. */
  readonly jumps: number
  /** NOTIFYs that contradicted what is in the table, or were none of ours. */
  readonly contradictions: number
  /** Queries for pages that the window could not prove. */
  readonly queries: number
  /** Transactions of appends. */
  readonly batches: number
  /** Batches whose commit was in doubt, and was found out. */
  readonly settled: number
  /** Changes of the epoch that this node saw. */
  readonly epochs: number
}
