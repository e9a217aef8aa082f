import { ClientError, defineAction } from 'livemessages'
import { tables } from './tables.js'

/** `{ text }`: keeps a note of the caller's. The answer is `{ id }`. */
export default defineAction({
  access: 'authenticated',
  migrations: tables,
  async handle(input, { db, user }) {
    const text = input?.text
    if (typeof text !== 'string' || text === '')
      throw new ClientError('invalid_input', 'text: expected a text')
    const add = 'INSERT INTO livemessages_notes.note (owner, text) VALUES ($1, $2) RETURNING id'
    const { rows } = await db.query(add, [user, text])
    return { id: rows[0].id }
  },
})
