import { ClientError, defineSender, type Notification, userChannel } from 'livemessages'
import { isNotify } from '../command.ts'
import { perform } from './command.ts'
import { tasks } from './migration.ts'
import { find, type TaskDeletion, type TaskRecord } from './record.ts'

/** The subsystem whose channels are the users'. */
const SUBSYSTEM = 'tasks'

/**
 * Brings what happens to `livemessage_tasks.task` to its user's channel, `tasks:<user>`, where no journal does: the
 * table's NOTIFY holds the record and its `user_id`. Anything else tells what a task is at, or to make one: see
 * `command.ts`. The table pushes what comes of that.
 */
export default defineSender({
  notify: 'livemessage_tasks',
  migrations: tasks,
  async route(notification, { db }) {
    const data = dataOf(notification)
    if (!isRecord(notification, data)) {
      await perform(notification, db)
      return null
    }
    return userChannel(SUBSYSTEM, String(data['user_id']))
  },
  async format(notification, { db }): Promise<TaskRecord | TaskDeletion | Fields> {
    const { user_id: user, ...record } = dataOf(notification)
    if (record['truncated'] !== true) return record
    // Any role of the database can say a NOTIFY: whose channel it names, that user's task it is.
    const found = await find(db, Number(record['id']), String(user))
    if (found === null) throw new ClientError('not_found', `task ${String(record['id'])} is no longer there`)
    return found
  },
})

type Fields = Readonly<Record<string, unknown>>

function dataOf({ data }: Notification): Fields {
  if (typeof data === 'object' && data !== null && !Array.isArray(data)) return data as Fields
  throw new ClientError('invalid_input', 'expected an object: a task, or what it is at')
}

/** Whether the table says it. Commands name a task or a user, never both. */
function isRecord(notification: Notification, { id, user_id }: Fields): boolean {
  return isNotify(notification) && typeof id === 'number' && typeof user_id === 'string'
}
