import { connect as connectBroker } from 'amqplib'
import t from 'tap'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'
import { CONFIG, enter } from './subsystems.ts'

// Messages and tasks by AMQP. One broker, for each takes 7 s.

t.setTimeout(120_000)

t.test('messages and tasks by AMQP', { skip: rabbitSkip(), timeout: 120_000 }, async (t) => {
  const [rabbit, postgres] = await Promise.all([startRabbit(t), startPostgres(t)])
  const daemon = await startDaemon(
    t,
    { ...CONFIG, broker: { url: rabbit.url }, postgres: { url: postgres.url } },
    { migrate: true },
  )
  const broker = await connectBroker(rabbit.url)
  t.teardown(() => broker.close())
  const channel = await broker.createConfirmChannel()
  const say = async (subsystem: string, data: unknown, messageId?: string): Promise<void> => {
    const body = Buffer.from(typeof data === 'string' ? data : JSON.stringify(data))
    channel.publish(
      'livemessages',
      subsystem,
      body,
      messageId === undefined ? {} : { messageId, appId: 'shop' },
    )
    await channel.waitForConfirms()
  }
  const count = async (sql: string): Promise<number> => Number((await postgres.psql(sql))[0]?.['n'])

  await t.test('a new message is inserted and pushed by its row; with a message-id once', async (t) => {
    const ann = await enter(t, daemon, 'ann1')
    await ann.subscribe('messages:ann1')
    for (let n = 0; n < 3; n++)
      await say('messages', { to_user: 'ann1', from_user: 'shop', text: 'paid' }, 'm-1')
    await say('messages', { to: 'ann1', text: 'sent' })
    t.match(await ann.next({ type: 'message' }), { data: { from_user: 'shop', text: 'paid', read: false } })
    t.match(await ann.next({ type: 'message' }), { data: { text: 'sent' } })
    t.equal(((await ann.call('messages.all')) as unknown[]).length, 2)
  })

  await t.test('a task is made, advanced and ended; what comes late or twice is nothing new', async (t) => {
    const ann = await enter(t, daemon, 'ann2')
    await ann.subscribe('tasks:ann2')
    for (let n = 0; n < 2; n++) await say('tasks', { user: 'ann2', title: 'import', ref: 'job-2' })
    await say('tasks', { ref: 'job-2', progress: 20 })
    await say('tasks', { ref: 'job-2', progress: 70, text: 'rows' })
    await say('tasks', { ref: 'job-2', progress: 20 })
    await say('tasks', { ref: 'job-2', status: 'done', result: 'ok' })
    await say('tasks', { ref: 'job-2', progress: 90 })
    await ann.next({ data: { status: 'done' } })
    await say('tasks', { user: 'ann2', title: 'last' }, 't-2')
    await say('tasks', { user: 'ann2', title: 'last' }, 't-2')
    await ann.next({ data: { title: 'last' } })
    const seen = ann.frames
      .filter(({ type }) => type === 'message')
      .map(({ data }) => data as Record<string, unknown>)
    t.match(seen, [
      { title: 'import', status: 'queued' },
      { progress: 20 },
      { progress: 70, text: 'rows' },
      { status: 'done', progress: 100, result: 'ok' },
      { title: 'last' },
    ])
    await say('messages', { to: 'ann2' })
    await until('what was said before', () =>
      count(`SELECT count(*) AS n FROM livemessage_messages.message WHERE to_user = 'ann2'`),
    )
    t.equal(await count(`SELECT count(*) AS n FROM livemessage_tasks.task WHERE user_id = 'ann2'`), 2)
  })

  await t.test('what is none is a dead letter with its reason, and what follows arrives', async (t) => {
    const ann = await enter(t, daemon, 'ann3')
    await Promise.all([ann.subscribe('messages:ann3'), ann.subscribe('tasks:ann3')])
    const wrong: [subsystem: string, data: unknown, code: string][] = [
      ['messages', '[]', 'invalid_input'],
      ['messages', { text: 'to nobody' }, 'invalid_input'],
      ['messages', { to_user: 'ann3', text: 'a\0b' }, 'invalid_input'],
      ['tasks', { id: 1, progress: 200 }, 'invalid_input'],
      ['tasks', { id: 900719925474099, progress: 20 }, 'not_found'],
      ['tasks', { user: 'ben3', title: 'x', ref: 'job-2' }, 'conflict'],
    ]
    const before = await count('SELECT count(*) AS n FROM livemessage.dead')
    for (const [subsystem, data] of wrong) await say(subsystem, data)
    await say('messages', { to: 'ann3' })
    await say('tasks', { user: 'ann3', title: 'good' })
    await ann.next({ channel: 'messages:ann3' })
    await ann.next({ channel: 'tasks:ann3' })
    await until('the dead letters', async () => {
      return (await count('SELECT count(*) AS n FROM livemessage.dead')) >= before + wrong.length
    })
    const rows = await postgres.psql('SELECT subsystem, code FROM livemessage.dead ORDER BY id')
    const told = rows.slice(before).map(({ subsystem, code }) => `${String(subsystem)} ${String(code)}`)
    t.same(told.toSorted(), wrong.map(([subsystem, , code]) => `${subsystem} ${code}`).toSorted())
  })

  await t.test('while the database is away they wait, and are there once when it is back', async (t) => {
    await postgres.stop()
    for (let n = 0; n < 3; n++) await say('messages', { to: 'ann4', text: 'waited' }, 'm-4')
    await say('tasks', { user: 'ann4', title: 'waited', progress: 10 }, 't-4')
    await daemon.logged({ msg: 'source is down, trying on', source: 'amqp' })
    await postgres.restart()
    await until('the message', () =>
      count(`SELECT count(*) AS n FROM livemessage_messages.message WHERE to_user = 'ann4'`),
    )
    await until('the task', () =>
      count(`SELECT count(*) AS n FROM livemessage_tasks.task WHERE user_id = 'ann4' AND progress = 10`),
    )
    await say('messages', { to: 'ann4', text: 'last' })
    await until('the last', () =>
      count(
        `SELECT count(*) AS n FROM livemessage_messages.message WHERE to_user = 'ann4' AND text = 'last'`,
      ),
    )
    t.equal(await count(`SELECT count(*) AS n FROM livemessage_messages.message WHERE to_user = 'ann4'`), 2)
    t.equal(await count(`SELECT count(*) AS n FROM livemessage_tasks.task WHERE user_id = 'ann4'`), 1)
  })
})
