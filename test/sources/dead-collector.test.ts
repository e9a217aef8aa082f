import { randomUUID } from 'node:crypto'
import { connect } from 'amqplib'
import type { ConfirmChannel, Options } from 'amqplib'
import t from 'tap'
import type { Test } from 'tap'
import { decodeLetter, encodeOriginal } from '../../src/broker/dead-message.ts'
import { DeadLetters } from '../../src/database/dead-letters.ts'
import { bodyOf, jsonOf } from '../../src/database/dead-rows.ts'
import { migrate } from '../../src/database/migrate.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { createAmqpSource } from '../../src/sources/amqp.ts'
import { DeadCollector } from '../../src/sources/dead-collector.ts'
import type { DeadCollectorOptions } from '../../src/sources/dead-collector.ts'
import { startPostgres } from '../support/postgres.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { record, recordLog } from './recorder.ts'

// A broker takes seconds to start.
t.setTimeout(180_000)

const skip = rabbitSkip()
if (skip) t.plan(0, skip)
else await suite()

async function suite(): Promise<void> {
  // Killed below: what was committed must be there all the same.
  const settings = { synchronous_commit: 'on' }
  const [rabbit, server] = await Promise.all([startRabbit(t), startPostgres(t, { settings })])
  let count = 0

  const open = async (t: Test, options: Partial<DeadCollectorOptions> = {}) => {
    const name = `test${++count}`
    const exchange = `${name}-${Date.now()}`
    const dead = `${exchange}.dead`
    await server.psql(`CREATE DATABASE ${name}`)
    const url = server.url.replace(/[^/]+$/, name)
    await migrate(url)
    const { log, lines } = recordLog()
    const retry = { minMs: 10, maxMs: 50 }
    const pool = createDatabase({ url, minConnections: 1, maxConnections: 6, cleanupTimeoutMs: 1000, log })
    const collect = (more: Partial<DeadCollectorOptions> = {}) => {
      const letters = new DeadLetters({ pool, log, retry })
      const collector = new DeadCollector({
        ...{ url: rabbit.url, exchange, letters, log, retry, heartbeatS: 1 },
        ...options,
        ...more,
      })
      t.teardown(async () => {
        await collector.stop()
        await letters.stop()
      })
      return collector
    }
    t.teardown(() => pool.stop())
    const rows = async () => (await pool.query('SELECT * FROM livemessage.dead ORDER BY id')).rows
    const kept = async (howMany: number) => {
      await until(`${howMany} letters`, async () => (await rows()).length >= howMany)
      return rows()
    }
    const publisher = async (): Promise<ConfirmChannel> => {
      const model = await connect(rabbit.url)
      model.on('error', (error) => t.comment(String(error)))
      t.teardown(() => model.close())
      return model.createConfirmChannel()
    }
    const left = async (): Promise<number> => {
      const { messageCount } = await (await publisher()).checkQueue(dead)
      return messageCount
    }
    const source = () => {
      const heard = record()
      const queues = [{ subsystem: 'chat', queue: `${exchange}.chat` }]
      const source = createAmqpSource({ url: rabbit.url, exchange, queues, log, retry })
      t.teardown(() => source.stop())
      return source.start(heard)
    }
    return { collect, rows, kept, publisher, left, lines, exchange, dead, source }
  }

  const headers = (n: number): Options.Publish => ({
    headers: {
      'x-livemessage-id': randomUUID(),
      'x-livemessage-reason': 'failed',
      'x-livemessage-attempts': n,
    },
  })

  await t.test('what a source gives up is in the table, with all that a replay needs', async (t) => {
    const { collect, kept, publisher, exchange, source, left } = await open(t)
    await source()
    const channel = await publisher()
    const table = {
      list: [1, 'two', { three: 3 }],
      nested: { deep: { deeper: true, none: null } },
      bytes: Buffer.from([0, 255]),
      when: { '!': 'timestamp', value: 1_700_000_000 },
      nul: 'a\0b',
      big: 2 ** 40,
      half: 0.5,
    }
    const bodies: [Buffer, Options.Publish, string][] = [
      [Buffer.from('no JSON'), { messageId: 'm1', appId: 'app', contentType: 'text/plain' }, 'general'],
      [Buffer.from([0xff, 0x00, 0xfe]), { headers: table }, 'general'],
      [
        Buffer.from('nul \0 nul'),
        { priority: 3, correlationId: 'c', type: 'say', timestamp: 1_700_000_000 },
        'a.b',
      ],
      [Buffer.alloc(5 * 1024 * 1024, 'x'), {}, 'large'],
    ]
    for (const [body, options, rest] of bodies) channel.publish(exchange, `chat.${rest}`, body, options)
    await channel.waitForConfirms()
    const collector = collect()
    await collector.start()
    const rows = await kept(4)
    for (const [index, row] of rows.entries()) {
      const body = bodyOf(row['body'] as string, row['body_base64'] as boolean)
      t.ok(bodies[index]?.[0].equals(Buffer.from(body ?? '')), `body ${index}`)
      t.match(row, {
        source: 'amqp',
        subsystem: 'chat',
        name: `chat.${bodies[index]?.[2]}`,
        letter: /^[0-9a-f-]{36}$/,
      })
    }
    t.match(rows[0], {
      code: 'bad_payload',
      reason: /not JSON/,
      channel: 'chat:general',
      attempts: 1,
      headers: null,
      properties: { messageId: 'm1', appId: 'app', contentType: 'text/plain', exchange },
    })
    t.match(rows[3], { code: 'too_large' })
    const { headers: original } = encodeOriginal(
      {
        ...decodeLetter({ fields: { routingKey: 'x' }, properties: {}, content: Buffer.from('') } as never),
        headers: jsonOf(rows[1]?.['headers']),
      },
      exchange,
    ).options
    t.same(original, table, 'the headers are what they were')
    t.same(rows[2]?.['properties'], {
      ...{
        priority: 3,
        correlationId: 'c',
        type: 'say',
        timestamp: 1_700_000_000,
        exchange,
        deliveryMode: 2,
      },
    })
    await until('an empty queue', async () => (await left()) === 0)
  })

  await t.test('letters that the broker itself gives up come with its reason', async (t) => {
    const { collect, kept, publisher, exchange, dead } = await open(t)
    await collect().start()
    const channel = await publisher()
    await channel.assertExchange(exchange, 'topic', { durable: true })
    await channel.assertQueue(`${exchange}.short`, {
      arguments: { 'x-dead-letter-exchange': dead, 'x-message-ttl': 1 },
    })
    await channel.bindQueue(`${exchange}.short`, exchange, 'tasks.#')
    channel.publish(exchange, 'tasks.1', Buffer.from('1'), { headers: { mine: 1 } })
    const [row] = await kept(1)
    t.match(row, {
      code: 'expired',
      reason: `the broker gave it up in queue ${exchange}.short: expired`,
      name: 'tasks.1',
      channel: 'tasks:1',
      headers: { mine: 1 },
      properties: { exchange },
      letter: /./,
    })
  })

  // PostgreSQL dies twice while a thousand letters are collected: each is there once, in order.
  await t.test('a database that is killed under it loses nothing and doubles nothing', async (t) => {
    const { collect, rows, kept, publisher, dead, left, lines } = await open(t, { prefetch: 20 })
    const collector = collect()
    await collector.start()
    const channel = await publisher()
    for (let n = 0; n < 1000; n++) channel.publish(dead, 'chat.a', Buffer.from(String(n)), headers(n))
    await channel.waitForConfirms()
    for (const enough of [50, 400]) {
      await kept(enough)
      await server.kill()
      await server.restart()
    }
    await kept(1000)
    await until('an empty queue', async () => (await left()) === 0)
    t.same(
      (await rows()).map((row) => row['body']),
      Array.from({ length: 1000 }, (_value, n) => String(n)),
    )
    const told = lines.filter(({ msg }) => msg.startsWith('dead letters come in'))
    t.equal(told.length, 1, 'one line for a thousand')
  })

  // The connection dies again and again between a commit and its acknowledgement.
  await t.test('a connection that is cut doubles nothing', async (t) => {
    const { collect, rows, kept, publisher, dead, left } = await open(t)
    const proxy = await startProxy(t, rabbit.url)
    const channel = await publisher()
    await collect({ url: proxy.url(rabbit.url), batchBytes: 10 }).start()
    for (let n = 0; n < 500; n++) channel.publish(dead, 'chat.a', Buffer.from(String(n)), headers(n))
    for (const enough of [50, 150, 300]) {
      await kept(enough)
      proxy.cut()
    }
    await kept(500)
    await until('an empty queue', async () => (await left()) === 0)
    const bodies = (await rows()).map((row) => Number(row['body']))
    t.same(new Set(bodies).size, bodies.length)
    t.equal(bodies.length, 500)
  })

  await t.test('several nodes share the letters', async (t) => {
    const { collect, rows, kept, publisher, dead } = await open(t, { prefetch: 5 })
    await Promise.all([collect().start(), collect().start()])
    const channel = await publisher()
    for (let n = 0; n < 300; n++) channel.publish(dead, 'chat.a', Buffer.from(String(n)), headers(n))
    await kept(300)
    const bodies = (await rows()).map((row) => Number(row['body'])).sort((a, b) => a - b)
    t.same(
      bodies,
      Array.from({ length: 300 }, (_value, n) => n),
    )
  })

  await t.test('a queue that is deleted is declared again', async (t) => {
    const { collect, kept, publisher, dead, lines } = await open(t)
    await collect().start()
    const channel = await publisher()
    await channel.deleteQueue(dead)
    await until('a new one', () => lines.some(({ msg }) => msg === 'dead letters are collected again'))
    channel.publish(dead, 'chat.a', Buffer.from('1'), headers(1))
    await kept(1)
  })

  await t.test('a queue of another kind that is there already is taken as it is', async (t) => {
    const { collect, kept, publisher, dead } = await open(t)
    const channel = await publisher()
    await channel.assertQueue(dead, { durable: true })
    await collect().start()
    channel.publish(dead, 'chat.a', Buffer.from('1'), headers(1))
    await kept(1)
  })

  await t.test('headers that nobody can write do not hold up their queue', async (t) => {
    const { collect, kept, publisher, exchange, source } = await open(t)
    await source()
    await collect().start()
    const channel = await publisher()
    // A table with the key `!`, as other clients send it: amqplib writes it where the property is an inherited one, and
    // takes what it reads for a type.
    const inner: unknown = Object.create({ '!': 'int64', value: 'no number' })
    channel.publish(exchange, 'chat.a', Buffer.from('no JSON'), { headers: { inner } })
    const [row] = await kept(1)
    t.match(row, { code: 'bad_payload', body: 'no JSON', headers: null })
  })

  await t.test('a stop in an outage of the database ends, and the letters wait in the queue', async (t) => {
    const { collect, publisher, dead, left } = await open(t)
    const collector = collect()
    await collector.start()
    await server.kill()
    const channel = await publisher()
    channel.publish(dead, 'chat.a', Buffer.from('1'), headers(1))
    await channel.waitForConfirms()
    await collector.stop()
    await until('it is back in the queue', async () => (await left()) === 1)
    await server.restart()
  })
}
