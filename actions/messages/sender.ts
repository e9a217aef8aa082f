import { ClientError, defineSender, type Notification, userChannel } from 'livemessages'
import { messages } from './migration.ts'
import { find, type MessageRecord } from './record.ts'

/** The subsystem whose channels are the recipients'. */
const SUBSYSTEM = 'messages'

/**
 * Brings each new row of `livemessage_messages.message` to its recipient's channel, `messages:<user>`. The NOTIFY
 * of the insert holds the record; of one that is too long for a NOTIFY the rest is fetched.
 */
export default defineSender({
  notify: 'livemessage_messages',
  migrations: messages,
  route(notification) {
    const { to_user: user } = dataOf(notification)
    // Without it the name alone is some 7,800 bytes long: no channel holds that, and no user has such an id.
    if (typeof user !== 'string') throw new ClientError('invalid_input', 'to_user: expected a text')
    return userChannel(SUBSYSTEM, user)
  },
  async format(notification, { db }): Promise<MessageRecord> {
    const data = dataOf(notification)
    if (data['truncated'] !== true) return recordOf(data)
    const { id } = data
    const record = typeof id === 'number' ? await find(db, id) : null
    if (record === null) throw new ClientError('not_found', `message ${String(id)} is no longer there`)
    return record
  },
})

type Fields = Readonly<Record<string, unknown>>

function dataOf({ data }: Notification): Fields {
  if (typeof data === 'object' && data !== null && !Array.isArray(data)) return data as Fields
  throw new ClientError('invalid_input', 'expected a row of livemessage_messages.message')
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
