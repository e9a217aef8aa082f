import { Client } from 'pg'
import t, { type Test } from 'tap'
import type { TestClient } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { CONFIG, enter as enterAt, refusal } from './subsystems.ts'

const postgres = await startPostgres(t)
const daemon = await startDaemon(t, { ...CONFIG, postgres: { url: postgres.url } }, { migrate: true })

const enter = (t: Test, user: string): Promise<TestClient> => enterAt(t, daemon, user)

/** A session of the application's, which holds its transactions. */
async function application(t: Test, role?: string): Promise<Client> {
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  t.teardown(() => client.end())
  if (role !== undefined) await client.query(`SET ROLE ${role}`)
  return client
}

/** What one expression of SQL gives. */
async function sql(expression: string, ...values: unknown[]): Promise<unknown> {
  const [row] = await postgres.psql(`SELECT ${expression} AS value`, values)
  return row?.['value']
}

async function create(user: string, title = 'export', ref: string | null = null): Promise<number> {
  return Number(await sql('livemessage.task_create($1, $2, ref => $3)', user, title, ref))
}

const taskOf = async (id: number) =>
  (
    await postgres.psql(
      'SELECT status, progress::float8 AS progress, text, result, version::int AS version FROM livemessage_tasks.task WHERE id = $1',
      [id],
    )
  )[0]

/** What was pushed to a client, each as its status, progress and text. */
function pushed(client: TestClient): Record<string, unknown>[] {
  return client.frames.filter(({ type }) => type === 'message').map(({ data }) => data as never)
}

await t.test(
  'a task is made and advanced by plain SQL, and each change arrives as the whole record',
  async (t) => {
    const [ann, ben] = await Promise.all([enter(t, 'ann1'), enter(t, 'ben1')])
    await Promise.all([ann.subscribe('tasks:ann1'), ben.subscribe('tasks:ben1')])
    const before = Date.now()
    const id = await create('ann1', 'Export <b>"all"</b> 😀')
    const steps: [string, object][] = [
      ['true', { status: 'queued', progress: 0, text: '', result: null }],
      [
        `livemessage.task_progress(${id}, 12.345, 'rows 1 to 9')`,
        { status: 'running', progress: 12.35, text: 'rows 1 to 9' },
      ],
      [`livemessage.task_progress(${id}, 80)`, { status: 'running', progress: 80, text: 'rows 1 to 9' }],
      [`livemessage.task_progress(${id}, 100, '')`, { status: 'running', progress: 100, text: '' }],
      [
        `livemessage.task_done(${id}, '{"url":"/e/1"}')`,
        { status: 'done', progress: 100, result: { url: '/e/1' } },
      ],
    ]
    for (const [expression, expected] of steps) {
      t.equal(await sql(expression), true, expression)
      const { data } = await ann.next({ type: 'message' })
      t.match(data, { id, title: 'Export <b>"all"</b> 😀', ...expected })
      const keys = ['id', 'title', 'status', 'progress', 'text', 'result', 'created', 'updated']
      t.same(Object.keys(data as object).toSorted(), keys.toSorted(), 'nothing else is told')
      const { created, updated } = data as { created: number; updated: number }
      t.ok(created >= before - 60_000 && updated >= created, 'in milliseconds')
      t.same(await ann.call('tasks.all'), [data], 'the list gives the very same record')
    }
    await create('ben1', 'yours')
    t.match(await ben.next({ type: 'message' }), { data: { title: 'yours' } }, 'the first that ben saw')
  },
)

await t.test('a progress goes up only; what is behind came late, and nothing of it is taken', async (t) => {
  const id = await create('ann2')
  const progress = async (percent: string, text = 'NULL') =>
    sql(`livemessage.task_progress(${id}, ${percent}, ${text})`)
  t.equal(await progress('0'), true)
  t.match(await taskOf(id), { status: 'running', progress: 0 }, 'the first one makes it running, be it 0')
  t.equal(await progress('95', "'nearly'"), true, 'it may jump')
  t.equal(await progress('30', "'late'"), true, 'it is alive, whatever was told')
  t.match(await taskOf(id), { progress: 95, text: 'nearly' })
  t.equal(await progress('95', "'packing'"), true)
  t.match(await taskOf(id), { progress: 95, text: 'packing' }, 'the same one with another text is news')
  t.equal(await progress('NULL', "'signing'"), true)
  t.match(await taskOf(id), { progress: 95, text: 'signing' }, 'null leaves it as it is')
  await sql(`livemessage.task_restart(${id})`)
  t.match(await taskOf(id), { status: 'queued', progress: 0, text: '', result: null })
  t.equal(await progress('10'), true, 'anew, from 0')
  t.match(await taskOf(id), { status: 'running', progress: 10 })
})

await t.test('what is no percentage is an error of the statement, and nothing changes', async (t) => {
  const id = await create('ann3')
  for (const percent of ['-1', '-0.001', '100.01', '1e9', "'NaN'"]) {
    await t.rejects(sql(`livemessage.task_progress(${id}, ${percent})`), { code: '22003' }, percent)
  }
  await t.rejects(postgres.psql(`UPDATE livemessage_tasks.task SET progress = 101 WHERE id = ${id}`), {
    code: '23514',
  })
  await t.rejects(postgres.psql(`UPDATE livemessage_tasks.task SET status = 'paused' WHERE id = ${id}`), {
    code: '23514',
  })
  await t.rejects(sql("livemessage.task_create('', 'x')"), { code: '23514' })
  await t.rejects(sql("livemessage.task_create(NULL, 'x')"), { code: '23502' })
  t.match(await taskOf(id), { status: 'queued', progress: 0 })
})

await t.test(
  'a task that has ended, and one that is not there, take nothing: false, for the worker to stop',
  async (t) => {
    const ends: [string, string][] = [
      ['done', 'livemessage.task_done'],
      ['failed', 'livemessage.task_fail'],
      ['cancelled', 'livemessage.task_cancel'],
    ]
    for (const [status, end] of ends) {
      const id = await create('ann4')
      await sql(`livemessage.task_progress(${id}, 50)`)
      t.equal(await sql(`${end}(${id})`), true)
      t.match(await taskOf(id), { status, progress: status === 'done' ? 100 : 50 })
      const version = (await taskOf(id))?.['version']
      t.equal(await sql(`livemessage.task_progress(${id}, 99)`), false)
      for (const [other, again] of ends)
        t.equal(await sql(`${again}(${id})`), other === status, `${other} after ${status}`)
      t.equal((await taskOf(id))?.['version'], version, 'nothing was written')
    }
    for (const id of ['0', '-1', '9223372036854775807', 'NULL']) {
      t.equal(await sql(`livemessage.task_progress(${id}, 1)`), false, id)
      t.equal(await sql(`livemessage.task_done(${id})`), false)
      t.equal(await sql(`livemessage.task_restart(${id})`), false)
    }
  },
)

await t.test('a ref names a task once, and finds it', async (t) => {
  const id = await create('ann5', 'first', 'celery-5')
  t.equal(await create('ann5', 'again', 'celery-5'), id)
  t.equal(Number(await sql("livemessage.task_id('celery-5')")), id)
  t.equal(await sql("livemessage.task_id('nothing')"), null)
  await t.rejects(create('ben5', 'mine', 'celery-5'), { code: '23505' }, "another user's")
  const ids = await Promise.all(Array.from({ length: 10 }, () => create('ann5', 'race', 'celery-race')))
  t.equal(new Set(ids).size, 1)
})

await t.test('many changes in one transaction are pushed once, as they are at its end', async (t) => {
  const ann = await enter(t, 'ann6')
  await ann.subscribe('tasks:ann6')
  const app = await application(t)
  await app.query('BEGIN')
  const { rows } = await app.query(`SELECT livemessage.task_create('ann6', 'long')::int AS id`)
  const { id } = rows[0] as { id: number }
  const began = performance.now()
  await app.query(
    `SELECT livemessage.task_progress($1, n / 10.0, 'row ' || n) FROM generate_series(1, 1000) AS n`,
    [id],
  )
  await app.query('COMMIT')
  t.comment(`1,000 changes in one transaction: ${Math.round(performance.now() - began)} ms`)
  await create('ann6', 'after')
  await ann.next({ data: { title: 'after' } })
  t.match(pushed(ann), [{ id, status: 'running', progress: 100, text: 'row 1000' }, { title: 'after' }])
  t.equal(pushed(ann).length, 2)
})

await t.test('what a savepoint or the whole transaction takes back is not pushed', async (t) => {
  const ann = await enter(t, 'ann7')
  await ann.subscribe('tasks:ann7')
  const id = await create('ann7')
  const app = await application(t)
  await app.query(`BEGIN; SELECT livemessage.task_progress(${id}, 10); SAVEPOINT s;
    SELECT livemessage.task_progress(${id}, 70); ROLLBACK TO s; COMMIT`)
  await app.query(`BEGIN; SELECT livemessage.task_progress(${id}, 90); ROLLBACK`)
  await app.query(`BEGIN; SELECT livemessage.task_create('ann7', 'never'); ROLLBACK`)
  await create('ann7', 'last')
  await ann.next({ data: { title: 'last' } })
  t.same(
    pushed(ann).map(({ progress }) => progress),
    [0, 10, 0],
  )
})

await t.test(
  'where constraints are made immediate each change is pushed, and the last one is the last',
  async (t) => {
    const ann = await enter(t, 'ann8')
    await ann.subscribe('tasks:ann8')
    const id = await create('ann8')
    const app = await application(t)
    await app.query(`BEGIN; SELECT livemessage.task_progress(${id}, 10); SET CONSTRAINTS ALL IMMEDIATE;
    SELECT livemessage.task_progress(${id}, 20); COMMIT`)
    t.match(await ann.next({ data: { progress: 20 } }), { data: { status: 'running' } })
  },
)

await t.test('what changes nothing is not pushed', async (t) => {
  const ann = await enter(t, 'ann9')
  await ann.subscribe('tasks:ann9')
  const id = await create('ann9')
  for (let n = 0; n < 5; n++) await sql(`livemessage.task_progress(${id}, 40, 'same')`)
  await sql(`livemessage.task_progress(${id}, 20, 'late')`)
  await postgres.psql(`UPDATE livemessage_tasks.task SET text = text WHERE id = ${id}`)
  for (let n = 0; n < 3; n++) await sql(`livemessage.task_fail(${id}, 'no disk')`)
  await create('ann9', 'last')
  await ann.next({ data: { title: 'last' } })
  t.same(
    pushed(ann).map(({ status, progress }) => [status, progress]),
    [
      ['queued', 0],
      ['running', 40],
      ['failed', 40],
      ['queued', 0],
    ],
  )
})

await t.test('a deleted one is told as deleted, one that changes its user to both', async (t) => {
  const [ann, ben] = await Promise.all([enter(t, 'ann10'), enter(t, 'ben10')])
  await Promise.all([ann.subscribe('tasks:ann10'), ben.subscribe('tasks:ben10')])
  const [first, second] = [await create('ann10'), await create('ann10', 'moves')]
  t.same(await ann.call('tasks.delete', { id: first }), { success: true })
  t.same((await ann.next({ data: { id: first, deleted: true } }))['data'], { id: first, deleted: true })
  await postgres.psql(`UPDATE livemessage_tasks.task SET user_id = 'ben10' WHERE id = ${second}`)
  await ann.next({ data: { id: second, deleted: true } })
  t.match(await ben.next({ type: 'message' }), { data: { id: second, title: 'moves' } })
  t.equal(await sql(`livemessage.task_progress(${first}, 5)`), false, 'its worker is told')
})

await t.test('who subscribes late gets the newest of each task', async (t) => {
  const [a, b] = [await create('ann11', 'a'), await create('ann11', 'b')]
  const other = await enter(t, 'ann11')
  await other.subscribe('tasks:ann11')
  for (const id of [a, b]) for (const n of [10, 20, 30]) await sql(`livemessage.task_progress(${id}, ${n})`)
  await other.next({ data: { id: b, progress: 30 } })
  const late = await enter(t, 'ann11')
  const { messages } = await late.ask({ type: 'subscribe', channel: 'tasks:ann11', last: 10 })
  t.match(messages, [{ data: { id: a, progress: 30 } }, { data: { id: b, progress: 30 } }])
  t.equal((messages as unknown[]).length, 2)
})

await t.test(
  'a client that reads slowly gets the latest of a task that says a thousand things',
  async (t) => {
    const slow = await enter(t, 'ann12')
    await slow.subscribe('tasks:ann12')
    const id = await create('ann12', 'busy')
    await slow.next({ data: { id } })
    slow.pause()
    const app = await application(t)
    const text = 'x'.repeat(6000)
    for (let n = 1; n <= 1000; n++) {
      await app.query('SELECT livemessage.task_progress($1, $2, $3)', [id, n / 10, `${n} ${text}`])
    }
    await sql(`livemessage.task_done(${id})`)
    slow.resume()
    await slow.next({ data: { id, status: 'done' } })
    const seen = pushed(slow).map(({ progress }) => Number(progress))
    t.same(
      seen,
      seen.toSorted((a, b) => a - b),
      'in order',
    )
    t.ok(seen.length <= 1003, `${seen.length} of 1,002 were sent`)
    t.equal(
      (await slow.ask({ type: 'ping' }).catch(() => ({ type: 'pong' }))).type,
      'pong',
      'it is still connected',
    )
  },
)

await t.test('progress-count is how many are running, and how far they are on average', async (t) => {
  const ann = await enter(t, 'ann13')
  t.same(await ann.call('tasks.progress-count'), { success: true, count: 0, progress: 0 })
  const ids = [await create('ann13'), await create('ann13'), await create('ann13'), await create('ann13')]
  t.same(
    await ann.call('tasks.progress', null),
    { success: true, count: 0, progress: 0 },
    'queued ones do not count',
  )
  await sql(`livemessage.task_progress(${ids[0]}, 10)`)
  await sql(`livemessage.task_progress(${ids[1]}, 55)`)
  await sql(`livemessage.task_progress(${ids[2]}, 0)`)
  t.same(await ann.call('tasks.progress-count', {}), { success: true, count: 3, progress: 21.67 })
  await sql(`livemessage.task_done(${ids[1]})`)
  t.same(await ann.call('tasks.progress-count'), { success: true, count: 2, progress: 5 })
})

await t.test('pages are newest first and bounded; query is all', async (t) => {
  const ann = await enter(t, 'ann14')
  const rows = await postgres.psql(
    `SELECT livemessage.task_create('ann14', n::text)::float8 AS id FROM generate_series(1, 105) AS n`,
  )
  const ids = rows.map(({ id }) => Number(id)).toReversed()
  const page = async (data?: object) =>
    ((await ann.call('tasks.query', data)) as { id: number }[]).map(({ id }) => id)
  t.same(await page(), ids.slice(0, 25))
  t.same(await page({ start: 25, limit: 25 }), ids.slice(25, 50))
  t.same(await page({ limit: 1_000_000_000 }), ids.slice(0, 100))
  t.same(await page({ start: Number.MAX_SAFE_INTEGER }), [])
})

await t.test(
  "another's task can neither be deleted nor cancelled nor told from one that is not there",
  async (t) => {
    const [ann, ben] = await Promise.all([enter(t, 'ann15'), enter(t, 'ben15')])
    const id = await create('ann15')
    for (const action of ['tasks.delete', 'tasks.cancel']) {
      const others = await ben.ask({ type: 'call', action, data: { id } })
      const nobodys = await ben.ask({ type: 'call', action, data: { id: 9_007_199_254_740_991 } })
      t.same({ ...others, id: 0 }, { ...nobodys, id: 0 }, action)
      t.same(others['data'], { success: false })
      for (const wrong of [undefined, null, 0, -1, 1.5, 2 ** 53, 1e300, '1', [1], true]) {
        t.match(await refusal(ann.call(action, { id: wrong })), {
          code: 'invalid_input',
          details: [{ path: ['id'] }],
        })
      }
    }
    t.same(await ann.call('tasks.cancel', { id }), { success: true })
    t.same(await ann.call('tasks.cancel', { id }), { success: true }, 'it is, and was')
    t.match(await ann.call('tasks.all'), [{ id, status: 'cancelled' }])
    const done = await create('ann15')
    await sql(`livemessage.task_done(${done})`)
    t.same(await ann.call('tasks.cancel', { id: done }), { success: false }, 'it had ended')
  },
)

await t.test('nobody who is not authenticated gets anything', async (t) => {
  const { connect } = await import('../support/client.ts')
  const stranger = await connect(t, daemon)
  for (const action of ['all', 'delete', 'cancel', 'progress-count']) {
    t.match(await refusal(stranger.call(`tasks.${action}`, { id: 1 })), { code: 'unauthenticated' }, action)
  }
  t.match(await refusal(stranger.subscribe('tasks:ann1')), { code: 'unauthenticated' })
  t.match(await refusal((await enter(t, 'ben16')).subscribe('tasks:ann1')), { code: 'forbidden' })
})

await t.test('who publishes may make and advance tasks, and see or change no table', async (t) => {
  const publisher = await application(t, 'livemessage_publisher')
  const { rows } = await publisher.query(`SELECT livemessage.task_create('ann17', 'by a role')::float8 AS id`)
  const { id } = rows[0] as { id: number }
  await publisher.query(`SELECT livemessage.task_progress($1, 5)`, [id])
  t.match(await taskOf(id), { status: 'running', progress: 5 })
  for (const text of [
    'SELECT FROM livemessage_tasks.task',
    'UPDATE livemessage_tasks.task SET progress = 1',
    `SELECT livemessage_tasks.finish(${id}, 'done', NULL, NULL)`,
    `SELECT livemessage_tasks.push('ann', '{}')`,
  ]) {
    await t.rejects(publisher.query(text), { code: '42501' }, text)
  }
  await postgres.psql('CREATE ROLE nobody_in_particular')
  const stranger = await application(t, 'nobody_in_particular')
  await t.rejects(stranger.query(`SELECT livemessage.task_cancel(${id})`), { code: '42501' })
})

await t.test('workers of one task at once: the highest stays, and the count is right', async (t) => {
  const ann = await enter(t, 'ann18')
  await ann.subscribe('tasks:ann18')
  const id = await create('ann18')
  const workers = await Promise.all(Array.from({ length: 8 }, () => application(t)))
  await Promise.all(
    workers.map(async (worker, at) => {
      for (let n = 0; n < 25; n++) {
        const percent = ((n * 8 + ((at * 5) % 8)) * 99) / 199
        await worker.query('SELECT livemessage.task_progress($1, $2)', [id, percent])
      }
    }),
  )
  await ann.next({ data: { progress: 99 } })
  const seen = pushed(ann).map(({ progress }) => Number(progress))
  t.same(
    seen,
    seen.toSorted((a, b) => a - b),
    'never back',
  )
  t.same(await ann.call('tasks.progress-count'), { success: true, count: 1, progress: 99 })
})

await t.test('a result too long for a NOTIFY arrives whole', async (t) => {
  const ann = await enter(t, 'ann19')
  await ann.subscribe('tasks:ann19')
  const id = await create('ann19')
  const result = { text: 'ä'.repeat(10_000) }
  await sql(`livemessage.task_done(${id}, $1)`, JSON.stringify(result))
  t.match(await ann.next({ data: { status: 'done' } }), { data: { id, result, progress: 100 } })
})

await t.test('nothing is pushed where the transaction says so', async (t) => {
  const ann = await enter(t, 'ann20')
  await ann.subscribe('tasks:ann20')
  await create('ann20', 'old')
  await ann.next({ data: { title: 'old' } })
  await postgres.psql(`BEGIN; SET LOCAL livemessage_tasks.push = 'off';
    DELETE FROM livemessage_tasks.task WHERE user_id = 'ann20'; COMMIT`)
  await create('ann20', 'new')
  await ann.next({ data: { title: 'new' } })
  t.equal(pushed(ann).length, 2)
})

await t.test(
  'with a history tasks are pushed by the journal: nothing is lost while no daemon is there',
  async (t) => {
    const fresh = await startPostgres(t)
    const config = {
      ...CONFIG,
      channels: { tasks: { access: 'user', history: { count: 100 } } },
      postgres: { url: fresh.url },
    } as const
    const first = await startDaemon(t, config, { migrate: true })
    const ann = await enterAt(t, first, 'ann')
    const { cursor } = await ann.subscribe('tasks:ann')
    await first.stop()
    const [row] = await fresh.psql(`SELECT livemessage.task_create('ann', 'meanwhile')::float8 AS id`)
    await fresh.psql(`SELECT livemessage.task_done($1, '"yes"')`, [row?.['id']])
    const second = await startDaemon(t, config)
    const back = await enterAt(t, second, 'ann')
    const { recovered, messages } = await back.subscribe('tasks:ann', { since: String(cursor) })
    t.equal(recovered, true)
    t.match(messages, [{ data: { status: 'queued' } }, { data: { status: 'done', result: 'yes' } }])
    // Here PostgreSQL would not make one of equal notifications.
    await fresh.psql('SELECT livemessage.task_restart($1)', [row?.['id']])
    await fresh.psql('SELECT livemessage.task_progress($1, n) FROM generate_series(1, 50) AS n', [
      row?.['id'],
    ])
    await back.next({ data: { progress: 50 } })
    t.same(
      pushed(back).map(({ progress }) => progress),
      [0, 50],
      'once a transaction',
    )
  },
)
