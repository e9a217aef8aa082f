import type { ForgetHook } from 'livemessages'

/**
 * All that was sent to the user is deleted; what the user has sent to others stays theirs, without the sender's name.
 * Counts both. Nothing of it is pushed: the user's channel is forgotten next, and a publication for each message would
 * hold up all who publish.
 */
const forget: ForgetHook = ({ user }, { db }) =>
  db.transaction(async (db) => {
    await db.query("SELECT set_config('livemessage_messages.push', 'off', true)")
    const sent = await db.query(
      'UPDATE livemessage_messages.message SET from_user = NULL WHERE from_user = $1',
      [user],
    )
    const received = await db.query('DELETE FROM livemessage_messages.message WHERE to_user = $1', [user])
    return (sent.rowCount ?? 0) + (received.rowCount ?? 0)
  })

export default forget
