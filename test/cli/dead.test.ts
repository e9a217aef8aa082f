import { connect } from 'amqplib'
import type { ConfirmChannel } from 'amqplib'
import { Client } from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { DEAD_HEADERS } from '../../src/broker/dead-headers.ts'
import { insertLetters } from '../../src/database/dead-rows.ts'
import { migrate } from '../../src/database/migrate.ts'
import type { DeadLetter } from '../../src/dead-letter.ts'
import { install, project } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'

t.setTimeout(180_000)

const skip = rabbitSkip()
if (skip) t.plan(0, skip)
else await suite()

async function suite(): Promise<void> {
  const [it, server, rabbit] = await Promise.all([install(t), startPostgres(t), startRabbit(t)])
  let count = 0

  /** A project, a database and an exchange of a test's own. */
  const open = async (t: Test, { database = true, broker = true, migrated = true } = {}) => {
    const name = `test${++count}`
    const exchange = `${name}-${Date.now()}`
    await server.psql(`CREATE DATABASE ${name}`)
    const url = server.url.replace(/[^/]+$/, name)
    if (migrated) await migrate(url)
    const config = {
      postgres: database ? { url } : false,
      ...(broker ? { broker: { url: rabbit.url, exchange } } : {}),
      ACTIONS: {},
      channels: { chat: { access: 'public', history: { count: 10 } } },
    }
    const cwd = await project(t, { 'livemessages.config.json': JSON.stringify(config) })
    const client = new Client({ connectionString: url })
    await client.connect()
    t.teardown(() => client.end())
    return {
      exchange,
      dead: (...args: string[]) => it.run(['dead', ...args], { cwd }),
      journal: (...args: string[]) => it.run(['journal', ...args], { cwd }),
      sql: async (text: string, values?: unknown[]) =>
        (await client.query<Record<string, unknown>>(text, values)).rows,
      put: (letters: readonly DeadLetter[]) => insertLetters(client, letters),
      client,
      url,
    }
  }

  const channelOf = async (t: Test): Promise<ConfirmChannel> => {
    const model = await connect(rabbit.url)
    t.teardown(() => model.close())
    return model.createConfirmChannel()
  }

  const letter = (more: Partial<DeadLetter> = {}): DeadLetter => ({
    key: null,
    time: 1_700_000_000_000,
    source: 'postgres',
    name: 'livemessages',
    channel: 'chat:general',
    subsystem: 'chat',
    code: 'failed',
    reason: 'chat.sender failed',
    attempts: 5,
    body: '{"channel":"chat:general","data":{"n":1}}',
    headers: null,
    properties: null,
    database: null,
    ...more,
  })

  await t.test('list: the newest first, by source, subsystem and code', async (t) => {
    const { dead, put } = await open(t)
    t.match(await dead('list'), { code: 0, stdout: 'no dead letters in the table livemessage.dead\n' })
    await put([
      letter({ reason: 'first \u001b[31m and red' }),
      letter({
        source: 'amqp',
        code: 'bad_payload',
        name: 'mail.x',
        channel: null,
        subsystem: 'mail',
        body: Buffer.from([255, 0]),
      }),
      letter({ source: 'postgres:other', subsystem: 'tasks', channel: 'tasks:1' }),
    ])
    const { stdout, code } = await dead('list')
    t.equal(code, 0)
    const lines = stdout.trimEnd().split('\n')
    t.match(lines[0], /^ID +TIME +SOURCE +PLACE +CODE +ATTEMPTS +BYTES +REASON$/)
    t.match(
      lines[1],
      /^3 +2023-11-14T22:13:20.000Z +postgres:other +tasks:1 +failed +5 +41 +chat.sender failed$/,
    )
    t.match(lines[2], /^2 .* amqp +mail.x +bad_payload +5 +2 /)
    t.match(lines[3], 'first \\u001b[31m and red', 'nothing gets through to the terminal')
    t.match(await dead('list', '--limit', '2'), { stdout: /\n2 of 3: --limit shows more\n$/ })
    const json = async (...args: string[]) =>
      JSON.parse((await dead('list', '--json', ...args)).stdout) as unknown[]
    t.match(await json('--source', 'amqp'), [{ id: '2', code: 'bad_payload', bytes: 2, name: 'mail.x' }])
    t.match(await json('--subsystem', 'tasks'), [{ id: '3' }])
    t.match(await json('--code', 'failed', '--subsystem', 'chat'), [{ id: '1' }])
    t.same(await json('--code', 'none'), [])
  })

  await t.test('show: what can be printed, and every byte with --raw', async (t) => {
    const { dead, put } = await open(t)
    await put([
      letter({ headers: { trace: ['a', 1] }, properties: { messageId: 'm1' } }),
      letter({ body: Buffer.from([0xff, 0, 0x41]) }),
      letter({ body: 'x'.repeat(5 * 1024 * 1024) }),
    ])
    const { stdout } = await dead('show', '1')
    t.match(stdout, /^id: +1\ntime: +2023.*\nsource: +postgres\n/)
    t.match(
      stdout,
      /\ncode: +failed\nreason: +chat.sender failed\nattempts: +5\nmessageId: +m1\nheader trace: *\["a",1\]\n/,
    )
    t.match(stdout, /\nbody: +41 bytes\n\n\{"channel":"chat:general","data":\{"n":1\}\}\n$/)
    t.match(JSON.parse((await dead('show', '1', '--json')).stdout), { id: '1', body: /^\{"channel/ })
    t.match((await dead('show', '2')).stdout, '\n00000000  ff 00 41')
    t.match(JSON.parse((await dead('show', '2', '--json')).stdout), { bodyBase64: '/wBB', bytes: 3 })
    t.match((await dead('show', '3')).stdout, /\nx{10000}…\n… 5232880 bytes more: --raw writes all of it\n$/)
    t.equal((await dead('show', '3', '--raw')).stdout, 'x'.repeat(5 * 1024 * 1024))
    for (const id of ['4', '0', 'nonsense', '99999999999999999999']) {
      t.match(await dead('show', id), {
        code: 2,
        stderr: /LETTER_NOT_FOUND: the table livemessage.dead has no letter/,
      })
    }
  })

  await t.test(
    'replay: a message goes back as it was, and its letter goes when it is confirmed',
    async (t) => {
      const { dead, put, sql, exchange } = await open(t)
      const channel = await channelOf(t)
      const back = `${exchange}.back`
      const headers = { trace: { deep: [1, true] }, bytes: { '!': 'bytes', value: 'AP8=' } }
      const amqp = { source: 'amqp', name: 'chat.general', headers, body: Buffer.from([0, 255]) }
      await put([
        letter({ ...amqp, properties: { exchange, messageId: 'm1', contentType: 'a/b', priority: 3 } }),
      ])
      t.match(await dead('replay', '1'), {
        code: 1,
        stdout: `1 stays: the broker has no exchange ${exchange}\nreplayed 0, 1 stay in the table livemessage.dead\n`,
        stderr: /LETTERS_LEFT: 1 of 1 letters/,
      })
      await channel.assertExchange(exchange, 'topic', { durable: true })
      t.match(await dead('replay', '1'), {
        code: 1,
        stdout: `1 stays: no queue takes chat.general from exchange ${exchange}\n`,
      })
      await channel.assertQueue(back)
      await channel.bindQueue(back, exchange, 'chat.#')
      t.match(await dead('replay', '1'), {
        code: 0,
        stdout: `replayed 1: to exchange ${exchange}, routing key chat.general\nreplayed 1 in the table livemessage.dead\n`,
      })
      const message = await channel.get(back, { noAck: true })
      if (!message) throw new Error('it did not come')
      t.same([...message.content], [0, 255])
      t.match(message.fields, { exchange, routingKey: 'chat.general' })
      t.match(message.properties, { messageId: 'm1', contentType: 'a/b', priority: 3 })
      t.same(message.properties.headers, { trace: { deep: [1, true] }, bytes: Buffer.from([0, 255]) })
      t.same(await sql('SELECT * FROM livemessage.dead'), [])
      t.match(await dead('replay', '1'), { code: 2, stderr: /LETTER_NOT_FOUND/ })
    },
  )

  await t.test('replay: a publication is published in the transaction that deletes its letter', async (t) => {
    const { dead, put, sql } = await open(t, { broker: false })
    await sql(`SELECT livemessage.set_subsystems('{"small": {"journaled": true, "max_bytes": 5}}')`)
    const trigger = { name: 'livemessage.publish_row (note on public.note)', headers: { trigger: 'note' } }
    await put([
      letter(),
      letter({ ...trigger, channel: 'chat:trigger', body: '{"id": 7}' }),
      letter({ ...trigger, channel: 'small:trigger', body: '{"id": 7}' }),
      letter({ channel: 'no channel', body: '1' }),
      letter({ source: 'amqp', name: 'chat.general' }),
    ])
    const { code, stdout } = await dead('replay', '--all')
    t.equal(code, 1)
    t.same(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.slice(0, 80)),
      [
        'replayed 1: published to chat:general',
        'replayed 2: published to chat:trigger',
        '3 stays: livemessage.publish: the publication to small:trigger has 9 bytes, the ',
        "4 stays: 'no channel' is no channel: publish it yourself, and drop it",
        '5 stays: it came from RabbitMQ, and the config names no broker',
        'replayed 2, 3 stay in the table livemessage.dead',
      ],
    )
    t.match(await sql('SELECT channel, data FROM livemessage.journal ORDER BY position'), [
      { channel: 'chat:general', data: '{"n": 1}' },
      { channel: 'chat:trigger', data: '{"id": 7}' },
    ])
    t.same(await sql('SELECT id FROM livemessage.dead ORDER BY id'), [{ id: '3' }, { id: '4' }, { id: '5' }])
  })

  await t.test("replay: a sender's NOTIFY is said again, when somebody listens", async (t) => {
    const { dead, put, sql, url } = await open(t)
    const mail = { name: 'mail', channel: null, subsystem: 'mail', body: '{"to": 42}' }
    await put([letter({ ...mail, database: new URL(url).pathname.slice(1) })])
    t.match(await dead('replay', '1'), { code: 1, stdout: /^1 stays: no daemon listens in its database/ })
    const listener = new Client({ connectionString: url, application_name: 'livemessages listen' })
    await listener.connect()
    t.teardown(() => listener.end())
    const heard: unknown[] = []
    listener.on('notification', ({ channel, payload }) => heard.push([channel, payload]))
    await listener.query('LISTEN mail')
    t.match(await dead('replay', '1'), { code: 0, stdout: /^replayed 1: notified mail\n/ })
    await until('the NOTIFY', () => heard.length > 0)
    t.same(heard, [['mail', '{"to": 42}']])
    t.same(await sql('SELECT * FROM livemessage.dead'), [])
    // Of another database of that server: there.
    await put([letter({ ...mail, source: 'postgres:other', database: 'test1' })])
    t.match(await dead('replay', '2'), { code: 1, stdout: /no daemon listens in its database/ })
  })

  await t.test('drop: by id, or all that the filter lets through', async (t) => {
    const { dead, put, sql } = await open(t)
    await put([letter(), letter({ code: 'bad_payload' }), letter(), letter({ subsystem: 'tasks' })])
    t.match(await dead('drop', '2', '2'), {
      code: 0,
      stdout: 'dropped 2: bad_payload\ndropped 1 in the table livemessage.dead\n',
    })
    t.match(await dead('drop', '1', '17'), { code: 2, stderr: /no letter 17/ })
    t.match(await dead('drop', '--all', '--subsystem', 'chat'), { code: 0, stdout: /\ndropped 2 in/ })
    t.same(await sql('SELECT id FROM livemessage.dead'), [{ id: '4' }])
    t.match(await dead('drop'), { code: 2, stderr: /USAGE: expected ids, or --all/ })
    t.match(await dead('drop', '--code', 'failed'), { code: 2, stderr: /say --all/ })
    t.match(await dead('drop', '4', '--all'), { code: 2, stderr: /not with ids/ })
    t.match(await dead('list', '--limit', 'x'), { code: 2, stderr: /Expected a number from 1/ })
    t.match(await dead(), { code: 2, stderr: /list.*show.*replay.*drop/s })
  })

  await t.test('a database that is not there or not migrated is told apart', async (t) => {
    const { dead, journal } = await open(t, { migrated: false })
    const missing = {
      code: 3,
      stderr: /DATABASE_FAILED: .*'livemessage migrate' brings the schema up to date/,
    }
    t.match(await dead('list'), missing)
    t.match(await journal('status'), missing)
    const cwd = await project(t, {
      'livemessages.config.json': JSON.stringify({
        ACTIONS: {},
        postgres: { url: 'postgres://u:secret@127.0.0.1:1/x' },
      }),
    })
    const { code, stderr } = await it.run(['dead', 'list'], { cwd })
    t.equal(code, 3)
    t.match(stderr, /DATABASE_UNREACHABLE/)
    t.notMatch(stderr, /secret/)
  })

  await t.test(
    'without a database: the letters of the queue, which stay where they are in their order',
    async (t) => {
      const { dead, exchange } = await open(t, { database: false })
      const queue = `${exchange}.dead`
      t.match(await dead('list'), { code: 0, stdout: `no dead letters in the queue ${queue}\n` })
      const channel = await channelOf(t)
      await channel.assertQueue(queue, {
        durable: true,
        arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 1000 },
      })
      await channel.assertExchange(exchange, 'topic', { durable: true })
      await channel.assertQueue(`${exchange}.back`)
      await channel.bindQueue(`${exchange}.back`, exchange, '#')
      const ids = Array.from({ length: 6 }, (_value, n) => `${n}0000000-aaaa-bbbb-cccc-dddddddddddd`)
      for (const [n, id] of ids.entries()) {
        channel.sendToQueue(queue, n === 2 ? Buffer.from([255, n]) : Buffer.from(`{"n":${n}}`), {
          messageId: `m${n}`,
          headers: {
            mine: n,
            'x-delivery-count': 99,
            ...(n === 5 ? {} : { [DEAD_HEADERS.id]: id }),
            [DEAD_HEADERS.reason]: n % 2 === 0 ? 'failed' : 'bad_payload',
            [DEAD_HEADERS.message]: `reason ${n}`,
            [DEAD_HEADERS.exchange]: exchange,
            [DEAD_HEADERS.routingKey]: `chat.r${n}`,
            [DEAD_HEADERS.attempts]: n,
            [DEAD_HEADERS.time]: 1_700_000_000_000 + n,
          },
        })
      }
      await channel.waitForConfirms()
      const reasons = async (...args: string[]) =>
        (JSON.parse((await dead('list', '--json', ...args)).stdout) as { reason: string }[]).map(
          ({ reason }) => reason,
        )
      const all = [0, 1, 2, 3, 4, 5].map((n) => `reason ${n}`)
      for (let again = 0; again < 2; again++) {
        t.same(await reasons('--limit', '2'), all.slice(0, 2))
        t.same(await reasons(), all)
      }
      t.same(await reasons('--code', 'bad_payload'), ['reason 1', 'reason 3', 'reason 5'])
      t.match(
        (await dead('list')).stdout,
        /\n00000000-aaaa +2023-11-14T22:13:20.000Z +amqp +chat:r0 +failed +0 +7 +reason 0\n/,
      )
      t.match((await dead('show', '200000')).stdout, '\n00000000  ff 02')
      t.equal((await dead('show', '300000', '--raw')).stdout, '{"n":3}')

      t.match(await dead('drop', '100000'), { code: 0, stdout: /^dropped 10000000-aaaa: bad_payload\n/ })
      t.match(await dead('replay', '40000000-aaaa'), {
        code: 0,
        stdout: `replayed 40000000-aaaa: to exchange ${exchange}, routing key chat.r4\n`,
      })
      t.same(await reasons(), ['reason 0', 'reason 2', 'reason 3', 'reason 5'])
      const message = await channel.get(`${exchange}.back`, { noAck: true })
      t.match(message, { fields: { routingKey: 'chat.r4' }, properties: { messageId: 'm4' } })
      t.same(message && message.properties.headers, { mine: 4 }, 'without what came with its death')

      t.match(await dead('replay', '3'), { code: 2, stderr: /LETTER_NOT_FOUND/ })
      t.match(await dead('drop', '--all', '--code', 'failed'), {
        code: 0,
        stdout: /\ndropped 2 in the queue/,
      })
      t.same(await reasons(), ['reason 3', 'reason 5'])
      t.match(await dead('replay', '--all'), { code: 0, stdout: /\nreplayed 2 in the queue/ })
      t.same(await reasons(), [])
    },
  )

  await t.test('with neither there are none', async (t) => {
    const { dead } = await open(t, { database: false, broker: false })
    t.match(await dead('list'), {
      code: 2,
      stderr: /USAGE: there are no dead letters without a database and without/,
    })
  })

  await t.test('journal status tells its epoch, head, size, floors, queues and leader', async (t) => {
    const { journal, sql } = await open(t)
    t.match(await journal('status'), {
      code: 0,
      stdout:
        /^kind: +postgres\nepoch: +[0-9a-f]{12}, since .*\(migration\)\nhead: +0\nrows: +0\noldest: +none\n/,
    })
    await sql(`SELECT livemessage.publish('chat:a', '1')`)
    await sql(`SELECT livemessage.publish('chat:a', '2')`)
    await sql(`SELECT livemessage.enqueue('chat:a', '3')`)
    await sql(`SELECT livemessage.lease_take('leader', 'node-1', 60000)`)
    await sql(`INSERT INTO livemessage.floor VALUES ('chat', 1)`)
    const status: unknown = JSON.parse((await journal('status', '--json')).stdout)
    t.match(status, {
      kind: 'postgres',
      head: 2,
      rows: { count: 2, isEstimate: false },
      oldest: { position: 1, time: /^20/ },
      floors: { chat: 1 },
      enqueued: 1,
      deadLetters: 0,
      notifyQueueUsage: Number,
      notify: 'data',
      leader: { holder: 'node-1', until: /Z$/ },
    })
    t.match((await journal('status')).stdout, /\nfloors: +chat 1\nenqueued: +1 not yet in the journal\n/)
  })

  await t.test('journal new-epoch asks first, and then does it', async (t) => {
    const { journal, sql } = await open(t)
    const epoch = async () => (await sql('SELECT epoch, reason FROM livemessage.meta'))[0]
    const before = await epoch()
    t.match(await journal('new-epoch'), {
      code: 2,
      stderr: /USAGE: A new epoch makes every cursor.*Say --yes to do it/s,
    })
    t.same(await epoch(), before)
    const { code, stdout } = await journal('new-epoch', '--yes', '--reason', 'restored')
    t.equal(code, 0)
    t.match(await epoch(), { reason: 'restored' })
    t.match(
      stdout,
      `epoch ${String((await epoch())?.['epoch'])} begins, ${String(before?.['epoch'])} is over`,
    )
    const memory = await open(t, { database: false, broker: false })
    t.match(await memory.journal('new-epoch', '--yes'), { code: 2, stderr: /the journal is 'memory'/ })
    t.match(await memory.journal('status'), { code: 0, stdout: /^kind: +memory/ })
  })
}
