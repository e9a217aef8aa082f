import { ClientError, defineAction, defineSender, type SubscribeHook, userChannel } from 'livemessages'
import { fields, id } from 'livemessages/actions/input'

type Order = { id: number; owner: string; status: string }

const sql = `CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, owner text, status text DEFAULT 'open')`
const migrations = { component: 'orders', migrations: [{ version: 1, name: 'orders', sql }] }
const CANCEL = `WITH done AS (UPDATE orders SET status = 'cancelled' WHERE id = $1 AND owner = $2 RETURNING *)
  SELECT pg_notify('order_changed', to_jsonb(done)::text) FROM done`

/** The action: what a client may do. */
export const cancel = defineAction({
  input: fields({ id }),
  migrations,
  async handle({ id }, { db, user }) {
    const { rowCount } = await db.query(CANCEL, [id, user])
    if (rowCount === 0) throw new ClientError('not_found', 'you have no such order')
  },
})

/** The sender: what the database says, to the channel of whom it concerns. */
export const sender = defineSender({
  notify: 'order_changed',
  route: ({ data }) => userChannel('orders', (data as Order).owner),
  format: ({ data }) => ({ id: (data as Order).id, status: (data as Order).status }),
})

/** The hook: everyone watches their own, clerks everyone's. */
export const subscribe: SubscribeHook = ({ rest }, { user }) => rest === user || user === 'clerk'
