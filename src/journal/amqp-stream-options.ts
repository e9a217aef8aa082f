import type { AmqpConnectionOptions } from '../broker/connection.ts'
import type { Log } from '../ops/log.ts'
import type { From } from './amqp-stream-tail.ts'
import type { Retention } from './journal.ts'

export interface StreamJournalOptions extends AmqpConnectionOptions {
  /** The stream is the queue `<exchange>.journal`. */
  readonly exchange: string
  /** Memory of all entries together: history and recovery reach as far. */
  readonly windowBytes: number
  /** How large the stream may grow; the oldest go first, a part of it at a time. @default 1 GiB */
  readonly maxLengthBytes?: number
  /** How old what is in the stream may get. @default as old as it likes */
  readonly maxAgeMs?: number
  /** How long an idempotency key is remembered. @default 300_000 */
  readonly idempotencyMs?: () => number
  /** How long an append waits for a broker that can't be reached, unless it is to wait. @default 5_000 */
  readonly patienceMs?: () => number
  /** Messages that the broker sends ahead. @default 200 */
  readonly readAhead?: number
  /** Data that shares a message. @default 65_536 */
  readonly batchBytes?: number
  /** Messages on their way into the stream. @default 8 */
  readonly maxInFlight?: number
  /** Data that waits for the stream; more is refused, unless it is to wait. @default 64 MiB */
  readonly maxWaitingBytes?: number
  /** How long the broker may take for each message until all was read. @default 3_000 */
  readonly silentMs?: number
  /** After a cursor that is ahead was looked for in vain: how long until the next is. @default 100 */
  readonly quietMs?: number
  /** How long a stop waits for what is on its way. @default 2_000 */
  readonly drainMs?: number
  /** How often entries past their age are dropped. @default 10_000 */
  readonly sweepMs?: number
  readonly log: Log
  /** @default Date.now */
  readonly now?: () => number
}

/** What a clock may be off, and the broker's own grain of time. */
const SLACK_MS = 120_000

/** With what arguments the stream is declared. */
export function streamArguments({
  maxLengthBytes = 1024 ** 3,
  maxAgeMs,
}: StreamJournalOptions): Record<string, unknown> {
  return {
    'x-queue-type': 'stream',
    'x-max-length-bytes': maxLengthBytes,
    // Whole segments go: eight of them, so that little goes at a time.
    'x-stream-max-segment-size-bytes': Math.min(
      500_000_000,
      Math.max(1_000_000, Math.ceil(maxLengthBytes / 8)),
    ),
    ...(maxAgeMs === undefined ? {} : { 'x-max-age': `${Math.max(1, Math.ceil(maxAgeMs / 1000))}s` }),
  }
}

/** Where to begin to read: far enough back for all that is kept, and for the keys before that. */
export function startOf(
  retentions: ReadonlyMap<string, Retention>,
  { now = Date.now, idempotencyMs }: StreamJournalOptions,
): From {
  let maxAgeMs = 0
  for (const retention of retentions.values()) maxAgeMs = Math.max(maxAgeMs, retention.maxAgeMs)
  const before = now() - maxAgeMs - (idempotencyMs?.() ?? 300_000) - SLACK_MS
  return before <= 0 ? 'first' : { before }
}
