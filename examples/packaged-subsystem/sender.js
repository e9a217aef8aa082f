import { defineSender, userChannel } from 'livemessages'
import { tables } from './tables.js'

/** Each new note, to its owner's channel, under whatever name the subsystem stands in ACTIONS. */
export default defineSender({
  notify: 'livemessages_notes',
  migrations: tables,
  route: ({ subsystem, data }) => userChannel(subsystem, data.owner),
  // A NOTIFY holds less than 8,000 bytes: it says which note, and the text is read here.
  async format({ data }, { db }) {
    const { rows } = await db.query('SELECT id, text FROM livemessages_notes.note WHERE id = $1', [data.id])
    return rows[0] ?? { id: data.id, deleted: true }
  },
})
