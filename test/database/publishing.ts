import type { Client } from 'pg'
import type { Test } from 'tap'
import { until } from '../support/wait.ts'
import { head, journalRows, listenJournal, sqlDatabase } from './sql-database.ts'
import type { SqlDatabase } from './sql-database.ts'
import type { TestPostgres } from '../support/postgres.ts'

/** What `publish`, `publish_many` and `publish_row` promise for journaled subsystems. */
export async function publishingSuite(t: Test, server: TestPostgres): Promise<void> {
  const db = await sqlDatabase(t, server)
  const publish = (client: Client, channel: string, data: unknown) =>
    client.query('SELECT livemessage.publish($1, $2)', [channel, JSON.stringify(data)])

  await t.test('a transaction that began first and commits last gets the later position', async (t) => {
    const { heard } = await listenJournal(t, db)
    const [first, second] = [await db.connect(t, 'application'), await db.connect(t, 'application')]
    await first.query('BEGIN')
    await publish(first, 'chat:a', 'first')
    await publish(second, 'chat:a', 'second')
    t.same(
      (await heard()).map(({ lines }) => lines),
      [['chat:a "second"']],
    )
    await first.query('COMMIT')
    const rows = await journalRows(db)
    t.same(
      rows.map(({ data }) => data),
      ['"second"', '"first"'],
    )
    t.match(await heard(), [{ first: rows[1]?.position, count: 1, lines: ['chat:a "first"'] }])
  })

  await t.test('what is rolled back is not published; a position that it had taken stays void', async (t) => {
    const { heard } = await listenJournal(t, db)
    const before = await head(db)
    const client = await db.connect(t)
    await client.query('BEGIN')
    await publish(client, 'chat:a', 'never')
    await client.query('SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK')
    await publish(client, 'chat:a', 'now')
    t.same(await journalRows(db, before), [{ position: before + 2, channel: 'chat:a', data: '"now"' }])
    t.match(await heard(), [{ first: before + 2 }])
  })

  await t.test(
    'positions follow the order of the calls, savepoints that are left count for nothing',
    async (t) => {
      const { heard } = await listenJournal(t, db)
      const before = await head(db)
      const client = await db.connect(t, 'application')
      await client.query('BEGIN')
      await publish(client, 'chat:a', 1)
      await client.query(
        `SELECT livemessage.publish_many('[{"channel":"chat:b","data":2},{"channel":"chat:a","data":3}]')`,
      )
      await client.query('SAVEPOINT here')
      await publish(client, 'chat:a', 'never')
      await client.query(`SELECT livemessage.publish_many('[{"channel":"chat:b","data":"never"}]')`)
      await client.query('ROLLBACK TO here')
      await publish(client, 'chat:c', 4)
      await client.query('SAVEPOINT there')
      await publish(client, 'chat:a', 5)
      await client.query('RELEASE there')
      await client.query(`DO $$ BEGIN
      PERFORM livemessage.publish('chat:a', '"never"'); RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN PERFORM livemessage.publish('chat:a', '6'); END $$`)
      await client.query('COMMIT')
      t.same(
        (await journalRows(db, before)).map(({ data }) => data),
        ['1', '2', '3', '4', '5', '6'],
      )
      const notices = await heard()
      t.same(
        notices.map(({ first, count }) => [first - before, count]),
        [
          [1, 1],
          [2, 2],
          [4, 1],
          [5, 1],
          [6, 1],
        ],
      )
      t.same(notices[1]?.lines, ['chat:b 2', 'chat:a 3'])
    },
  )

  await t.test(
    'SET CONSTRAINTS ALL IMMEDIATE gives the positions at once, before it and after it',
    async (t) => {
      const before = await head(db)
      const client = await db.connect(t, 'application')
      await client.query('BEGIN')
      await publish(client, 'chat:a', 1)
      await publish(client, 'chat:a', 2)
      await client.query('SET CONSTRAINTS ALL IMMEDIATE')
      await publish(client, 'chat:a', 3)
      await client.query(`SELECT livemessage.publish_many('[{"channel":"chat:b","data":4}]')`)
      await client.query('SET CONSTRAINTS ALL DEFERRED')
      await publish(client, 'chat:a', 5)
      await client.query('COMMIT')
      t.same(
        (await journalRows(db, before)).map(({ data }) => data),
        ['1', '2', '3', '4', '5'],
      )
    },
  )

  await t.test('10,000 publications of one transaction come in order', async (t) => {
    const { heard } = await listenJournal(t, db)
    const before = await head(db)
    const client = await db.connect(t, 'application')
    await client.query(
      `SELECT count(livemessage.publish('chat:burst', to_jsonb(n))) FROM generate_series(1, 10000) AS n`,
    )
    const notices = await heard()
    t.equal(notices.length, 10_000)
    t.ok(
      notices.every(({ first, lines }, i) => first === before + i + 1 && lines[0] === `chat:burst ${i + 1}`),
    )
    const rows = await journalRows(db, before)
    t.ok(rows.length === 10_000 && rows.every(({ data }, i) => data === String(i + 1)))
  })

  await t.test(
    'publishers at all levels of isolation: each commit has one position, in the order of NOTIFYs',
    async (t) => {
      const { heard } = await listenJournal(t, db)
      const before = await head(db)
      const levels = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE']
      let failures = 0
      const committed = await Promise.all(
        Array.from({ length: 8 }, async (_, n) => {
          const client = await db.connect(t, 'application')
          const done: string[] = []
          for (let i = 0; i < 200; i++) {
            try {
              await client.query(`BEGIN ISOLATION LEVEL ${levels[(n + i) % 3]}`)
              await publish(client, `chat:${n % 2}`, `${n}.${i}`)
              await client.query(i % 10 === 9 ? 'ROLLBACK' : 'COMMIT')
              if (i % 10 !== 9) done.push(`"${n}.${i}"`)
            } catch (error) {
              if (!(error instanceof Error && 'code' in error && error.code === '40001')) throw error
              failures++
              await client.query('ROLLBACK')
            }
          }
          return done
        }),
      )
      const rows = await journalRows(db, before)
      t.same(rows.map(({ data }) => data).toSorted(), committed.flat().toSorted())
      t.same(
        (await heard()).map(({ first }) => first),
        rows.map(({ position }) => position),
      )
      for (const [n, mine] of committed.entries()) {
        t.same(
          rows.map(({ data }) => data).filter((data) => data.startsWith(`"${n}.`)),
          mine,
        )
      }
      t.equal(failures, 0, 'publishing reads nothing that others write')
    },
  )

  await t.test(
    'two transactions that publish to two channels in opposite order do not wait for each other',
    async (t) => {
      const [one, other] = [await db.connect(t), await db.connect(t)]
      await one.query('BEGIN')
      await other.query('BEGIN')
      await publish(one, 'chat:a', 1)
      await publish(other, 'chat:b', 1)
      await publish(one, 'chat:b', 2)
      await publish(other, 'chat:a', 2)
      await one.query('COMMIT')
      await other.query('COMMIT')
    },
  )

  await deferredConstraints(t, db)

  await t.test('large publications are kept, and NOTIFY leaves them out', async (t) => {
    const { heard } = await listenJournal(t, db)
    const before = await head(db)
    const client = await db.connect(t, 'application')
    const sizes = [7886, 7887, 8001, 1024 * 1024]
    for (const bytes of sizes) await publish(client, 'chat:general', 'x'.repeat(bytes - 2))
    t.same(
      (await journalRows(db, before)).map(({ data }) => data.length),
      sizes,
    )
    t.same(
      (await heard()).map(({ lines }) => lines.length),
      [1, 0, 0, 0],
    )
    await client.query(`SELECT livemessage.publish_many(jsonb_build_array(
      '{"channel":"chat:a","data":1}'::jsonb, jsonb_build_object('channel', 'chat:b', 'data', repeat('x', 8000)),
      '{"channel":"chat:c","data":3}'::jsonb, '{"channel":"chat:d"}'::jsonb))`)
    t.same(
      (await heard()).map(({ count, lines }) => [count, lines]),
      [
        [1, ['chat:a 1']],
        [1, []],
        [2, ['chat:c 3', 'chat:d null']],
      ],
    )
  })

  await t.test('a publication over the limit is an error of its transaction, with a hint', async (t) => {
    const client = await db.connect(t, 'application')
    await t.rejects(publish(client, 'chat:general', 'x'.repeat(1024 * 1024 - 1)), {
      code: '54000',
      message: 'livemessage.publish: the publication to chat:general has 1048577 bytes, the limit is 1048576',
      hint: /limits\.publicationBytes/,
    })
    await db.sql(`SELECT livemessage.set_subsystems('{"small":{"journaled":true,"max_bytes":100}}')`)
    await publish(client, 'small:a', 'ü'.repeat(49))
    await t.rejects(publish(client, 'small:a', 'ü'.repeat(50)), {
      message: /has 102 bytes, the limit is 100/,
    })
    await t.rejects(client.query(`SELECT livemessage.enqueue('small:a', to_jsonb(repeat('x', 100)))`), {
      message: /^livemessage.enqueue: the publication to small:a has 102 bytes/,
    })
    await t.rejects(
      client.query(
        `SELECT livemessage.publish_many(jsonb_build_array('{"channel":"small:a"}'::jsonb,
           jsonb_build_object('channel', 'small:a', 'data', repeat('x', 100))))`,
      ),
      { message: /^livemessage.publish_many: publication 2: the publication to small:a has 102 bytes/ },
    )
    await t.rejects(client.query(`SELECT livemessage.publish('chat:a', '"\\u0000"')`), { code: '22P05' })
  })

  await t.test('publish_many says which publication is wrong, and publishes none', async (t) => {
    const before = await head(db)
    const client = await db.connect(t, 'application')
    const many = (value: string | null) => client.query('SELECT livemessage.publish_many($1)', [value])
    await t.rejects(many('[{"channel":"chat:a","data":1},{"channel":"chat"}]'), {
      code: '22023',
      message: `livemessage.publish_many: publication 2: 'chat' is no channel`,
    })
    await t.rejects(many('[{"data":1}]'), {
      message: 'livemessage.publish_many: publication 1: the channel is null',
    })
    await t.rejects(many('{"channel":"chat:a"}'), { message: /expected an array, got object/ })
    await t.rejects(many(null), { message: /expected an array, got null/ })
    await many('[]')
    t.same(await journalRows(db, before), [])
  })

  await t.test('a publisher needs its role and no other right', async (t) => {
    const application = await db.connect(t, 'application')
    await application.query(`SELECT livemessage.publish('chat:a', '1'), livemessage.enqueue('chat:a', '2'),
      livemessage.publish_many('[{"channel":"chat:a"}]')`)
    const stranger = await db.connect(t, 'stranger')
    for (const call of [`publish('chat:a', '1')`, `publish_many('[]')`, `enqueue('chat:a', '1')`]) {
      await t.rejects(stranger.query(`SELECT livemessage.${call}`), { code: '42501' }, call)
    }
    const others = await db.sql(`SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p
      WHERE p.pronamespace = 'livemessage'::regnamespace AND has_function_privilege('application', p.oid, 'EXECUTE')
      ORDER BY 1`)
    t.same(
      others.map(({ name }) => name),
      [
        'livemessage.enqueue(text,jsonb)',
        'livemessage.publish(text,jsonb)',
        'livemessage.publish_many(jsonb)',
        'livemessage.publish_row()',
      ],
    )
    const readable =
      await db.sql(`SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'livemessage'::regnamespace
      AND c.relkind IN ('r', 'S') AND (CASE c.relkind WHEN 'S' THEN has_sequence_privilege('application', c.oid, 'USAGE,SELECT')
        ELSE has_table_privilege('application', c.oid, 'SELECT,INSERT,UPDATE,DELETE') END)`)
    t.same(readable, [])
  })

  await t.test('positions only, where NOTIFY is to carry no data', async (t) => {
    const { heard } = await listenJournal(t, db)
    const client = await db.connect(t, 'application')
    await db.sql(`SELECT livemessage.set_subsystems('{"known":{"journaled":true}}')`)
    await db.sql('UPDATE livemessage.meta SET notify_data = false')
    t.teardown(() => db.sql('UPDATE livemessage.meta SET notify_data = true'))
    await publish(client, 'known:a', 'secret')
    await publish(client, 'chat:a', 'secret')
    await client.query(
      `SELECT livemessage.publish_many('[{"channel":"known:a","data":"secret"},{"channel":"chat:a"}]')`,
    )
    t.same(
      (await heard()).map(({ count, lines }) => [count, lines]),
      [
        [1, []],
        [1, []],
        [2, []],
      ],
    )
  })

  await t.test('PREPARE TRANSACTION is refused by the server, but not with what was enqueued', async (t) => {
    const client = await db.connect(t, 'application')
    await client.query('BEGIN')
    await publish(client, 'chat:a', 'prepared')
    await t.rejects(client.query(`PREPARE TRANSACTION 'one'`), { code: '0A000', message: /NOTIFY/ })
    await client.query(`BEGIN; SELECT livemessage.enqueue('chat:a', '"prepared"')`)
    await client.query(`PREPARE TRANSACTION 'two'`)
    await client.query(`COMMIT PREPARED 'two'`)
    t.same(await db.sql('SELECT data FROM livemessage.queue WHERE data ~ $1', ['prepared']), [
      { data: '"prepared"' },
    ])
  })

  await t.test('it publishes whatever the session has set', async (t) => {
    const before = await head(db)
    const client = await db.connect(t)
    await client.query(`SET session_replication_role = replica`)
    await publish(client, 'chat:a', 1)
    await client.query(
      `SET session_replication_role = origin; SET synchronous_commit = off; SET search_path = ''`,
    )
    await publish(client, 'chat:a', 2)
    await client.query(`RESET search_path; SET default_transaction_isolation = 'serializable'`)
    await publish(client, 'chat:a', 3)
    t.equal((await journalRows(db, before)).length, 3)
  })

  await deadLetters(t, db)
}

/**
 * An application's check that waits for somebody's row, while the checker's position lock makes everybody else wait,
 * would be a deadlock.
 */
async function deferredConstraints(t: Test, db: SqlDatabase): Promise<void> {
  await db.sql(`CREATE TABLE parent (id int PRIMARY KEY)`)
  await db.sql(`CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`)
  await db.sql(`CREATE TABLE late (parent int)`)
  await db.sql(`CREATE FUNCTION adopt() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO child VALUES (NEW.parent); RETURN NULL; END'`)
  await db.sql(`CREATE CONSTRAINT TRIGGER adopt AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION adopt()`)
  await db.sql('INSERT INTO parent VALUES (1)')

  /** Publishes and commits while the check of `table` waits for another's row; the other publishes, then commits. */
  async function meet(t: Test, table: string): Promise<unknown[]> {
    const [one, other] = [await db.connect(t), await db.connect(t)]
    for (const client of [one, other]) await client.query(`SET deadlock_timeout = '100ms'`)
    await one.query(`BEGIN; SELECT livemessage.publish('chat:a', '1'); INSERT INTO ${table} VALUES (1)`)
    await other.query(
      `BEGIN; SELECT FROM parent WHERE id = 1 FOR UPDATE; SELECT livemessage.publish('chat:a', '2')`,
    )
    const { rows } = await one.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    const ended = [one.query('COMMIT')]
    await until('the check to wait', async () => {
      const [row] = await db.sql('SELECT cardinality(pg_blocking_pids($1)) AS n', [rows[0]?.pid])
      return row?.['n'] === 1
    })
    ended.push(other.query('COMMIT'))
    return (await Promise.allSettled(ended)).map(
      (end) => end.status === 'rejected' && (end.reason as { code: string }).code,
    )
  }

  await t.test('the position waits for deferred foreign keys', async (t) => {
    t.same(await meet(t, 'child'), [false, false])
  })

  await t.test('and for those of what deferred triggers write', async (t) => {
    t.same(await meet(t, 'late'), [false, false])
  })

  await t.test('without that it would be a deadlock', async (t) => {
    const [row] = await db.sql(`SELECT pg_get_functiondef('livemessage.place'::regproc) AS text`)
    const text = row?.['text'] as string
    t.teardown(() => db.sql(text))
    await db.sql(text.replace('NEW.step < 2', 'NEW.step < 0'))
    t.ok((await meet(t, 'child')).includes('40P01'))
    await db.sql(text.replace('NEW.step < 2', 'NEW.step < 1'))
    t.same(await meet(t, 'child'), [false, false])
    t.ok((await meet(t, 'late')).includes('40P01'), 'stepping back once is not enough')
  })
}

async function deadLetters(t: Test, db: SqlDatabase): Promise<void> {
  await t.test('a row that can become no channel is a dead letter and a warning, no error', async (t) => {
    const before = await head(db)
    const client = await db.connect(t)
    const warned: string[] = []
    client.on('notice', ({ severity, message }) => severity === 'WARNING' && warned.push(message ?? ''))
    await client.query(`
      CREATE TABLE task (id int, room text, secret text);
      GRANT INSERT ON task TO stranger;
      CREATE TRIGGER live AFTER INSERT ON task FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('task:{room}', 'id', 'room')`)
    await client.query(`INSERT INTO task VALUES (1, 'kitchen', 'hush'), (2, NULL, 'hush'), (3, '', 'hush')`)
    t.same(await journalRows(db, before), [
      { position: before + 1, channel: 'task:kitchen', data: '{"id": 1, "room": "kitchen"}' },
    ])
    const letters = () =>
      db.sql(`SELECT source, name, channel, subsystem, code, reason, attempts, body, headers, database = current_database() AS here
        FROM livemessage.dead ORDER BY id`)
    const common = {
      source: 'postgres',
      name: 'livemessage.publish_row (live on public.task)',
      subsystem: 'task',
      attempts: 1,
      headers: { trigger: 'live', table: 'public.task', operation: 'INSERT', template: 'task:{room}' },
      here: true,
    }
    t.same(await letters(), [
      {
        ...common,
        channel: 'task:{room}',
        code: 'bad_channel',
        reason: `column room in the channel template 'task:{room}' is null`,
        body: '{"id": 2, "room": null}',
      },
      {
        ...common,
        channel: 'task:',
        code: 'bad_channel',
        reason: `'task:' is no channel`,
        body: '{"id": 3, "room": ""}',
      },
    ])
    t.match(warned, [/room .* is null, nothing published/, /'task:' is no channel, nothing published/])

    const stranger = await db.connect(t, 'stranger')
    await stranger.query(`INSERT INTO task VALUES (4, repeat('x', 300), '')`)
    await db.sql(`SELECT livemessage.set_subsystems('{"task":{"journaled":true,"max_bytes":10}}')`)
    await stranger.query(`INSERT INTO task VALUES (5, 'kitchen', '')`)
    t.match((await letters()).slice(2), [
      { code: 'bad_channel' },
      { code: 'too_large', channel: 'task:kitchen', reason: /has 28 bytes, the limit is 10/ },
    ])
    t.equal(await head(db), before + 1)
  })

  await t.test('where not even a dead letter can be written there is a warning', async (t) => {
    const client = await db.connect(t)
    const warned: string[] = []
    client.on('notice', ({ severity, message }) => severity === 'WARNING' && warned.push(message ?? ''))
    await client.query('BEGIN; ALTER TABLE livemessage.dead ADD CHECK (id < 0) NOT VALID')
    await client.query(`INSERT INTO task VALUES (6, NULL, '')`)
    await client.query('ROLLBACK')
    t.match(warned, [/is null, nothing published/, /no dead letter could be written: .*check/])
  })

  await t.test('a deferred publish_row keeps its place', async (t) => {
    const before = await head(db)
    const client = await db.connect(t)
    await client.query(`
      CREATE TABLE later (id int);
      CREATE CONSTRAINT TRIGGER live AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{id}')`)
    await client.query(
      `BEGIN; INSERT INTO later VALUES (1), (2); SELECT livemessage.publish('chat:3', '1'); COMMIT`,
    )
    t.same(
      (await journalRows(db, before)).map(({ channel }) => channel),
      ['chat:3', 'chat:1', 'chat:2'],
    )
  })
}
