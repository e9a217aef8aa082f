import { Client } from 'pg'
import t from 'tap'
import { PYTHON_PSYCOPG2, skipWithout } from '../support/packages.ts'
import { startShop } from './shop.ts'
import { folderWith, PYTHON, readPage, run } from './snippets.ts'

t.setTimeout(120_000)

const skip = skipWithout(PYTHON_PSYCOPG2)

t.test(
  "docs/publishing/odoo.md: SQL in a cursor's transaction, at Odoo's level of isolation",
  { skip },
  async (t) => {
    const { env, ownerUrl, listen } = await startShop(t)
    const page = await readPage('publishing/odoo.md')
    await run(['psql', '-X', '-q', ownerUrl, '-c', 'grant livemessage_publisher to shop'])
    const cwd = await folderWith(t, {
      'live.py': page.snippet('live.py'),
      'shop.py': `
import os, threading, psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from live import publish
def open():
    connection = psycopg2.connect(os.environ['DATABASE_URL'])
    connection.set_isolation_level(ISOLATION_LEVEL_REPEATABLE_READ)
    return connection
one = open()
with one, one.cursor() as cr:
    publish(cr, 'orders:42', {'id': 1})
with one.cursor() as cr:
    publish(cr, 'orders:42', {'id': 'rolled back'})
one.rollback()
def many(name):
    connection = open()
    for n in range(20):
        with connection, connection.cursor() as cr:
            publish(cr, 'orders:42', {'by': name, 'n': n})
threads = [threading.Thread(target=many, args=(name,)) for name in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
`,
    })
    const client = await listen('42', 'orders:42')
    await run([PYTHON, 'shop.py'], { cwd, env })
    t.match(await client.next({ type: 'message' }), { data: { id: 1 } })
    const many = []
    while (many.length < 100) many.push((await client.next({ type: 'message' }))['data'])
    t.equal(
      new Set(many.map((data) => JSON.stringify(data))).size,
      100,
      'no serialization failures, nothing twice',
    )
  },
)

t.test('docs/publishing/odoo.md: the trigger on bus_bus', async (t) => {
  const { ownerUrl, listen } = await startShop(t, {
    config: { ACTIONS: { odoo: {} }, channels: { odoo: { access: 'public', history: { count: 100 } } } },
  })
  const page = await readPage('publishing/odoo.md')
  const db = new Client({ connectionString: ownerUrl })
  await db.connect()
  t.teardown(() => db.end())
  await db.query('CREATE ROLE livemessage; CREATE TABLE res_users (id serial)')
  await db.query(
    'CREATE TABLE bus_bus (id serial PRIMARY KEY, channel varchar, message varchar, create_date timestamp)',
  )
  await db.query(page.snippet('rights.sql'))
  await db.query(page.snippet('trigger.sql'))
  const client = await listen('1', 'odoo:res.partner:3', 'odoo:broadcast', 'odoo:res.partner:3:sub')
  const next = async (): Promise<unknown> => {
    const { channel, data } = await client.next({ type: 'message' })
    return [channel, data]
  }
  const send = (channel: string, message: string): Promise<unknown> =>
    db.query('INSERT INTO bus_bus (channel, message) VALUES ($1, $2)', [channel, message])
  await send('["db","res.partner",3]', '{"type":"a","payload":{"n":1}}')
  t.same(await next(), ['odoo:res.partner:3', { type: 'a', payload: { n: 1 } }])
  await send('"broadcast"', '"old"')
  t.same(await next(), ['odoo:broadcast', 'old'])
  await send('["db","a name with spaces"]', '1')
  await send('["db","broadcast"]', '[1]')
  t.same(await next(), ['odoo:broadcast', [1]])
  await send('["db","res.partner",3,"sub"]', '2')
  t.same(await next(), ['odoo:res.partner:3:sub', 2])
})
