import type { SubscribeHook } from 'livemessages'

/** `odoo:res.partner:3` for the user whose partner that is, `odoo:broadcast` for every user. */
const subscribe: SubscribeHook = async ({ rest }, { user, db }) => {
  if (user === null) return false
  if (rest === 'broadcast') return true
  const [model, id] = rest.split(':')
  if (model !== 'res.partner') return false
  const { rowCount } = await db.query(
    'SELECT 1 FROM res_users WHERE id::text = $1 AND partner_id::text = $2',
    [user, id],
  )
  return rowCount === 1
}
export default subscribe
