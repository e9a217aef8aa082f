import t from 'tap'
import { Client } from 'pg'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'

t.setTimeout(120_000)

t.test('messages and tasks: of a forgotten user nothing is left, and of others all', async (t) => {
  const server = await startPostgres(t)
  const daemon = await startDaemon(
    t,
    {
      ACTIONS: {
        messages: { all: './actions/messages/all.ts', forget: './actions/messages/forget.ts' },
        tasks: { all: './actions/tasks/all.ts', forget: './actions/tasks/forget.ts' },
      },
      channels: { messages: { access: 'user', history: {} }, tasks: { access: 'user', history: {} } },
      postgres: { url: server.url },
    },
    { migrate: true },
  )
  const db = new Client({ connectionString: server.url })
  await db.connect()
  t.teardown(() => db.end())
  await db.query(`INSERT INTO livemessage_messages.message (to_user, from_user, text)
    VALUES ('42', '7', 'to 42'), ('7', '42', 'from 42'), ('7', '8', 'of others')`)
  await db.query(
    `INSERT INTO livemessage_tasks.task (user_id, title) VALUES ('42', 'a'), ('42', 'b'), ('7', 'c')`,
  )
  const position = async (): Promise<number> =>
    Number((await db.query<{ at: string }>('SELECT last_value AS at FROM livemessage.positions')).rows[0]!.at)
  const before = await position()
  const response = await fetch(`${daemon.url}/api/forget`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{"user":"42"}',
  })
  t.match(await response.json(), { records: 4, missing: [] })
  t.same(
    (await db.query('SELECT to_user, from_user, text FROM livemessage_messages.message ORDER BY id')).rows,
    [
      { to_user: '7', from_user: null, text: 'from 42' },
      { to_user: '7', from_user: '8', text: 'of others' },
    ],
  )
  t.same((await db.query('SELECT title FROM livemessage_tasks.task')).rows, [{ title: 'c' }])
  t.equal(await position(), before + 2, 'a tombstone each, and no publication of what was deleted')
})
