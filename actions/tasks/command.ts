import { ClientError, type Database, type Notification } from 'livemessages'
import { commandFailure, isNotify } from '../command.ts'
import {
  anything,
  anyText,
  between,
  check,
  fields,
  id,
  nullable,
  oneOf,
  type Output,
  text,
  userId,
} from '../input.ts'
import type { TaskStatus } from './record.ts'

const COMMAND = fields({
  id: nullable(id),
  ref: nullable(text(512)),
  user: nullable(userId),
  user_id: nullable(userId),
  title: nullable(anyText),
  status: nullable(oneOf('running', 'done', 'failed', 'cancelled')),
  progress: nullable(between(0, 100)),
  text: nullable(anyText),
  result: anything,
})

type Command = Output<typeof COMMAND>

/**
 * Does what a notification says of a task: `{ user, title, text?, ref? }` makes one, `{ id }` or `{ ref }` with
 * `progress`, `text`, `status`, `result` advances it. Each may come again: what is so already is nothing new. A task
 * that has ended takes nothing more: over HTTP that is a `conflict`, for the worker to stop; a queue's messages that
 * come late are dropped.
 * @throws {ClientError} invalid_input, not_found, conflict
 */
export async function perform(notification: Notification, db: Database): Promise<void> {
  const command = check(COMMAND, notification.data)
  const user = command.user ?? command.user_id
  try {
    if (user !== undefined && command.id === undefined) await create(notification, user, command, db)
    else await advance(notification, await idOf(command, db), command, db)
  } catch (error) {
    throw commandFailure(error)
  }
}

async function create(
  notification: Notification,
  user: string,
  command: Command,
  db: Database,
): Promise<void> {
  // Several nodes hear a NOTIFY, and each would make one.
  if (isNotify(notification) && command.ref === undefined) {
    throw new ClientError(
      'invalid_input',
      'a NOTIFY makes no task without a ref: use livemessage.task_create',
    )
  }
  const { title, text: said, status, progress, result } = command
  if (title === undefined) throw new ClientError('invalid_input', 'title: expected a text, got nothing')
  const { source, key } = notification
  const ref = command.ref ?? (key === undefined ? null : `${source} ${key}`)
  // Together, or a task that is there already would not be told that it has begun.
  await db.transaction(async (db) => {
    const { rows } = await db.query<{ id: number }>(
      'SELECT livemessage.task_create($1, $2, $3, $4)::float8 AS id',
      [user, title, said ?? '', ref],
    )
    const begun = status !== undefined || progress !== undefined || result !== undefined
    if (begun) await tell(Number(rows[0]?.id), command, db)
  })
}

async function idOf({ id, ref }: Command, db: Database): Promise<number> {
  if (id !== undefined && ref !== undefined)
    throw new ClientError('invalid_input', 'id, ref: only one of them')
  if (id !== undefined) return id
  if (ref === undefined)
    throw new ClientError('invalid_input', 'expected id, ref or user: whose task, or which')
  const { rows } = await db.query<{ id: number | null }>('SELECT livemessage.task_id($1)::float8 AS id', [
    ref,
  ])
  const found = rows[0]?.id ?? null
  if (found === null) throw new ClientError('not_found', 'no task has this ref')
  return found
}

async function advance({ source }: Notification, id: number, command: Command, db: Database): Promise<void> {
  const { progress, text: said, status, result } = command
  if (progress === undefined && said === undefined && status === undefined && result === undefined) {
    throw new ClientError(
      'invalid_input',
      'expected progress, text or status: what is to be said of the task',
    )
  }
  if (await tell(id, command, db)) return
  const { rows } = await db.query<{ status: TaskStatus }>(
    'SELECT status FROM livemessage_tasks.task WHERE id = $1',
    [id],
  )
  const now = rows[0]?.status
  if (now === undefined) throw new ClientError('not_found', `there is no task ${id}`)
  if (source === 'http') throw new ClientError('conflict', `task ${id} has ended: ${now}`)
}

/** Whether the task is as it is told to be. */
async function tell(id: number, command: Command, db: Database): Promise<boolean> {
  const { progress = null, text: said = null, status, result } = command
  if (result !== undefined && status !== 'done') {
    throw new ClientError('invalid_input', "result: only with the status 'done'")
  }
  const taken = async (sql: string, values: readonly unknown[]): Promise<boolean> => {
    const { rows } = await db.query<{ taken: boolean }>(`SELECT ${sql} AS taken`, [id, ...values])
    return rows[0]?.taken === true
  }
  switch (status) {
    case 'done':
      return taken('livemessage.task_done($1, $2, $3)', [
        result == null ? null : JSON.stringify(result),
        said,
      ])
    case 'failed':
    case 'cancelled': {
      // How far it came, where that is said too.
      if (progress !== null) await taken('livemessage.task_progress($1, $2)', [progress])
      if (status === 'failed') return taken('livemessage.task_fail($1, $2)', [said])
      if (said !== null) await taken('livemessage.task_progress($1, NULL, $2)', [said])
      return taken('livemessage.task_cancel($1)', [])
    }
    default:
      return taken('livemessage.task_progress($1, $2, $3)', [progress, said])
  }
}
