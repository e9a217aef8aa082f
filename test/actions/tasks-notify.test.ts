import t from 'tap'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { CONFIG, enter, notify as notifyAt } from './subsystems.ts'

// What the senders of tasks and messages take by HTTP and by NOTIFY.

const postgres = await startPostgres(t)
const daemon = await startDaemon(t, { ...CONFIG, postgres: { url: postgres.url } }, { migrate: true })

const task = (data: unknown, key?: string) =>
  notifyAt(daemon, { subsystem: 'tasks', data, ...(key && { key }) })
const message = (data: unknown, key?: string) =>
  notifyAt(daemon, { subsystem: 'messages', data, ...(key && { key }) })

const tasksOf = (user: string) =>
  postgres.psql(
    `SELECT id::float8 AS id, ref, title, status, progress::float8 AS progress, text, result
     FROM livemessage_tasks.task WHERE user_id = $1 ORDER BY id`,
    [user],
  )

const OK = { status: 200, body: {} }

await t.test(
  'a task is made and advanced over HTTP, by the name that the application gives it',
  async (t) => {
    const ann = await enter(t, daemon, 'ann1')
    await ann.subscribe('tasks:ann1')
    t.same(await task({ user: 'ann1', title: 'import', ref: 'job-1' }), OK)
    t.match(await ann.next({ type: 'message' }), { data: { title: 'import', status: 'queued' } })
    t.same(await task({ ref: 'job-1', progress: 40, text: 'rows' }), OK)
    t.match(await ann.next({ type: 'message' }), { data: { status: 'running', progress: 40, text: 'rows' } })
    t.same(await task({ ref: 'job-1', progress: 10, text: 'late' }), OK, 'a late one is nothing new')
    t.same(await task({ ref: 'job-1', text: 'more rows' }), OK)
    t.match(await ann.next({ type: 'message' }), { data: { progress: 40, text: 'more rows' } })
    t.same(await task({ ref: 'job-1', status: 'done', result: { rows: [1, 'ü'] }, text: 'ready' }), OK)
    t.match(await ann.next({ type: 'message' }), {
      data: { status: 'done', progress: 100, text: 'ready', result: { rows: [1, 'ü'] } },
    })
    t.same(await task({ ref: 'job-1', status: 'done', result: 1 }), OK, 'it is so already')
    t.match(await task({ ref: 'job-1', progress: 50 }), {
      status: 409,
      body: { error: { code: 'conflict' } },
    })
  },
)

await t.test('by its id, and in each of its ends', async (t) => {
  const ends = [
    [
      { status: 'failed', text: 'no disk', progress: 30 },
      { status: 'failed', text: 'no disk', progress: 30 },
    ],
    [
      { status: 'cancelled', text: 'by hand' },
      { status: 'cancelled', text: 'by hand', progress: 0 },
    ],
    [{ status: 'done' }, { status: 'done', progress: 100, result: null }],
    [{ status: 'running' }, { status: 'running', progress: 0 }],
    [{ progress: 33.335 }, { status: 'running', progress: 33.34 }],
  ] as const
  for (const [data, expected] of ends) {
    const [row] = await postgres.psql(`SELECT livemessage.task_create('ann2', 't')::float8 AS id`)
    t.same(await task({ id: row?.['id'], ...data }), OK)
    t.match((await tasksOf('ann2')).at(-1), expected)
  }
  t.same(await task({ user: 2, title: 'of a number', progress: 5, text: 'at once' }), OK)
  t.match(await tasksOf('2'), [{ status: 'running', progress: 5, text: 'at once', ref: null }])
})

await t.test('with a key a task is made once', async (t) => {
  const data = { user: 'ann3', title: 'once' }
  const answers = await Promise.all(Array.from({ length: 5 }, () => task(data, 'create-3')))
  for (const answer of answers) t.same(answer, OK)
  t.equal((await tasksOf('ann3')).length, 1)
  t.match(await task({ ...data, user: 'ben3' }, 'create-3'), { status: 409 })
  for (let n = 0; n < 3; n++) t.same(await task({ ...data, ref: 'job-3' }), OK)
  t.equal((await tasksOf('ann3')).length, 2)
})

await t.test('what is no task, or says nothing of one, is refused with what was expected', async (t) => {
  const [row] = await postgres.psql(
    `SELECT livemessage.task_create('ann4', 't', ref => 'job-4')::float8 AS id`,
  )
  const id = row?.['id']
  const wrong: [unknown, number, RegExp][] = [
    [null, 400, /expected an object/],
    [[], 400, /expected an object/],
    ['x', 400, /expected an object/],
    [{}, 400, /expected id, ref or user/],
    [{ id }, 400, /expected progress, text or status/],
    [{ id, ref: 'job-4', progress: 1 }, 400, /only one of them/],
    [{ id, progress: 101 }, 400, /progress: expected a number from 0 to 100, got 101/],
    [{ id, progress: -1 }, 400, /progress/],
    [{ id, progress: '50' }, 400, /progress/],
    [{ id, status: 'paused' }, 400, /status: expected one of running, done, failed, cancelled/],
    [{ id, status: 'queued' }, 400, /status/],
    [{ id, text: 5 }, 400, /text/],
    [{ id, text: 'a\0b' }, 400, /text/],
    [{ id, status: 'done', result: 'a\0b' }, 400, /Unicode|unicode/],
    [{ id, progress: 5, result: 1 }, 400, /result: only with/],
    [{ id: -1, progress: 1 }, 400, /id/],
    [{ id: 1.5, progress: 1 }, 400, /id/],
    [{ id: '1', progress: 1 }, 400, /id/],
    [{ id: 2 ** 53, progress: 1 }, 400, /id/],
    [{ id: Number.MAX_SAFE_INTEGER, progress: 1 }, 404, /there is no task/],
    [{ ref: 'nothing', progress: 1 }, 404, /no task has this ref/],
    [{ user: 'ann4' }, 400, /title/],
    [{ user: '', title: 't' }, 400, /user/],
    [{ user: ['x'], title: 't' }, 400, /user/],
  ]
  for (const [data, status, reason] of wrong) {
    t.match(await task(data), { status, body: { error: { message: reason } } }, JSON.stringify(data))
  }
  t.match(await tasksOf('ann4'), [{ status: 'queued', progress: 0 }], 'nothing of it was taken')
})

await t.test('a NOTIFY advances tasks too, and makes none', async (t) => {
  const [row] = await postgres.psql(`SELECT livemessage.task_create('ann5', 't')::float8 AS id`)
  const say = (data: unknown) =>
    postgres.psql(`SELECT pg_notify('livemessage_tasks', $1)`, [JSON.stringify(data)])
  await say({ user: 'ann5', title: 'by NOTIFY' })
  await daemon.logged({ msg: 'notification refused' })
  await say({ id: row?.['id'], progress: 60, text: 'heard' })
  await until('the progress', async () => (await tasksOf('ann5'))[0]?.['progress'] === 60)
  t.equal((await tasksOf('ann5')).length, 1)
})

await t.test("a NOTIFY that any role can say brings nobody another user's message or task", async (t) => {
  const eve = await enter(t, daemon, 'eve')
  await eve.subscribe('messages:eve')
  await eve.subscribe('tasks:eve')
  const [row] = await postgres.psql(
    `SELECT livemessage_messages.send('ann9', 'ben', 'not for eve')::float8 AS message,
       livemessage.task_create('ann9', 'not for eve')::float8 AS task`,
  )
  const { message: id, task } = row as { message: number; task: number }
  await postgres.psql(`
    CREATE ROLE stranger;
    SET ROLE stranger;
    SELECT pg_notify('livemessage_messages', '{"id": ${id}, "to_user": "eve", "truncated": true}'),
      pg_notify('livemessage_tasks', '{"id": ${task}, "user_id": "eve", "truncated": true}')`)
  await daemon.logged({ msg: 'notification refused', reason: `message ${id} is no longer there` })
  await daemon.logged({ msg: 'notification refused', reason: `task ${task} is no longer there` })
  t.match(await message({ id, to_user: 'eve', truncated: true }), { status: 404 }, 'nor what comes by HTTP')
  t.same(eve.rest('message'), [])
})

await t.test('a new message comes over HTTP, once a key, and is pushed by its row', async (t) => {
  const ann = await enter(t, daemon, 'ann6')
  await ann.subscribe('messages:ann6')
  const data = { to_user: 'ann6', from_user: 7, subject: 'Hello', text: 'a\nb 😀' }
  for (let n = 0; n < 3; n++) t.same(await message(data, 'mail-1'), OK)
  t.match(await message({ ...data, text: 'other' }, 'mail-1'), { status: 409 })
  t.same(await message({ to: 'ann6' }), OK)
  await ann.next({ data: { subject: '' } })
  const all = (await ann.call('messages.all')) as object[]
  t.match(all, [
    { subject: '', text: '', from_user: null },
    { from_user: '7', subject: 'Hello', text: 'a\nb 😀' },
  ])
  t.equal(all.length, 2)
  t.equal(ann.frames.filter(({ type }) => type === 'message').length, 2)
})

await t.test('what is no message is refused with what was expected', async (t) => {
  const wrong: [unknown, RegExp][] = [
    [null, /expected a row/],
    ['x', /expected a row/],
    [{}, /to_user/],
    [{ to_user: '' }, /to_user/],
    [{ to_user: { id: 1 } }, /to_user/],
    [{ to_user: 'ann', to: 'ben' }, /only one of them/],
    [{ to_user: 'ann', subject: 5 }, /subject/],
    [{ to_user: 'ann', text: ['x'] }, /text/],
    [{ to_user: 'ann', text: 'a\0b' }, /text/],
    [{ to_user: 'a\0b' }, /to_user/],
    [{ to_user: 'x'.repeat(2000) }, /to_user/],
  ]
  for (const [data, reason] of wrong) {
    t.match(
      await message(data),
      { status: 400, body: { error: { code: 'invalid_input', message: reason } } },
      JSON.stringify(data).slice(0, 80),
    )
  }
})

await t.test('with several nodes each client gets a change once, whoever was told of it', async (t) => {
  const other = await startDaemon(t, { ...CONFIG, postgres: { url: postgres.url } })
  const clients = await Promise.all([enter(t, daemon, 'ann8'), enter(t, other, 'ann8')])
  for (const client of clients) {
    await client.subscribe('tasks:ann8')
    await client.subscribe('messages:ann8')
  }
  const say = (data: unknown) =>
    postgres.psql(`SELECT pg_notify('livemessage_tasks', $1)`, [JSON.stringify(data)])
  await say({ user: 'ann8', title: 'heard by two', ref: 'job-8' })
  await until('the task', async () => (await tasksOf('ann8')).length === 1)
  for (const progress of [10, 20, 30]) await say({ ref: 'job-8', progress })
  await until('all of it', async () => (await tasksOf('ann8'))[0]?.['progress'] === 30)
  t.same(await notifyAt(other, { subsystem: 'tasks', data: { ref: 'job-8', progress: 40 } }), OK)
  t.same(await notifyAt(other, { subsystem: 'messages', data: { to: 'ann8', text: 'one' } }), OK)
  t.same(await task({ ref: 'job-8', status: 'done' }), OK)
  t.same(await message({ to: 'ann8', text: 'two' }), OK)
  for (const client of clients) {
    await client.next({ data: { status: 'done' } })
    await client.next({ data: { text: 'two' } })
    const seen = client.frames
      .filter(({ type }) => type === 'message')
      .map(({ data }) => data as Record<string, unknown>)
    t.same(
      seen.filter(({ status }) => status).map(({ progress }) => progress),
      [0, 10, 20, 30, 40, 100],
    )
    t.same(
      seen.filter(({ subject }) => subject !== undefined).map(({ text }) => text),
      ['one', 'two'],
    )
  }
  t.equal((await tasksOf('ann8')).length, 1)
})

await t.test('without a database it is not there for now, and nothing is left half done', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  for (const subsystem of ['messages', 'tasks']) {
    t.match(await notifyAt(daemon, { subsystem, data: { to_user: 'ann', user: 'ann', title: 'x' } }), {
      status: 503,
      body: { error: { code: 'unavailable' } },
    })
  }
})
