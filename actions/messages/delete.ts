import { defineAction } from 'livemessages'
import { callerOf } from '../caller.ts'
import { fields, id } from '../input.ts'
import { messages } from './migration.ts'

/** Deletes a message: `{ id }`. The answer is `{ success }`: false where the caller has no such message. */
export default defineAction({
  access: 'authenticated',
  migrations: messages,
  input: fields({ id }),
  async handle({ id }, context) {
    const { rowCount } = await context.db.query(
      'DELETE FROM livemessage_messages.message WHERE id = $1 AND to_user = $2',
      [id, callerOf(context)],
    )
    return { success: rowCount === 1 }
  },
})
