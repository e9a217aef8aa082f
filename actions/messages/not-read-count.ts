import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { messages } from './migration.ts'

/** How many of the caller's messages are unread: `{ count }`. */
export default defineAction({
  access: 'authenticated',
  migrations: messages,
  async handle(_input, context) {
    const { rows } = await context.db.query<{ count: number }>(
      'SELECT count(*)::float8 AS count FROM livemessage_messages.message WHERE to_user = $1 AND NOT read',
      [callerOf(context)],
    )
    return { count: rows[0]?.count ?? 0 }
  },
})
