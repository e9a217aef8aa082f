import type { Database } from 'livemessages'
import type { Page } from '../page.ts'

/** A message as its recipient gets it, from `messages.all` and live. */
export type MessageRecord = {
  readonly id: number
  readonly from_user: string | null
  readonly subject: string
  readonly text: string
  /** Milliseconds since 1970; null for a date that has none (`infinity`). */
  readonly date: number | null
  readonly read: boolean
}

/** What became of a message that its recipient may have: told to the recipient's other devices. */
export type MessageChange = { readonly id: number; readonly read: boolean; readonly deleted?: true }

// float8, because `pg` gives bigint and numeric as text; an identity column does not get to 2^53.
const COLUMNS = `id::float8 AS id, from_user, subject, text,
  CASE WHEN isfinite(date) THEN round(extract(epoch FROM date)::numeric * 1000)::float8 END AS date, read`

/** A page of a user's messages, newest first. */
export async function pageOf(db: Database, user: string, { start, limit }: Page): Promise<MessageRecord[]> {
  // By id and not by date: dates may be equal, or given by whoever inserts.
  const { rows } = await db.query<MessageRecord>(
    `SELECT ${COLUMNS} FROM livemessage_messages.message
     WHERE to_user = $1 ORDER BY id DESC OFFSET $2 LIMIT $3`,
    [user, start, limit],
  )
  return rows
}

/** One message of this user; null when it is not there, or another's. */
export async function find(db: Database, id: number, user: string): Promise<MessageRecord | null> {
  const { rows } = await db.query<MessageRecord>(
    `SELECT ${COLUMNS} FROM livemessage_messages.message WHERE id = $1 AND to_user = $2`,
    [id, user],
  )
  return rows[0] ?? null
}
