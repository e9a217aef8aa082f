import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { fields, id } from '../input.ts'
import { tasks } from './migration.ts'

/**
 * Asks the application to give a task up: `{ id }`. Its status is `cancelled` then, and whoever works on it is told so
 * by the next `task_progress`. The answer is `{ success }`, true for one that was cancelled before too; false where the
 * caller has no such task, or it has ended otherwise.
 */
export default defineAction({
  access: 'authenticated',
  migrations: tasks,
  input: fields({ id }),
  async handle({ id }, context) {
    const { rows } = await context.db.query<{ success: boolean | null }>(
      `SELECT livemessage.task_cancel(t.id) AS success FROM livemessage_tasks.task AS t
       WHERE t.id = $1 AND t.user_id = $2`,
      [id, callerOf(context)],
    )
    return { success: rows[0]?.success === true }
  },
})
