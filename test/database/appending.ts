import type { Test } from 'tap'
import { until } from '../support/wait.ts'
import { head, journalRows, listenJournal, sqlDatabase } from './sql-database.ts'
import type { SqlDatabase } from './sql-database.ts'
import type { TestPostgres } from '../support/postgres.ts'

interface Draft {
  readonly channel: string
  readonly json: string
  readonly exclude?: string
  readonly mark?: string
  readonly key?: string
  readonly digest?: string
}

interface AppendOptions {
  readonly since?: number
  readonly tag?: number
  readonly bodies?: readonly string[]
  readonly counts?: readonly number[]
  readonly lease?: readonly [name: string, token: unknown]
  readonly windowMs?: number
}

/** What daemons call: `append`, leases, `drain`, `sweep`, `confirm`. */
export async function appendingSuite(t: Test, server: TestPostgres): Promise<void> {
  const db = await sqlDatabase(t, server)
  let tags = 0

  async function append(drafts: readonly Draft[], options: AppendOptions = {}) {
    const [row] = await db.sql(
      `SELECT first::int, at::float8, duplicates
       FROM livemessage.append($1, $2, $3::text[], $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
      [
        options.since ?? 0,
        options.tag ?? ++tags,
        drafts.map(({ channel }) => channel),
        drafts.map(({ json }) => json),
        drafts.map(({ exclude }) => exclude ?? null),
        drafts.map(({ mark }) => mark ?? null),
        drafts.map(({ key }) => key ?? null),
        drafts.map(({ digest }) => digest ?? null),
        options.bodies ?? null,
        options.counts ?? null,
        options.lease?.[0] ?? null,
        options.lease?.[1] ?? null,
        options.windowMs ?? 60_000,
      ],
    )
    return row as { first: number | null; at: number | null; duplicates: Record<string, unknown>[] | null }
  }
  const take = async (name: string, holder: string, ttlMs = 60_000) => {
    const [row] = await db.sql('SELECT livemessage.lease_take($1, $2, $3)::float8 AS token', [
      name,
      holder,
      ttlMs,
    ])
    return row?.['token'] as number
  }

  await t.test('a batch is appended at adjacent positions, with its NOTIFYs', async (t) => {
    const { heard } = await listenJournal(t, db)
    const drafts = [
      { channel: 'chat:a', json: '"\\u0000"', exclude: 's1', mark: 'm1' },
      { channel: 'chat:b', json: '2' },
      { channel: 'chat:c', json: '12345678901234567890' },
    ]
    const { first, at } = await append(drafts, {
      tag: -5,
      bodies: ['chat:a !s1 ~m1 "\\u0000"\nchat:b 2', ''],
      counts: [2, 1],
    })
    t.same(await heard(), [
      { first, count: 2, time: at, tag: '-5', lines: ['chat:a !s1 ~m1 "\\u0000"', 'chat:b 2'] },
      { first: first! + 2, count: 1, time: at, tag: '-5', lines: [] },
    ])
    const rows = await db.sql(
      'SELECT channel, data AS json, exclude, mark, tag FROM livemessage.journal ORDER BY position',
    )
    t.same(
      rows,
      drafts.map((draft) => ({ exclude: null, mark: null, ...draft, tag: '-5' })),
    )
    t.ok(Math.abs(at! - Date.now()) < 60_000)
  })

  await t.test('what does not fit into a NOTIFY is left out of it', async (t) => {
    const { heard } = await listenJournal(t, db)
    const json = `"${'x'.repeat(7990)}"`
    await append([{ channel: 'chat:a', json }], { bodies: [`chat:a ${json}`], counts: [1] })
    await append([
      { channel: 'chat:a', json: '1' },
      { channel: 'chat:a', json: '2' },
    ])
    t.match(await heard(), [
      { count: 1, lines: [] },
      { count: 2, lines: [] },
    ])
    await t.rejects(append([{ channel: 'chat:a', json: '1' }], { bodies: [''], counts: [2] }), {
      message: /the counts add up to 2, there are 1/,
    })
  })

  await t.test('a batch whose answer was lost is found by its tag', async (t) => {
    const since = await head(db)
    const drafts = [
      { channel: 'chat:a', json: '1', key: 'lost' },
      { channel: 'chat:a', json: '2' },
    ]
    const before = await append(drafts, { since, tag: 4711 })
    t.same(await append(drafts, { since, tag: 4711 }), before)
    t.equal(await head(db), before.first! + 1)
    t.equal(
      (await append([drafts[1]!], { since: before.first! + 1, tag: 4711 })).first,
      before.first! + 2,
      'older ones are not asked for',
    )
  })

  await t.test('a known key appends nothing, and says where the first is', async (t) => {
    const first = await append([{ channel: 'chat:a', json: '1', key: 'k', digest: 'd' }])
    const before = await head(db)
    const again = await append([
      { channel: 'chat:a', json: '0' },
      { channel: 'chat:a', json: '1', key: 'k', digest: 'other' },
    ])
    t.match(again, { first: null, duplicates: [{ n: 2, position: first.first, digest: 'd' }] })
    t.equal(await head(db), before)
    t.ok(
      (await append([{ channel: 'chat:b', json: '1', key: 'k' }])).first,
      'on another channel it is another key',
    )
    t.ok((await append([{ channel: 'chat:a', json: '1', key: 'l' }])).first)
  })

  await t.test('a key is forgotten after its window', async (t) => {
    const draft = { channel: 'chat:a', json: '1', key: 'short' }
    const first = await append([draft], { windowMs: 30 })
    const later = await until('the window to pass', async () => (await append([draft])).first)
    t.ok(later > first.first!)
    t.same(
      (await append([draft])).duplicates?.map(({ position }) => position),
      [later],
    )
  })

  await t.test('several nodes append keys at once: each key once', async (t) => {
    const before = await head(db)
    const draft = { channel: 'chat:race', json: '1', key: 'race' }
    const answers = await Promise.all(Array.from({ length: 8 }, () => append([draft])))
    t.equal(answers.filter(({ first }) => first !== null).length, 1)
    t.equal((await journalRows(db, before)).length, 1)
  })

  await t.test('it works in READ COMMITTED only', async (t) => {
    const client = await db.connect(t)
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await t.rejects(
      client.query(
        `SELECT livemessage.append(0, 1, '{a:b}', '{1}', '{}', '{}', '{}', '{}', NULL, NULL, NULL, NULL, 0)`,
      ),
      {
        code: '25000',
        hint: /default_transaction_isolation/,
      },
    )
  })

  await t.test('a lease has one holder, and a new token with each', async (t) => {
    const first = await take('l', 'one')
    t.equal(await take('l', 'two'), null)
    t.equal(await take('l', 'one'), first, 'renewed')
    await db.sql(`SELECT livemessage.lease_give('l', 7)`)
    t.equal(await take('l', 'two'), null, 'given with a wrong token')
    await db.sql(`SELECT livemessage.lease_give('l', $1)`, [first])
    const second = await take('l', 'two', 1)
    t.ok(second > first)
    t.ok((await until('the term to end', () => take('l', 'one'))) > second)
    t.equal(await take('l', 'two'), null)
  })

  await t.test('a crash that forgets the last takeover does not bring its token again', async (t) => {
    const first = await take('crash', 'one')
    await db.sql(`SELECT livemessage.lease_give('crash', $1)`, [first])
    const client = await db.connect(t)
    const tokens = new Set<number>()
    for (let i = 0; i < 10; i++) {
      await client.query('BEGIN')
      const { rows } = await client.query<{ token: number }>(
        `SELECT livemessage.lease_take('crash', 'two', 60000)::float8 AS token`,
      )
      await client.query('ROLLBACK')
      t.ok(rows[0]!.token > first)
      tokens.add(rows[0]!.token)
    }
    t.equal(tokens.size, 10)
    await db.sql(`INSERT INTO livemessage.lease VALUES ('far', '', 8000000000::bigint << 20, '-infinity')`)
    const [far] = await db.sql(`SELECT livemessage.lease_take('far', 'one', 1)::float8 AS token`)
    t.ok(Number.isSafeInteger(far?.['token']))
  })

  await t.test('who lost the lease can do nothing under it', async (t) => {
    const draft = { channel: 'chat:a', json: '1' }
    const old = await take('fence', 'one')
    t.ok((await append([draft], { lease: ['fence', old] })).first)
    await db.sql(`SELECT livemessage.lease_give('fence', $1)`, [old])
    const before = await head(db)
    const refused = { code: 'LM001' }
    await t.rejects(append([draft], { lease: ['fence', old] }), refused, 'given')
    const token = await take('fence', 'two')
    await t.rejects(append([draft], { lease: ['fence', old] }), refused, 'taken')
    await db.sql(`SELECT livemessage.enqueue('chat:a', '1')`)
    await t.rejects(db.sql(`SELECT livemessage.drain(10, 'fence', $1)`, [old]), refused)
    await t.rejects(db.sql(`SELECT livemessage.sweep('{}', 10, 'fence', $1)`, [old]), refused)
    t.equal(await head(db), before)
    t.same(await db.sql(`SELECT livemessage.drain(10, 'fence', $1) AS n`, [token]), [{ n: 1 }])
  })

  await t.test('what is enqueued comes in its order, packed into few NOTIFYs', async (t) => {
    const { heard } = await listenJournal(t, db)
    const before = await head(db)
    const client = await db.connect(t, 'application')
    await client.query(`SELECT livemessage.enqueue('chat:q', to_jsonb(n)) FROM generate_series(1, 1000) AS n`)
    await client.query(`BEGIN; SELECT livemessage.enqueue('chat:q', '"never"'); ROLLBACK`)
    await client.query(`SELECT livemessage.enqueue('chat:q', to_jsonb(repeat('x', 9000)))`)
    await client.query(`SELECT livemessage.enqueue('chat:q', '1002')`)
    t.same([await heard(), await head(db)], [[], before])
    const drain = async () => (await db.sql('SELECT livemessage.drain(600, NULL, NULL) AS n'))[0]?.['n']
    t.same([await drain(), await drain(), await drain()], [600, 402, 0])
    const rows = await journalRows(db, before)
    t.same(
      rows.map(({ data }) => data.length > 5000 || Number(data)),
      [...Array.from({ length: 1000 }, (_, i) => i + 1), true, 1002],
    )
    const notices = await heard()
    t.ok(notices.length < 8)
    let next = before + 1
    for (const { first, count, lines } of notices) {
      t.equal(first, next)
      t.ok(lines.length === count || (lines.length === 0 && count === 1))
      next += count
    }
    t.equal(next, before + 1003)
  })

  await t.test('large publications that were enqueued are moved a few at a time', async (t) => {
    const before = await head(db)
    const fill = (count: number, bytes: number) =>
      db.sql(
        `SELECT livemessage.enqueue('chat:large', to_jsonb(repeat('x', $2))) FROM generate_series(1, $1)`,
        [count, bytes - 2],
      )
    await fill(30, 1024 * 1024)
    await fill(10, 300 * 1024)
    const moved: unknown[] = []
    do {
      const [row] = await db.sql('SELECT livemessage.drain(500, NULL, NULL) AS n')
      moved.push(row?.['n'])
    } while (moved.at(-1) !== 0 && moved.length < 50)
    t.same(moved, [...Array.from({ length: 30 }, () => 1), 4, 4, 2, 0])
    const sizes = (await journalRows(db, before)).map(({ data }) => data.length)
    t.same(sizes, [
      ...Array.from({ length: 30 }, () => 1024 * 1024),
      ...Array.from({ length: 10 }, () => 300 * 1024),
    ])
  })

  await t.test('what is enqueued for a transient subsystem is a bare NOTIFY, at once', async (t) => {
    await db.sql(`SELECT livemessage.set_subsystems('{"quote":{"journaled":false}}')`)
    const client = await db.connect(t)
    const heard: unknown[] = []
    client.on('notification', ({ payload }) => heard.push(JSON.parse(payload ?? '')))
    await client.query('LISTEN livemessages')
    await db.sql(`SELECT livemessage.enqueue('quote:a', '1')`)
    await db.sql(`SELECT livemessage.publish_many('[{"channel":"quote:b","data":2}]')`)
    await client.query('SELECT 1')
    t.same(heard, [
      { channel: 'quote:a', data: 1 },
      { channel: 'quote:b', data: 2 },
    ])
    t.same(await db.sql('SELECT FROM livemessage.queue'), [])
  })

  await t.test('confirmations only go forward', async (t) => {
    const confirm = (...calls: [string, string, number][]) =>
      db.sql(
        'SELECT livemessage.confirm($1, $2, $3)',
        [0, 1, 2].map((i) => calls.map((call) => call[i])),
      )
    await confirm(['u', 'mail:u', 5], ['u', 'mail:u', 7], ['v', 'mail:v', 1])
    await confirm(['u', 'mail:u', 6], ['v', 'mail:v', 2])
    t.same(await db.sql('SELECT user_id, position::int FROM livemessage.mailbox ORDER BY 1'), [
      { user_id: 'u', position: 7 },
      { user_id: 'v', position: 2 },
    ])
  })

  await t.test('of several nodes that want a new epoch, one mints it', async (t) => {
    const [{ epoch: before } = {}] = await db.sql('SELECT epoch FROM livemessage.meta')
    t.match(before, /^[0-9a-f]{12}$/)
    const minted = await Promise.all(
      Array.from({ length: 4 }, () => db.sql(`SELECT livemessage.new_epoch('test', $1) AS epoch`, [before])),
    )
    const epochs = new Set(minted.map(([row]) => row?.['epoch']))
    t.equal(epochs.size, 1)
    t.not([...epochs][0], before)
  })

  await t.test('a new epoch that waits for a row does not hold up who publishes', async (t) => {
    const [holder, minter] = [await db.connect(t), await db.connect(t)]
    const { rows } = await minter.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    await holder.query('BEGIN; SELECT FROM livemessage.meta FOR SHARE')
    const minted = minter.query(`SELECT livemessage.new_epoch('test')`)
    await until('it to wait', async () => {
      const [row] = await db.sql('SELECT cardinality(pg_blocking_pids($1)) AS n', [rows[0]?.pid])
      return row?.['n'] === 1
    })
    await holder.query(`SET lock_timeout = '2s'; SELECT livemessage.publish('chat:a', '1'); COMMIT`)
    await minted
  })

  await retention(t, db)
}

async function retention(t: Test, db: SqlDatabase): Promise<void> {
  /** One transaction of it. */
  async function step(ages: Record<string, number>, rows: number, first = true) {
    const [row] = await db.sql('SELECT * FROM livemessage.sweep($1, $2, NULL, NULL, $3)', [
      JSON.stringify(ages),
      rows,
      first,
    ])
    return row as { swept: number; more: boolean }
  }
  const sweep = async (ages: Record<string, number>, rows = 1000) => (await step(ages, rows)).swept
  const floors = async () =>
    Object.fromEntries(
      (await db.sql('SELECT subsystem, position::int FROM livemessage.floor')).map((row) => [
        row['subsystem'],
        row['position'],
      ]),
    ) as Record<string, number>
  /** Rows of this age, in turn of the subsystems. */
  const fill = (count: number, ageMs: number, ...subsystems: string[]) =>
    db.sql(
      `INSERT INTO livemessage.journal (position, channel, time, tag, data)
       SELECT nextval('livemessage.positions'), ($3::text[])[1 + n % cardinality($3::text[])] || ':a', livemessage.now_ms() - $2, 0, '1'
       FROM generate_series(0, $1::int - 1) AS n`,
      [count, ageMs, subsystems],
    )
  const left = async () =>
    (
      await db.sql(
        `SELECT split_part(channel, ':', 1) AS s, count(*)::int AS n FROM livemessage.journal GROUP BY 1 ORDER BY 1`,
      )
    ).map(({ s, n }) => `${String(s)} ${String(n)}`)

  await t.test('what is too old goes, and the floor says so; a longer age keeps its rows', async (t) => {
    await db.sql('DELETE FROM livemessage.journal')
    await db.sql('DELETE FROM livemessage.key')
    await fill(100, 60_000, 'chat', 'mail')
    const old = await head(db)
    await fill(100, 0, 'chat', 'mail')
    t.equal(await sweep({ chat: 30_000, mail: 600_000 }), 50)
    t.same(await left(), ['chat 50', 'mail 100'])
    t.equal((await floors())['chat'], old)
    t.ok(((await floors())['mail'] ?? 0) <= old - 99)
    t.equal(await sweep({ chat: 30_000, mail: 30_000 }), 50)
    t.same(await left(), ['chat 50', 'mail 50'])
    t.equal((await floors())['mail'], old)
  })

  await t.test('subsystems that no daemon names are kept as long as the longest', async (t) => {
    await db.sql('DELETE FROM livemessage.journal')
    await db.sql(`SELECT livemessage.set_subsystems('{"ever":{"journaled":true}}')`)
    await fill(15, 60_000, 'chat', 'gone', 'ever')
    const old = await head(db)
    t.equal(await sweep({ chat: 30_000, mail: 600_000 }), 5)
    t.same(await left(), ['ever 5', 'gone 5'])
    await fill(1, 0, 'chat')
    t.equal(await sweep({ chat: 30_000, mail: 40_000 }), 5)
    t.ok((await floors())['gone']! >= old - 2)
    t.same(await left(), ['chat 1', 'ever 5'], 'one that is named without an age is kept for ever')
  })

  await t.test('it goes in steps, and each has its floor', async (t) => {
    await db.sql('DELETE FROM livemessage.journal')
    await fill(500, 60_000, 'chat')
    await fill(1, 0, 'chat')
    for (let steps = 0, more = true; more; steps++) {
      const done = await step({ chat: 30_000 }, 20)
      const [low] = await db.sql('SELECT min(position)::int AS n FROM livemessage.journal')
      t.ok((await floors())['chat']! < (low?.['n'] as number) && steps < 30 && done.swept <= 20)
      more = done.more
    }
    t.same(await left(), ['chat 1'])
  })

  await t.test(
    'it deletes no more rows at once than it may, of all kinds and subsystems together',
    async (t) => {
      await db.sql('DELETE FROM livemessage.journal')
      await db.sql('DELETE FROM livemessage.key')
      await fill(90, 60_000, 'chat', 'mail', 'gone')
      await db.sql(
        `INSERT INTO livemessage.key SELECT 'old', 'chat:a', n, NULL, '', 0, 0 FROM generate_series(1, 30) AS n`,
      )
      await db.sql(
        `INSERT INTO livemessage.letter (time, body) SELECT now() - interval '1 hour', '' FROM generate_series(1, 15)`,
      )
      const swept: number[] = []
      for (let more = true; more && swept.length < 50;) {
        const done = await step({ chat: 30_000, mail: 30_000 }, 20, false)
        swept.push(done.swept)
        more = done.more
      }
      t.ok(Math.max(...swept) <= 20, swept.join(' '))
      t.same(await left(), [])
      const [rest] = await db.sql(
        `SELECT (SELECT count(*) FROM livemessage.key)::int AS keys, (SELECT count(*) FROM livemessage.letter)::int AS letters`,
      )
      t.same(rest, { keys: 0, letters: 0 })
    },
  )

  await t.test('rows that stay and lie in front do not end a round', async (t) => {
    await db.sql('DELETE FROM livemessage.journal')
    await fill(1000, 60_000, 'mail')
    await fill(10, 60_000, 'chat')
    const ages = { chat: 30_000, mail: 600_000 }
    t.match(await step(ages, 20), { swept: 0, more: true })
    for (let steps = 0; (await step(ages, 20)).more; steps++) t.ok(steps < 10)
    t.same(await left(), ['mail 1000'])
  })

  await t.test('mailboxes go that nobody confirms, and in which nothing is any more', async (t) => {
    await db.sql('DELETE FROM livemessage.journal')
    await db.sql('DELETE FROM livemessage.mailbox')
    await fill(10, 60_000, 'mail')
    const old = await head(db)
    await fill(1, 0, 'mail')
    const insert = (user: string, channel: string, position: number, ageMs: number) =>
      db.sql(`INSERT INTO livemessage.mailbox VALUES ($1, $2, $3, now() - $4 * interval '1 millisecond')`, [
        user,
        channel,
        position,
        ageMs,
      ])
    await insert('over', 'mail:over', old, 60_000)
    await insert('over', 'gone:over', 1, 60_000)
    await insert('active', 'mail:active', old, 0)
    await insert('ahead', 'mail:ahead', old + 1, 60_000)
    await insert('other', 'mailing:other', 1, 60_000)
    t.match(await step({ mail: 30_000 }, 10), { swept: 10, more: true })
    t.match(await step({ mail: 30_000 }, 10), { swept: 2, more: false })
    t.same(await db.sql('SELECT user_id FROM livemessage.mailbox ORDER BY 1'), [
      { user_id: 'active' },
      { user_id: 'ahead' },
      { user_id: 'other' },
    ])
  })

  await t.test('old keys, letters and what was pending go', async (t) => {
    await db.sql(
      `INSERT INTO livemessage.key SELECT 'old', 'chat:a', n, NULL, '', 0, 0 FROM generate_series(1, 10) AS n`,
    )
    await db.sql(
      `INSERT INTO livemessage.key VALUES ('young', 'chat:a', 1, NULL, '', 0, livemessage.now_ms() + 60000)`,
    )
    await db.sql(
      `INSERT INTO livemessage.letter (time, body) VALUES (now() - interval '1 hour', 'old'), (now(), 'young')`,
    )
    const size = async () =>
      (await db.sql(`SELECT pg_relation_size('livemessage.pending')::int AS n`))[0]?.['n'] as number
    const client = await db.connect(t)
    await client.query(
      `SELECT count(livemessage.publish('chat:a', to_jsonb(repeat('x', 500)))) FROM generate_series(1, 2000)`,
    )
    t.ok((await size()) > 1_000_000)

    await client.query(`BEGIN; SELECT livemessage.publish('chat:open', '1')`)
    t.ok((await sweep({ chat: 600_000 }, 100_000)) >= 11, 'it waits for nobody who publishes')
    const [pending] = await db.sql('SELECT count(*)::int AS n FROM livemessage.pending')
    t.equal(pending?.['n'], 0)
    t.same(await db.sql(`SELECT DISTINCT scope FROM livemessage.key WHERE scope IN ('old', 'young')`), [
      { scope: 'young' },
    ])
    t.same(await db.sql('SELECT body FROM livemessage.letter'), [{ body: 'young' }])
    await client.query('COMMIT')
    t.match((await journalRows(db)).at(-1), { channel: 'chat:open' })

    await step({ chat: 600_000 }, 1000, false)
    t.ok((await size()) > 0, 'it tries once a round')
    await sweep({ chat: 600_000 })
    t.equal(await size(), 0, 'it shrinks when nobody publishes')
  })
}
