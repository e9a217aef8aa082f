import type { Client } from 'pg'
import type { Test } from 'tap'
import type { TestPostgres } from '../support/postgres.ts'
import { head, journalRows, sqlDatabase } from './sql-database.ts'
import type { SqlDatabase } from './sql-database.ts'

/** What `publish_row` makes of types that are not PostgreSQL's own, and of rows that can't be JSON. */
export async function publishRowSuite(t: Test, server: TestPostgres): Promise<void> {
  const db = await sqlDatabase(t, server)
  const letters = () => db.sql('SELECT code, channel, reason, body FROM livemessage.dead ORDER BY id')

  await t.test('nothing that a publisher has made runs as the owner of publish_row', async (t) => {
    const before = await head(db)
    const client = await db.connect(t, 'application')
    await client.query(`
      CREATE TYPE pg_temp.evil AS ENUM ('a');
      CREATE TYPE pg_temp.pair AS (e pg_temp.evil);
      CREATE DOMAIN pg_temp.mask AS pg_temp.evil;
      CREATE TEMP TABLE ran (by text);
      GRANT INSERT ON ran TO PUBLIC;
      CREATE FUNCTION pg_temp.boom(pg_temp.evil) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO pg_temp.ran VALUES (current_user);
        EXECUTE 'ALTER ROLE application SUPERUSER';
        RETURN '1';
      END $$;
      CREATE FUNCTION pg_temp.boom_text(pg_temp.evil) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO pg_temp.ran VALUES (current_user);
        RETURN 'x';
      END $$;
      CREATE CAST (pg_temp.evil AS json) WITH FUNCTION pg_temp.boom(pg_temp.evil);
      CREATE CAST (pg_temp.evil AS text) WITH FUNCTION pg_temp.boom_text(pg_temp.evil);
      CREATE TEMP TABLE t (id int, e pg_temp.evil, m pg_temp.mask, p pg_temp.pair, es pg_temp.evil[], ps pg_temp.pair[]);
      CREATE TRIGGER named AFTER INSERT OR DELETE ON t FOR EACH ROW
        EXECUTE FUNCTION livemessage.publish_row('chat:{e}{m}', 'id', 'e', 'm', 'p', 'es', 'ps');
      CREATE TRIGGER unnamed AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{id}', 'id')`)
    await client.query(`INSERT INTO t VALUES (1, 'a', 'a', '(a)', '{a}', '{(a)}'); DELETE FROM t`)
    const [role] = await db.sql(`SELECT rolsuper FROM pg_roles WHERE rolname = 'application'`)
    if (role?.['rolsuper'] === true) await db.sql('ALTER ROLE application NOSUPERUSER')
    t.same(role, { rolsuper: false })
    t.same((await client.query('SELECT by FROM ran')).rows, [])
    const all = '{"e": "a", "m": "a", "p": "(a)", "es": ["a"], "id": 1, "ps": ["(a)"]}'
    t.same(
      (await journalRows(db, before)).map(({ channel, data }) => [channel, data]),
      [
        ['chat:aa', all],
        ['chat:1', '{"id": 1}'],
        ['chat:aa', all],
      ],
    )
  })

  await t.test('not even where the column got its type after the snapshot was taken', async (t) => {
    await db.sql('CREATE SCHEMA theirs AUTHORIZATION application')
    const [client, other] = [await db.connect(t, 'application'), await db.connect(t, 'application')]
    await client.query(`
      CREATE TABLE theirs.t (id int, e text);
      CREATE TABLE theirs.ran (by text);
      GRANT INSERT ON theirs.ran TO PUBLIC;
      CREATE TRIGGER x AFTER INSERT ON theirs.t FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{e}', 'e')`)
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class')
    await other.query(`
      CREATE TYPE theirs.evil AS ENUM ('a');
      CREATE FUNCTION theirs.boom(theirs.evil) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO theirs.ran VALUES (current_user);
        RETURN '1';
      END $$;
      CREATE CAST (theirs.evil AS json) WITH FUNCTION theirs.boom(theirs.evil);
      ALTER TABLE theirs.t ALTER COLUMN e TYPE theirs.evil USING 'a'`)
    const before = await head(db)
    await client.query(`INSERT INTO theirs.t VALUES (1, 'a'); COMMIT`)
    t.same((await client.query('SELECT by FROM theirs.ran')).rows, [])
    t.match(await journalRows(db, before), [{ channel: 'chat:a', data: '{"e": "a"}' }])
  })

  await t.test("beside a column of one's own type the others are as they were", async (t) => {
    const before = await head(db)
    const client = await db.connect(t)
    await client.query(`
      CREATE TYPE mood AS ENUM ('fine', 'so, so');
      CREATE DOMAIN amount AS numeric CHECK (VALUE > 0);
      CREATE TABLE own (id int, mood mood, moods mood[], amount amount, amounts amount[], at timestamptz, body jsonb,
        "odd ""name" text, empty mood, never text);
      CREATE TRIGGER live AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{mood}', 'id', 'mood',
        'moods', 'amount', 'amounts', 'at', 'body', 'odd "name', 'empty', 'never', 'gone')`)
    await client.query(`INSERT INTO own VALUES (1, 'so, so', '{{fine,NULL},{"so, so",fine}}', 12345678901234567890, '{1,2.50}',
      '2024-01-02T03:04:05Z', '{"a":[1]}', 'x')`)
    const row = (await journalRows(db, before))[0]!
    t.equal(row.channel, 'chat:so=2C=20so')
    t.match(row.data, '"amount": 12345678901234567890,')
    t.match(JSON.parse(row.data), {
      id: 1,
      mood: 'so, so',
      moods: [
        ['fine', null],
        ['so, so', 'fine'],
      ],
      amounts: [1, 2.5],
      at: /^2024-01-02T/,
      body: { a: [1] },
      'odd "name': 'x',
      empty: null,
      never: null,
    })
  })

  await t.test('a row that can not be JSON is a dead letter without its body, no error', async (t) => {
    const before = await head(db)
    const client = await db.connect(t)
    const warned = warnings(client)
    await client.query(`
      CREATE TABLE broken (id int, bad json, nan numeric, huge float8);
      CREATE TRIGGER live AFTER INSERT ON broken FOR EACH ROW
        EXECUTE FUNCTION livemessage.publish_row('chat:{id}', 'id', 'bad', 'nan', 'huge')`)
    await client.query(`INSERT INTO broken VALUES (1, '"\\u0000"', 1, 1)`)
    await client.query(`INSERT INTO broken VALUES (2, '1', 'NaN', 'Infinity')`)
    t.same((await client.query('SELECT count(*)::int AS n FROM broken')).rows, [{ n: 2 }])
    t.same(
      (await journalRows(db, before)).map(({ data }) => JSON.parse(data) as unknown),
      [{ id: 2, bad: 1, nan: 'NaN', huge: 'Infinity' }],
    )
    t.match(warned, [
      /^livemessage.publish_row \(live on public.broken\): the row can't be published: .*nothing published$/,
    ])
    t.match((await letters()).at(-1), {
      code: 'bad_row',
      channel: 'chat:{id}',
      reason: /can't be published/,
      body: null,
    })
  })

  await t.test('a column that is not named does no harm, whatever is in it', async (t) => {
    const before = await head(db)
    const client = await db.connect(t)
    await client.query(`
      CREATE TABLE private (id int, bad json);
      CREATE TRIGGER live AFTER INSERT ON private FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{id}', 'id')`)
    await client.query(`INSERT INTO private VALUES (1, '"\\u0000"')`)
    t.match(await journalRows(db, before), [{ channel: 'chat:1', data: '{"id": 1}' }])
  })

  await t.test('a dead letter has bounds', async (t) => {
    const client = await db.connect(t)
    await client.query(`
      CREATE TABLE wide (id int, body text);
      CREATE TRIGGER live AFTER INSERT ON wide FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('chat:{id}', 'body')`)
    await client.query(`INSERT INTO wide VALUES (1, repeat('x', 2000000)), (2, repeat('x', 20000000))`)
    const sizes = (await letters()).slice(-2).map(({ code, body }) => [code, (body as string | null)?.length])
    t.same(sizes, [
      ['too_large', 2_000_012],
      ['too_large', undefined],
    ])
  })

  await internals(t, db)
}

async function internals(t: Test, db: SqlDatabase): Promise<void> {
  await t.test('a publisher can call what is for publishers, and nothing else', async (t) => {
    const rows =
      await db.sql(`SELECT p.proname AS name FROM pg_proc AS p WHERE p.pronamespace = 'livemessage'::regnamespace
      AND has_function_privilege('application', p.oid, 'EXECUTE') ORDER BY 1`)
    t.same(
      rows.map(({ name }) => name),
      ['enqueue', 'publish', 'publish_many', 'publish_row'],
    )
    const definers = await db.sql(`SELECT p.proname AS name, p.proconfig AS settings FROM pg_proc AS p
      WHERE p.pronamespace = 'livemessage'::regnamespace AND p.prosecdef ORDER BY 1`)
    t.same(
      definers,
      ['enqueue', 'place', 'publish', 'publish_many', 'publish_row'].map((name) => ({
        name,
        settings: ['search_path=pg_catalog, pg_temp'],
      })),
    )
  })
}

/** Warnings that the server sent to this session. */
function warnings(client: Client): string[] {
  const texts: string[] = []
  client.on('notice', ({ severity, message }) => severity === 'WARNING' && texts.push(message ?? ''))
  return texts
}
