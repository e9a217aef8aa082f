/**
 * All notes of a user who is to be forgotten.
 * @type {import('livemessages').ForgetHook}
 */
export default async function forget({ user }, { db }) {
  const { rowCount } = await db.query('DELETE FROM livemessages_notes.note WHERE owner = $1', [user])
  return rowCount ?? 0
}
