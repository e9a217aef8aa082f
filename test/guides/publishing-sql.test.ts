import t from 'tap'
import { PSQL, skipWithout } from '../support/packages.ts'
import { startShop } from './shop.ts'
import { readPage, run } from './snippets.ts'

t.setTimeout(120_000)

const skip = skipWithout(PSQL)

t.test(
  'docs/publishing/sql.md: every block runs in psql, and what it publishes arrives',
  { skip },
  async (t) => {
    const { env, ownerUrl, listen, server } = await startShop(t)
    const page = await readPage('publishing/sql.md')
    const psql = (url: string, sql: string): Promise<string> =>
      run(['psql', '-X', '-v', 'ON_ERROR_STOP=1', url], { input: sql })
    const shop = (name: string): Promise<string> => psql(env['DATABASE_URL']!, page.snippet(name))
    // A database of its own, where the application makes its tables itself.
    await psql(ownerUrl, `grant create on schema public to shop; ${page.snippet('rights.sql')}`)
    const client = await listen('42', 'orders:42')
    const next = async (): Promise<unknown> => (await client.next({ type: 'message' }))['data']

    await shop('ship.sql')
    await psql(env['DATABASE_URL']!, "insert into orders (owner, total) values ('42', 9.5); select ship(1)")
    t.same(await next(), { id: 1, status: 'shipped' })
    await shop('savepoint.sql')
    t.equal(await next(), 'published')

    await shop('triggers.sql')
    await psql(env['DATABASE_URL']!, "insert into orders (owner, total) values ('42', 1)")
    t.same(await next(), { id: 2, status: 'new', total: 1 })
    await psql(
      env['DATABASE_URL']!,
      "update orders set total = 2; update orders set status = 'paid' where id = 2",
    )
    t.same(await next(), { id: 2, status: 'paid' })
    await shop('deleted.sql')
    await psql(env['DATABASE_URL']!, 'delete from orders where id = 1')
    t.same(await next(), { id: 1, deleted: true })

    await shop('import.sql')
    await psql(
      env['DATABASE_URL']!,
      "insert into orders (owner) select case when n % 4 = 0 then '7' else '42' end from generate_series(1, 1000) n",
    )
    t.same(await next(), { imported: 750 })
    await psql(env['DATABASE_URL']!, 'insert into orders (owner) select owner from orders where false')
    await shop('enqueue.sql')
    for (const n of [1, 2, 3]) t.same(await next(), { watching: n })
    t.same(client.rest('message'), [])
    t.same(await server.psql("SELECT rolname FROM pg_roles WHERE rolname = 'shop' AND rolsuper"), [])
  },
)

t.test('docs/publishing/sql.md: who has no right is told so', { skip }, async (t) => {
  const { env } = await startShop(t)
  const sql = "select livemessage.publish('orders:42', '1')"
  await t.rejects(run(['psql', '-X', '-v', 'ON_ERROR_STOP=1', env['DATABASE_URL']!, '-c', sql]), {
    message: /permission denied/,
  })
})
