import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { fields, id } from '../input.ts'
import { messages } from './migration.ts'

/**
 * Marks a message as read: `{ id }`. The answer is `{ success }`, true for one that was read before too; false
 * where the caller has no such message, be it another's or nobody's.
 */
export default defineAction({
  access: 'authenticated',
  migrations: messages,
  input: fields({ id }),
  async handle({ id }, context) {
    const { rowCount } = await context.db.query(
      'UPDATE livemessage_messages.message SET read = true WHERE id = $1 AND to_user = $2',
      [id, callerOf(context)],
    )
    return { success: rowCount === 1 }
  },
})
