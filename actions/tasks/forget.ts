import type { ForgetHook } from 'livemessages'

/** All tasks of the user are deleted, running ones too: who works on one is told so when it advances it. */
const forget: ForgetHook = async ({ user }, { db }) => {
  const { rowCount } = await db.query('DELETE FROM livemessage_tasks.task WHERE user_id = $1', [user])
  return rowCount ?? 0
}

export default forget
