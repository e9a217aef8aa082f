import type { Client } from 'pg'
import type { Test } from 'tap'
import { z } from 'zod'
import { messages } from '../../actions/messages/migration.ts'
import { migrate } from '../../src/database/migrate.ts'
import { userRest } from '../../src/protocol/names.ts'
import type { TestPostgres } from '../support/postgres.ts'
import { sqlDatabase } from './sql-database.ts'

const PAYLOAD = z.record(z.string(), z.unknown())

/** Warnings that the server sent to this session. */
function warnings(client: Client): string[] {
  const texts: string[] = []
  client.on('notice', ({ severity, message }) => severity === 'WARNING' && texts.push(message ?? ''))
  return texts
}

/** What `publish` and `publish_row` do for transient subsystems: a bare NOTIFY. */
export async function bareSuite(t: Test, server: TestPostgres): Promise<void> {
  const db = await sqlDatabase(t, server)
  await migrate(db.url, { components: [messages] })
  await db.sql(
    `SELECT livemessage.set_subsystems('{"chat":{"journaled":false},"tasks":{"journaled":false},"messages":{"journaled":false}, "c":{"journaled":false},"Chat_1-a":{"journaled":false}}')`,
  )
  const { connect } = db

  /** A session that listens; `heard` are the payloads until now, once the session has answered a query. */
  async function listen(t: Test, channel = 'livemessages') {
    const client = await connect(t)
    const payloads: z.infer<typeof PAYLOAD>[] = []
    client.on('notification', ({ payload }) => payloads.push(PAYLOAD.parse(JSON.parse(payload ?? ''))))
    await client.query(`LISTEN ${channel}`)
    return {
      // Notifications of earlier commits come before the answer to a later query.
      heard: async () => {
        await client.query('SELECT 1')
        return payloads.splice(0)
      },
    }
  }

  await t.test(
    'a publication is heard when its transaction commits, not when it is rolled back',
    async (t) => {
      const { heard } = await listen(t)
      const client = await connect(t)
      await client.query(`BEGIN; SELECT livemessage.publish('chat:general', '{"text":"never"}'); ROLLBACK`)
      t.same(await heard(), [])
      await client.query(`BEGIN; SELECT livemessage.publish('chat:general', '{"text":"hello"}')`)
      t.same(await heard(), [])
      await client.query('COMMIT')
      t.same(await heard(), [{ channel: 'chat:general', data: { text: 'hello' } }])
    },
  )

  await t.test('equal publications of one transaction are all heard, in order', async (t) => {
    const { heard } = await listen(t)
    const client = await connect(t)
    await client.query(`SELECT livemessage.publish('chat:general', '"again"') FROM generate_series(1, 3)`)
    t.same(await heard(), [
      { channel: 'chat:general', data: 'again' },
      { channel: 'chat:general', n: 2, data: 'again' },
      { channel: 'chat:general', n: 3, data: 'again' },
    ])
    await client.query(`SELECT livemessage.publish('chat:general', '"again"')`)
    t.same(await heard(), [{ channel: 'chat:general', data: 'again' }], 'the numbers begin anew')
  })

  await t.test('null data is JSON null, a null channel is an error', async (t) => {
    const { heard } = await listen(t)
    const client = await connect(t)
    await client.query(`SELECT livemessage.publish('chat:general', NULL)`)
    t.same(await heard(), [{ channel: 'chat:general', data: null }])
    await t.rejects(client.query(`SELECT livemessage.publish(NULL, '1')`), {
      code: '22004',
      message: 'livemessage.publish: the channel is null',
    })
  })

  await t.test('what is no channel is refused with the rule', async (t) => {
    const client = await connect(t)
    const bad = [
      '',
      'chat',
      'chat:',
      ':x',
      '1chat:x',
      'chat:a b',
      'chat:ü',
      `chat:${'x'.repeat(201)}`,
      'chat:x\n',
      `${'s'.repeat(65)}:x`,
    ]
    for (const channel of bad) {
      await t.rejects(client.query('SELECT livemessage.publish($1, $2)', [channel, '1']), {
        code: '22023',
        message: /^livemessage.publish: '.*' is no channel$/s,
        hint: /<subsystem>:<rest>/,
      })
    }
    for (const channel of ['c:x', `chat:${'x'.repeat(200)}`, 'Chat_1-a:A.b_c:d@e=-']) {
      await client.query('SELECT livemessage.publish($1, $2)', [channel, '1'])
    }
  })

  await t.test(
    'what does not fit into a NOTIFY is refused with its size and the limit, in bytes',
    async (t) => {
      const { heard } = await listen(t)
      const client = await connect(t)
      const frame = Buffer.byteLength('{"channel":"chat:general","data":""}')
      const send = (text: string) =>
        client.query('SELECT livemessage.publish($1, to_jsonb($2::text))', ['chat:general', text])
      await send('x'.repeat(7999 - frame))
      await send('ü'.repeat((7999 - frame) / 2))
      t.same((await heard()).length, 2)
      await t.rejects(send('x'.repeat(8000 - frame)), {
        code: '54000',
        message: 'livemessage.publish: the publication to chat:general has 8000 bytes, the limit is 7999',
      })
      await t.rejects(send('ü'.repeat(4000)), { message: /has 8036 bytes/ })
    },
  )

  await t.test('members of livemessage_publisher may publish, others may not', async (t) => {
    const { heard } = await listen(t)
    const application = await connect(t, 'application')
    await application.query(`SELECT livemessage.publish('chat:general', '1')`)
    t.equal((await heard()).length, 1)
    const stranger = await connect(t, 'stranger')
    await t.rejects(stranger.query(`SELECT livemessage.publish('chat:general', '1')`), { code: '42501' })
    for (const internal of [`encode('a:b', '1')`, `encode_rest('x')`, `is_channel('x')`]) {
      await t.rejects(application.query(`SELECT livemessage.${internal}`), { code: '42501' })
    }
    t.same(await heard(), [])
  })

  await t.test('nobody can put objects of his own into the way of publish', async (t) => {
    const { heard } = await listen(t)
    const client = await connect(t, 'application')
    await client.query(`
    CREATE TEMP TABLE pg_roles (x int);
    CREATE FUNCTION pg_temp.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT';
    CREATE FUNCTION pg_temp.octet_length(text) RETURNS int LANGUAGE sql AS 'SELECT 1';
    SET search_path = pg_temp, pg_catalog`)
    await client.query(`SELECT livemessage.publish('chat:general', '1')`)
    t.equal((await heard()).length, 1)
  })

  await t.test(
    'publish_row publishes the named columns of a row, to the channel of its template',
    async (t) => {
      const { heard } = await listen(t)
      const client = await connect(t)
      await client.query(`
    CREATE TABLE task (id int, room text, title text, secret text, amount numeric);
    CREATE TRIGGER publish AFTER INSERT OR UPDATE OR DELETE ON task FOR EACH ROW
      EXECUTE FUNCTION livemessage.publish_row('tasks:{room}.{id}', 'id', 'title', 'amount')`)
      await client.query(`INSERT INTO task VALUES (1, 'kitchen', 'cook', 'hush', 12345678901.5)`)
      await client.query(`UPDATE task SET title = NULL, amount = 1`)
      await client.query(`DELETE FROM task`)
      t.same(await heard(), [
        { channel: 'tasks:kitchen.1', data: { id: 1, title: 'cook', amount: 12345678901.5 } },
        { channel: 'tasks:kitchen.1', data: { id: 1, title: null, amount: 1 } },
        { channel: 'tasks:kitchen.1', data: { id: 1, title: null, amount: 1 } },
      ])
    },
  )

  await t.test('publish_row writes users into channels as the daemon does', async (t) => {
    const { heard } = await listen(t)
    const client = await connect(t)
    await client.query(`
    CREATE TABLE inbox (to_user text);
    CREATE TRIGGER publish AFTER INSERT ON inbox FOR EACH ROW
      EXECUTE FUNCTION livemessage.publish_row('messages:{to_user}')`)
    const users = ['42', 'a b', 'jürgen@example.org', 'a=b', '50%', '{to_user}', '文']
    for (const user of users) await client.query('INSERT INTO inbox VALUES ($1)', [user])
    t.same(
      (await heard()).map(({ channel }) => channel),
      users.map((user) => `messages:${userRest(user)}`),
    )
  })

  await t.test('publish_row never fails the transaction that writes the row', async (t) => {
    const { heard } = await listen(t)
    const client = await connect(t)
    const warned = warnings(client)
    await client.query(`
    CREATE TABLE odd (id int, room text);
    CREATE TRIGGER a AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{room}', 'id');
    CREATE TRIGGER b AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{gone}', 'id');
    CREATE TRIGGER c AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row();
    CREATE TRIGGER d AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('no channel');
    CREATE TRIGGER e AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:e', 'id', 'gone');
    CREATE TRIGGER f AFTER INSERT ON odd EXECUTE FUNCTION livemessage.publish_row('chat:f', 'id')`)
    await client.query('INSERT INTO odd VALUES (1, NULL)')
    t.match(warned, [
      /\(a on public.odd\): column room in the channel template 'chat:\{room\}' is null/,
      /\(b on public.odd\): column gone in the channel template .* is not there/,
      /\(c on public.odd\): the channel template is missing/,
      /\(d on public.odd\): 'no channel' is no channel/,
      /\(e on public.odd\): there is no column gone, published without it/,
      /\(f on public.odd\): needs FOR EACH ROW/,
    ])
    t.same(await heard(), [{ channel: 'chat:e', data: { id: 1 } }])

    warned.length = 0
    await client.query(`INSERT INTO odd VALUES (2, repeat('x', 300)), (3, '')`)
    t.match(warned[0], /\(a on public.odd\): 'chat:x+' is no channel/)
    await client.query('CREATE TABLE large (text text)')
    await client.query(
      `CREATE TRIGGER a BEFORE INSERT ON large FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:a', 'text')`,
    )
    await client.query(`INSERT INTO large VALUES (repeat('x', 9000))`)
    t.match(warned.at(-1), /the publication to chat:a has 90\d\d bytes, the limit is 7999/)
    t.same(
      (await client.query('SELECT count(*)::int AS n FROM large')).rows,
      [{ n: 1 }],
      'a BEFORE trigger lets the row pass',
    )
  })

  await t.test('who writes to a table with publish_row needs no right to publish', async (t) => {
    const { heard } = await listen(t)
    const client = await connect(t)
    await client.query(`
    CREATE TABLE open (id int);
    GRANT INSERT ON open TO stranger;
    CREATE TRIGGER publish AFTER INSERT ON open FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{id}', 'id')`)
    const stranger = await connect(t, 'stranger')
    await stranger.query('INSERT INTO open VALUES (7)')
    t.same(await heard(), [{ channel: 'chat:7', data: { id: 7 } }])
    await stranger.query('CREATE TEMP TABLE mine (id int)')
    await t.rejects(
      stranger.query(
        `CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:x')`,
      ),
      { code: '42501' },
    )
  })

  await t.test(
    'a new message notifies with its row; one that is too long without what does not fit',
    async (t) => {
      const { heard } = await listen(t, 'livemessage_messages')
      const client = await connect(t, 'application')
      const insert = (subject: string, text: string) =>
        client.query(
          `INSERT INTO livemessage_messages.message (to_user, from_user, subject, text, date)
       VALUES ('42', '7', $1, $2, '2024-01-02T03:04:05.678Z')`,
          [subject, text],
        )
      await insert('lunch', 'at noon?')
      const [first] = await heard()
      const id = Number(first?.['id'])
      t.same(first, {
        id,
        to_user: '42',
        from_user: '7',
        subject: 'lunch',
        text: 'at noon?',
        date: Date.parse('2024-01-02T03:04:05.678Z'),
        read: false,
      })
      await insert('lunch', 'ü'.repeat(4000))
      await insert('s'.repeat(9000), 'ü'.repeat(4000))
      await client.query(`INSERT INTO livemessage_messages.message (to_user, date) VALUES ('42', 'infinity')`)
      const common = { to_user: '42', from_user: '7', date: first?.['date'], read: false, truncated: true }
      const [long, longer, never] = await heard()
      t.same(long, { ...common, id: id + 1, subject: 'lunch' })
      t.same(longer, { ...common, id: id + 2 })
      t.match(never, { id: id + 3, date: null })
    },
  )
}
