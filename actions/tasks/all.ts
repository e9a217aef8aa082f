import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { page } from '../page.ts'
import { tasks } from './migration.ts'
import { pageOf } from './record.ts'

/**
 * The caller's tasks, newest first: `{ start: 0, limit: 25 }` is the first page, of at most 100. The answer is an
 * array of `{ id, title, status, progress, text, result, created, updated }`.
 */
export default defineAction({
  access: 'authenticated',
  migrations: tasks,
  input: page,
  handle: (page, context) => pageOf(context.db, callerOf(context), page),
})
