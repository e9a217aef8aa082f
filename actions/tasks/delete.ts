import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { fields, id } from '../input.ts'
import { tasks } from './migration.ts'

/**
 * Deletes a task: `{ id }`. The answer is `{ success }`: false where the caller has no such task. Whoever works on it
 * is told so by the next `task_progress`.
 */
export default defineAction({
  access: 'authenticated',
  migrations: tasks,
  input: fields({ id }),
  async handle({ id }, context) {
    const { rowCount } = await context.db.query(
      'DELETE FROM livemessage_tasks.task WHERE id = $1 AND user_id = $2',
      [id, callerOf(context)],
    )
    return { success: rowCount === 1 }
  },
})
