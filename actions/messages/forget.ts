import type { ForgetHook } from 'livemessages'

/**
 * All that was sent to the user is deleted; what the user has sent to others stays theirs, without the sender's name.
 * Counts both.
 */
const forget: ForgetHook = async ({ user }, { db }) => {
  const sent = await db.query(
    'UPDATE livemessage_messages.message SET from_user = NULL WHERE from_user = $1',
    [user],
  )
  const received = await db.query('DELETE FROM livemessage_messages.message WHERE to_user = $1', [user])
  return (sent.rowCount ?? 0) + (received.rowCount ?? 0)
}

export default forget
