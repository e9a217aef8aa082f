import { type BaseContext, ClientError, defineSender, type Notification, userChannel } from 'livemessages'
import { commandFailure, isNotify } from '../command.ts'
import { anyText, check, fields, nullable, userId } from '../input.ts'
import { messages } from './migration.ts'
import { find, type MessageChange, type MessageRecord } from './record.ts'

/** The subsystem whose channels are the recipients'. */
const SUBSYSTEM = 'messages'

/**
 * Brings what happens to `livemessage_messages.message` to its recipient's channel, `messages:<user>`, where no journal
 * does. The NOTIFY holds the record; of one that is too long for a NOTIFY the rest is fetched. What comes by AMQP or
 * HTTP without an `id` is a new message, `{ to_user, from_user?, subject?, text? }`: it is inserted, once a key, and the
 * insert pushes it.
 */
export default defineSender({
  notify: 'livemessage_messages',
  migrations: messages,
  async route(notification, context) {
    const data = dataOf(notification)
    if (!isNotify(notification) && data['id'] === undefined) {
      await insert(notification, context)
      return null
    }
    const { to_user: user } = data
    // Without it the name alone is some 7,800 bytes long: no channel holds that, and no user has such an id.
    if (typeof user !== 'string') throw new ClientError('invalid_input', 'to_user: expected a text')
    return userChannel(SUBSYSTEM, user)
  },
  async format(notification, { db }): Promise<MessageRecord | MessageChange> {
    const data = dataOf(notification)
    if (data['truncated'] !== true) return isChange(data) ? changeOf(data) : recordOf(data)
    const { id, to_user: user } = data
    // Any role of the database can say a NOTIFY: whose channel it names, that user's message it is.
    const record = typeof id === 'number' && typeof user === 'string' ? await find(db, id, user) : null
    if (record === null) throw new ClientError('not_found', `message ${String(id)} is no longer there`)
    return record
  },
})

type Fields = Readonly<Record<string, unknown>>

const MESSAGE = fields({
  to_user: nullable(userId),
  // As it is called where there is no table in sight.
  to: nullable(userId),
  from_user: nullable(userId),
  subject: nullable(anyText),
  text: nullable(anyText),
})

/** Dies the process behind it, the message comes again: with a key nothing more comes of that. */
async function insert(notification: Notification, { db }: BaseContext): Promise<void> {
  const message = check(MESSAGE, notification.data)
  const to = message.to_user ?? message.to
  if (to === undefined) throw new ClientError('invalid_input', "to_user: expected a user's id, got nothing")
  if (message.to !== undefined && message.to !== to) {
    throw new ClientError('invalid_input', 'to, to_user: only one of them')
  }
  const { source, key } = notification
  try {
    await db.query('SELECT livemessage_messages.send($1, $2, $3, $4, $5)', [
      to,
      message.from_user ?? null,
      message.subject ?? '',
      message.text ?? '',
      key === undefined ? null : `${source} ${key}`,
    ])
  } catch (error) {
    throw commandFailure(error)
  }
}

function dataOf({ data }: Notification): Fields {
  if (typeof data === 'object' && data !== null && !Array.isArray(data)) return data as Fields
  throw new ClientError('invalid_input', 'expected a row of livemessage_messages.message')
}

/** What names nothing that a message says tells what became of it. */
function isChange(data: Fields): boolean {
  return 'read' in data && !['from_user', 'subject', 'text', 'date'].some((column) => column in data)
}

function changeOf({ id, read, deleted }: Fields): MessageChange {
  if (typeof id !== 'number') throw new ClientError('invalid_input', 'id: expected a number')
  return { id, read: read === true, ...(deleted === true ? { deleted } : {}) }
}

/** What the recipient is given; the recipient's own name is in the channel's. */
function recordOf({ id, from_user, subject, text, date, read }: Fields): MessageRecord {
  if (typeof id !== 'number') throw new ClientError('invalid_input', 'id: expected a number')
  return {
    id,
    from_user: typeof from_user === 'string' ? from_user : null,
    subject: typeof subject === 'string' ? subject : '',
    text: typeof text === 'string' ? text : '',
    date: typeof date === 'number' ? date : null,
    read: read === true,
  }
}
