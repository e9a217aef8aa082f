import type { Database } from 'livemessages'
import type { Page } from '../page.ts'

export type TaskStatus = 'queued' | 'running' | 'done' | 'failed' | 'cancelled'

/** A task as its user gets it, from `tasks.all` and live. */
export type TaskRecord = {
  readonly id: number
  readonly title: string
  readonly status: TaskStatus
  /** Percent, 0 to 100. */
  readonly progress: number
  /** What it is at, or why it failed. */
  readonly text: string
  /** What came of it, as the application says it. */
  readonly result: unknown
  /** Milliseconds since 1970; null for a date that has none (`infinity`). */
  readonly created: number | null
  readonly updated: number | null
}

/** What is left to tell of a task that was deleted. */
export type TaskDeletion = { readonly id: number; readonly deleted: true }

// float8, because `pg` gives bigint and numeric as text; an identity column does not get to 2^53.
const COLUMNS = `id::float8 AS id, title, status, progress::float8 AS progress, text, result,
  livemessage_tasks.ms(created)::float8 AS created, livemessage_tasks.ms(updated)::float8 AS updated`

/** A page of a user's tasks, newest first. */
export async function pageOf(db: Database, user: string, { start, limit }: Page): Promise<TaskRecord[]> {
  const { rows } = await db.query<TaskRecord>(
    `SELECT ${COLUMNS} FROM livemessage_tasks.task WHERE user_id = $1 ORDER BY id DESC OFFSET $2 LIMIT $3`,
    [user, start, limit],
  )
  return rows
}

/** One task of this user; null when it is not there, or another's. */
export async function find(db: Database, id: number, user: string): Promise<TaskRecord | null> {
  const { rows } = await db.query<TaskRecord>(
    `SELECT ${COLUMNS} FROM livemessage_tasks.task WHERE id = $1 AND user_id = $2`,
    [id, user],
  )
  return rows[0] ?? null
}
