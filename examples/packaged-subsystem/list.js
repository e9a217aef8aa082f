import { defineAction } from 'livemessages'
import { tables } from './tables.js'

const LIST = 'SELECT id, text FROM livemessages_notes.note WHERE owner = $1 ORDER BY id DESC LIMIT 100'

/** The caller's notes, newest first: `[{ id, text }]`. */
export default defineAction({
  access: 'authenticated',
  migrations: tables,
  handle: async (_input, { db, user }) => (await db.query(LIST, [user])).rows,
})
