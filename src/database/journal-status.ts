import type { Database } from '../registry/define.ts'

/** The journal's tables, as they are just now. Times are ISO 8601. */
export interface JournalStatus {
  readonly epoch: string
  readonly minted: string
  /** Why that epoch began. */
  readonly reason: string | null
  /** The newest position; 0 before the first. */
  readonly head: number
  readonly rows: { readonly count: number; readonly isEstimate: boolean }
  /** Null where there is no row. */
  readonly oldest: { readonly position: number; readonly time: string } | null
  /** Of the publications, with their indexes; and of all else in the schema. */
  readonly bytes: { readonly journal: number; readonly others: number }
  /** By subsystem; '' is those that no daemon names. Everything at or below may have been deleted. */
  readonly floors: Readonly<Record<string, number>>
  /** What was enqueued and is not yet in the journal. */
  readonly enqueued: number
  readonly deadLetters: number
  /** How full the server's NOTIFY queue is, from 0 to 1: at 1 every COMMIT with a NOTIFY fails. */
  readonly notifyQueueUsage: number
  readonly notify: 'data' | 'positions'
  /** Null where no node leads. */
  readonly leader: { readonly holder: string; readonly until: string } | null
  readonly schemaVersion: number
}

/** @throws what the server says, where the schema is not there */
export async function readJournalStatus(db: Database): Promise<JournalStatus> {
  const { rows } = await db.query<StatusRow>(STATUS, [COUNT_LIMIT])
  const [row] = rows
  if (row === undefined) throw new Error('livemessage.meta is empty')
  const isEstimate = row.counted > COUNT_LIMIT
  return {
    epoch: row.epoch,
    minted: row.minted,
    reason: row.reason,
    head: Math.max(Number(row.newest ?? 0), ...Object.values(row.floors)),
    rows: { count: isEstimate ? Math.max(row.estimate, COUNT_LIMIT) : row.counted, isEstimate },
    oldest:
      row.oldest === null
        ? null
        : { position: Number(row.oldest), time: new Date(Number(row.oldest_time)).toISOString() },
    bytes: { journal: Number(row.journal_bytes), others: Number(row.other_bytes) },
    floors: row.floors,
    enqueued: row.enqueued,
    deadLetters: row.dead,
    notifyQueueUsage: row.usage,
    notify: row.notify_data ? 'data' : 'positions',
    leader: row.holder === null || row.until === null ? null : { holder: row.holder, until: row.until },
    schemaVersion: row.version,
  }
}

type StatusRow = {
  readonly epoch: string
  readonly minted: string
  readonly reason: string | null
  readonly newest: string | null
  readonly counted: number
  readonly estimate: number
  readonly oldest: string | null
  readonly oldest_time: string | null
  readonly journal_bytes: string
  readonly other_bytes: string
  readonly floors: Readonly<Record<string, number>>
  readonly enqueued: number
  readonly dead: number
  readonly usage: number
  readonly notify_data: boolean
  readonly holder: string | null
  readonly until: string | null
  readonly version: number
}

/** A larger table is estimated: counting reads all of it. */
const COUNT_LIMIT = 200_000

const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`

const STATUS = `
SELECT m.epoch, to_char(m.minted AT TIME ZONE 'UTC', ${ISO}) AS minted, m.reason, m.notify_data,
  (SELECT max(j.position) FROM livemessage.journal AS j) AS newest,
  (SELECT count(*)::int FROM (SELECT FROM livemessage.journal LIMIT $1 + 1) AS found) AS counted,
  (SELECT greatest(c.reltuples, 0)::float8 FROM pg_class AS c WHERE c.oid = 'livemessage.journal'::regclass) AS estimate,
  oldest.position AS oldest, oldest.time AS oldest_time,
  pg_total_relation_size('livemessage.journal') AS journal_bytes,
  (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class AS c
   WHERE c.relnamespace = 'livemessage'::regnamespace AND c.relkind = 'r' AND c.relname <> 'journal') AS other_bytes,
  (SELECT coalesce(jsonb_object_agg(f.subsystem, f.position), '{}') FROM livemessage.floor AS f) AS floors,
  (SELECT count(*)::int FROM livemessage.queue) AS enqueued,
  (SELECT count(*)::int FROM livemessage.dead) AS dead,
  pg_notification_queue_usage() AS usage,
  leader.holder, to_char(leader.until AT TIME ZONE 'UTC', ${ISO}) AS until,
  (SELECT max(version) FROM livemessage.migration WHERE component = 'core') AS version
FROM livemessage.meta AS m
LEFT JOIN LATERAL (SELECT j.position, j.time FROM livemessage.journal AS j ORDER BY j.position LIMIT 1) AS oldest ON true
LEFT JOIN LATERAL (
  SELECT l.holder, l.until FROM livemessage.lease AS l WHERE l.name = 'leader' AND l.until > clock_timestamp()
) AS leader ON true`
