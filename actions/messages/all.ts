import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { page } from '../page.ts'
import { messages } from './migration.ts'
import { pageOf } from './record.ts'

/**
 * The caller's messages, newest first: `{ start: 0, limit: 25 }` is the first page, of at most 100. The answer is
 * an array of `{ id, from_user, subject, text, date, read }`.
 */
export default defineAction({
  access: 'authenticated',
  migrations: messages,
  input: page,
  handle: (page, context) => pageOf(context.db, callerOf(context), page),
})
