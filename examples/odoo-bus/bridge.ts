// Odoo's bus for clients of livemessages: every row of bus_bus becomes a publication on a channel `odoo:…`.
//
// Odoo inserts into bus_bus (id, channel, message, create_date) and says NOTIFY imbus when that is committed. The ids are
// a sequence's: a transaction may commit long after another one that has higher ids, so "everything above the last id"
// would lose its rows. Therefore the ids that were published are kept, and each time those of the last 10,000 are read
// that are not among them.
import { type BaseContext, ClientError, defineSender, type Migrations, userChannel } from 'livemessages'

/** The name of Odoo's database; the NOTIFY comes by way of another one, `postgres`. */
const ODOO = 'odoo'

/**
 * It begins with what is committed after `livemessage migrate`, which goes through all databases of the config: only
 * Odoo's own has something to begin with.
 */
const migrations: Migrations = {
  component: 'odoo-bus',
  migrations: [
    {
      version: 1,
      name: 'published',
      sql: `DO $$ BEGIN
              IF to_regclass('bus_bus') IS NULL THEN RETURN; END IF;
              CREATE SCHEMA odoo_bus;
              CREATE TABLE odoo_bus.published (id bigint PRIMARY KEY);
              INSERT INTO odoo_bus.published SELECT id FROM bus_bus;
            END $$`,
    },
  ],
}

const WINDOW = '(SELECT max(id) - 10000 FROM bus_bus)'
const READ = `SELECT id::float8, channel, message FROM bus_bus row
  WHERE id > ${WINDOW} AND NOT EXISTS (SELECT FROM odoo_bus.published WHERE id = row.id) ORDER BY id LIMIT 500`
const KEEP = 'INSERT INTO odoo_bus.published SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING'
const FORGET = `DELETE FROM odoo_bus.published WHERE id <= ${WINDOW}`

type Row = { id: number; channel: string; message: string }

/** Each NOTIFY, on the node that leads. What it says is in the table: it goes to no channel itself. */
export const sender = defineSender({
  notify: 'imbus',
  migrations,
  async route(_notification, context) {
    await catchUp(context)
    return null
  },
})

/** As the hook `start`: what was committed while no daemon was there. */
export async function start(context: BaseContext): Promise<void> {
  await catchUp(context)
}

/**
 * The keys make it harmless that two nodes read the same rows, or that this one dies before it has kept what it
 * published: within `limits.idempotencyMs` a second publication of a row is dropped.
 */
async function catchUp({ databases, publish, log, signal }: BaseContext): Promise<void> {
  const db = databases[ODOO]!
  for (;;) {
    signal.throwIfAborted()
    const { rows } = await db.query<Row>(READ)
    if (rows.length === 0) return
    // Not one after the other: the journal takes them in few transactions, in the order of the calls.
    const said = await Promise.allSettled(
      rows.map(async ({ id, channel, message }) =>
        publish(channelOf(channel), JSON.parse(message), { key: `bus_bus:${id}` }),
      ),
    )
    for (const [index, result] of said.entries()) {
      if (result.status === 'fulfilled') continue
      const error: unknown = result.reason
      // The journal is away: all of them again. Anything else stays as it is, and must not hold up the others.
      if (error instanceof ClientError && ['unavailable', 'timeout'].includes(error.code)) throw error
      log.error({ id: rows[index]!.id, err: error }, 'a row of bus_bus can not be published')
    }
    await db.query(KEEP, [rows.map(({ id }) => id)])
    await db.query(FORGET)
  }
}

/** `["db","res.partner",3]` is `odoo:res.partner:3`; `["db","name"]`, in old versions `"name"` too, is `odoo:name`. */
function channelOf(json: string): string {
  const channel: unknown = JSON.parse(json)
  const parts = Array.isArray(channel) ? channel.slice(1) : typeof channel === 'string' ? [channel] : []
  return userChannel('odoo', parts.join(':')) // throws where nothing is left
}
