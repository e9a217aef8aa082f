import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { tasks } from './migration.ts'

/**
 * How many of the caller's tasks are running, and how far they are on average, in percent: `{ success: true, count,
 * progress }`. Without any it is 0. Tasks that are queued don't count.
 */
export default defineAction({
  access: 'authenticated',
  migrations: tasks,
  async handle(_input, context) {
    const { rows } = await context.db.query<{ count: number; progress: number }>(
      `SELECT count(*)::float8 AS count, coalesce(round(avg(progress), 2), 0)::float8 AS progress
       FROM livemessage_tasks.task WHERE user_id = $1 AND status = 'running'`,
      [callerOf(context)],
    )
    return { success: true, count: 0, progress: 0, ...rows[0] }
  },
})
