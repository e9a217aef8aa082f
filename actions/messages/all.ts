import { defineAction } from 'livemessages'
import { fields, whole } from '../input.ts'
import { messages } from './migration.ts'
import { callerOf } from './caller.ts'
import { pageOf } from './record.ts'

/** The most messages of one answer. */
const MAX_LIMIT = 100

/**
 * The caller's messages, newest first: `{ start: 0, limit: 25 }` is the first page, of at most 100. The answer is
 * an array of `{ id, from_user, subject, text, date, read }`.
 */
export default defineAction({
  access: 'authenticated',
  migrations: messages,
  input: fields({ start: whole(0, Number.MAX_SAFE_INTEGER, 0), limit: whole(1, MAX_LIMIT, 25) }),
  handle: (page, context) => pageOf(context.db, callerOf(context), page),
})
