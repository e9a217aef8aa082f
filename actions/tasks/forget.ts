import type { ForgetHook } from 'livemessages'

/**
 * All tasks of the user are deleted, running ones too: who works on one is told so when it advances it. Nothing of it is
 * pushed: the user's channel is forgotten next.
 */
const forget: ForgetHook = ({ user }, { db }) =>
  db.transaction(async (db) => {
    await db.query("SELECT set_config('livemessage_tasks.push', 'off', true)")
    const { rowCount } = await db.query('DELETE FROM livemessage_tasks.task WHERE user_id = $1', [user])
    return rowCount ?? 0
  })

export default forget
