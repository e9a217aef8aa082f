import { connect } from 'amqplib'
import type { ChannelModel, Options } from 'amqplib'
import t from 'tap'
import type { Test } from 'tap'
import { ClientError } from '../../src/protocol/codes.ts'
import { createAmqpPublisher } from '../../src/sources/amqp-publisher.ts'
import { createAmqpSource } from '../../src/sources/amqp.ts'
import type { AmqpSourceOptions } from '../../src/sources/amqp.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { testSource } from './contract.ts'
import { record, recordLog } from './recorder.ts'

// A broker takes seconds to start, and a heartbeat to be missed.
t.setTimeout(180_000)

const skip = rabbitSkip()
if (skip) t.plan(0, skip)
else await suite()

async function suite(): Promise<void> {
  const rabbit = await startRabbit(t)
  const run = `test${process.pid}-${Date.now()}`
  let count = 0
  const fresh = (): string => `${run}-${++count}`

  /** A connection of the test's own, to say and see what no source would. */
  const operator = async (t: Test): Promise<ChannelModel> => {
    const model = await connect(rabbit.url)
    model.on('error', (error) => t.comment(String(error)))
    t.teardown(() => model.close())
    return model
  }

  /** Takes what the queue holds. */
  const letters = async (t: Test, queue: string, howMany: number) => {
    const model = await operator(t)
    const taken: { body: string; headers: Record<string, unknown>; messageId: unknown }[] = []
    await until(`${howMany} in ${queue}`, async () => {
      // One for each attempt: a queue that is not there closes it.
      const channel = await model.createChannel()
      channel.on('error', (error) => t.comment(String(error)))
      const message = await channel.get(queue, { noAck: true })
      await channel.close()
      if (message) {
        const { headers = {}, messageId } = message.properties
        taken.push({ body: message.content.toString(), headers, messageId })
      }
      return taken.length >= howMany
    })
    return taken
  }

  const make = (t: Test, options: Partial<AmqpSourceOptions> = {}) => {
    const exchange = options.exchange ?? fresh()
    const heard = record()
    const { log, lines } = recordLog()
    const source = createAmqpSource({
      url: rabbit.url,
      exchange,
      queues: [{ subsystem: 'chat', queue: `${exchange}.chat` }],
      log,
      retry: { minMs: 10, maxMs: 100 },
      heartbeatS: 1,
      ...options,
    })
    t.teardown(() => source.stop())
    const say = async (key: string, body: string | Buffer, props: Options.Publish = {}): Promise<void> => {
      const model = await connect(rabbit.url)
      const channel = await model.createConfirmChannel()
      channel.publish(exchange, key, Buffer.from(body), props)
      await channel.waitForConfirms()
      await model.close()
    }
    return { source, heard, lines, exchange, say, dead: `${exchange}.dead` }
  }

  void t.test('contract', async (t) => {
    testSource(t, {
      url: rabbit.url,
      keeps: true,
      noticedMs: 4_000,
      // RabbitMQ 3.10 writes a new quorum queue's registration to disk up to a second later: killed before, the
      // queue never finds a leader again (rabbitmq-server#10070 is about the same state).
      server: rabbit.own
        ? { settleMs: 2_000, kill: () => rabbit.kill(), restart: () => rabbit.restart() }
        : null,
      create: ({ url, retry, log, stallMs = 5_000 }) => {
        const exchange = fresh()
        const source = createAmqpSource({
          url,
          exchange,
          queues: [{ subsystem: 'chat', queue: `${exchange}.chat` }],
          log,
          retry,
          stallMs,
          heartbeatS: 1,
          connectMs: 2_000,
          closeMs: 200,
        })
        const say = async (...texts: string[]): Promise<void> => {
          const publisher = await createAmqpPublisher({ url: rabbit.url, exchange })
          for (const text of texts) await publisher.publish('chat:general', text)
          await publisher.close()
        }
        return { source, channel: 'chat:general', say }
      },
    })
  })

  void t.test('routing key and header name the channel, message-id becomes the key', async (t) => {
    const { source, heard, say } = make(t)
    await source.start(heard)
    await say('chat.room.a:1@b=', '1')
    await say('chat', '2')
    await say('chat.ignored', '3', {
      headers: { channel: 'chat:named', more: 'x' },
      messageId: 'm1',
      appId: 'shop',
    })
    await until('all', () => heard.data.length === 3)
    t.match(heard.notifications, [
      { source: 'amqp', name: 'chat.room.a:1@b=', channel: 'chat:room.a:1@b=', data: 1 },
      { subsystem: 'chat', data: 2, channel: undefined },
      { channel: 'chat:named', key: 'amqp:shop:m1', headers: { more: 'x' } },
    ])
  })

  void t.test('what can be no notification is dead-lettered with its reason and its body', async (t) => {
    const { source, heard, say, dead, exchange } = make(t)
    await source.start(heard)
    const cases: [string, string, string | Buffer, Options.Publish?][] = [
      [
        'bad_payload',
        'chat.a',
        '{"half":',
        { messageId: 'm7', expiration: 60_000, headers: { mine: 'kept' } },
      ],
      ['bad_payload', 'chat.a', Buffer.from([0x22, 0xff, 0x22])],
      ['bad_payload', 'chat.a', ''],
      ['foreign_channel', 'chat.a', '1', { headers: { channel: 'tasks:1' } }],
      ['bad_channel', 'chat.a', '2', { headers: { channel: 'no channel' } }],
      ['bad_channel', 'chat.', '3'],
      ['bad_channel', 'chat.ü', '4'],
    ]
    for (const [, key, body, props] of cases) await say(key, body, props)
    await say('chat.a', '"good"')
    await until('the good one', () => heard.data.length === 1)
    t.same(
      heard.rejects.map(({ code }) => code),
      cases.map(([code]) => code),
    )
    const found = await letters(t, dead, cases.length)
    t.same(
      found.map(({ headers }) => headers['x-livemessage-reason']),
      cases.map(([code]) => code),
    )
    t.match(found[0], {
      body: '{"half":',
      messageId: 'm7',
      headers: {
        mine: 'kept',
        'x-livemessage-message': /JSON/,
        'x-livemessage-exchange': exchange,
        'x-livemessage-routing-key': 'chat.a',
        'x-livemessage-attempts': 1,
        'x-livemessage-time': Number,
      },
    })
    t.match(found[3]?.headers['x-livemessage-message'], /tasks:1.*chat/)
  })

  void t.test('headers too large to be sent on with ours are left behind, the letter is not', async (t) => {
    const { source, heard, say, dead } = make(t)
    await source.start(heard)
    await say('chat.a', 'no JSON', { headers: { huge: 'x'.repeat(65_300) } })
    const [letter] = await letters(t, dead, 1)
    t.match(letter, { body: 'no JSON', headers: { 'x-livemessage-reason': 'bad_payload', huge: undefined } })
  })

  void t.test('what fails for a while is tried on in place, and nothing overtakes it', async (t) => {
    const { source, heard, say } = make(t, { maxAttempts: 5 })
    let attempts = 0
    heard.handle = async ({ data }) => {
      if (data === 1 && ++attempts < 5) throw new Error('not yet')
    }
    await source.start(heard)
    for (const body of ['0', '1', '2', '3']) await say('chat.a', body)
    await until('all', () => heard.data.length === 4)
    t.same(heard.data, [0, 1, 2, 3])
    t.equal(attempts, 5)
    t.same(heard.rejects, [])
  })

  void t.test('poison is dead-lettered after its attempts, and those behind it arrive', async (t) => {
    const { source, heard, say, dead } = make(t, { maxAttempts: 3 })
    let attempts = 0
    heard.handle = ({ data }) => {
      if (data !== 1) return
      attempts++
      throw new Error('poison')
    }
    await source.start(heard)
    for (const body of ['1', '2']) await say('chat.a', body)
    await until('the second', () => heard.data.length === 1)
    t.equal(attempts, 3)
    t.match(heard.rejects, [{ code: 'failed', message: 'poison', place: 'chat.a' }])
    t.match(await letters(t, dead, 1), [{ body: '1', headers: { 'x-livemessage-attempts': 3 } }])
  })

  void t.test('unacknowledged when the connection is cut: it comes again, in its order', async (t) => {
    const proxy = await startProxy(t, rabbit.url)
    const { source, heard, say, exchange } = make(t, { url: proxy.url(rabbit.url) })
    const seen: unknown[] = []
    let open = (): void => {}
    const gate = new Promise<void>((resolve) => (open = resolve))
    heard.handle = ({ data }) => {
      seen.push(data)
      return seen.length === 1 ? gate : undefined
    }
    await source.start(heard)
    for (const body of ['1', '2', '3', '4']) await say('chat.a', body)
    await until('the first in hand', () => seen.length === 1)
    proxy.cut()
    await until('up again', () => heard.states.length === 3 && source.state === 'up')
    await say('chat.a', '5')
    t.same(seen, [1], 'the next one waits for the one in hand')
    open()
    await until('all', () => heard.data.length === 6)
    t.same(heard.data, [1, 1, 2, 3, 4, 5])
    await source.stop()
    const channel = await (await operator(t)).createChannel()
    t.match(await channel.checkQueue(`${exchange}.chat`), { messageCount: 0 }, 'all are acknowledged')
  })

  void t.test('up to prefetch are in hand; only an unbroken run of those kept is acknowledged', async (t) => {
    const { source, heard, say, exchange } = make(t, { prefetch: 4, drainMs: 50 })
    const keep: (() => void)[] = []
    heard.handle = () => ({ kept: new Promise((resolve) => keep.push(resolve)) })
    await source.start(heard)
    for (const body of ['0', '1', '2', '3', '4', '5']) await say('chat.a', body)
    await until('as many as it may', () => keep.length === 4)
    for (const index of [1, 2]) keep[index]?.()
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.same(heard.data, [0, 1, 2, 3], 'acknowledgements of later ones wait for the first')
    keep[0]?.()
    await until('the next', () => keep.length === 6)
    t.same(heard.data, [0, 1, 2, 3, 4, 5])
    keep[5]?.()
    await source.stop()
    const next = make(t, { exchange })
    await next.source.start(next.heard)
    await until('what was not acknowledged', () => next.heard.data.length === 3)
    t.same(next.heard.data, [3, 4, 5], 'the last was kept, those before it were not')
  })

  void t.test('many are on their way at once: the queue is as fast as the journal', async (t) => {
    const { source, heard, exchange } = make(t)
    heard.handle = () => ({ kept: new Promise((resolve) => setTimeout(resolve, 20)) })
    await source.start(heard)
    const publisher = await createAmqpPublisher({ url: rabbit.url, exchange })
    t.teardown(() => publisher.close())
    const began = Date.now()
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => publisher.publish('chat:a', String(i))))
    await until('all', () => heard.data.length === 1_000)
    t.ok(Date.now() - began < 10_000, `one at a time it would take 20 s, took ${Date.now() - began} ms`)
    t.same(
      heard.data,
      Array.from({ length: 1_000 }, (_, i) => i),
    )
  })

  void t.test('bodies on their way are bounded: the next one waits for room', async (t) => {
    const { source, heard, say } = make(t, { maxInHandBytes: 2_000 })
    const keep: (() => void)[] = []
    heard.handle = () => ({ kept: new Promise((resolve) => keep.push(resolve)) })
    await source.start(heard)
    for (let i = 0; i < 4; i++) await say('chat.a', JSON.stringify('x'.repeat(1_000)))
    await until('two', () => keep.length === 2)
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.equal(keep.length, 2)
    keep[1]?.()
    await until('the third', () => keep.length === 3)
    for (const one of keep) one()
    await until('the fourth', () => keep.length === 4)
    keep[3]?.()
  })

  void t.test('a body over its limit is a dead letter, and is not looked at', async (t) => {
    const { source, heard, say, dead } = make(t, { maxBodyBytes: () => 100 })
    await source.start(heard)
    await say('chat.a', '{'.repeat(101))
    await say('chat.a', '"good"')
    await until('the good one', () => heard.data.length === 1)
    t.match(await letters(t, dead, 1), [{ headers: { 'x-livemessage-reason': 'too_large' } }])
  })

  void t.test('what the journal refuses is dead-lettered before any behind it is acknowledged', async (t) => {
    const { source, heard, say, exchange, dead } = make(t, { drainMs: 50 })
    const channel = await (await operator(t)).createChannel()
    await source.start(heard)
    const full = `${exchange}-full`
    await channel.assertQueue(full, { arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' } })
    channel.sendToQueue(full, Buffer.from('"in the way"'))
    await until('full', async () => (await channel.checkQueue(full)).messageCount === 1)
    await channel.bindQueue(full, dead, '#')
    heard.handle = ({ data }) => ({
      kept: data === 1 ? Promise.reject(new ClientError('conflict', 'another body')) : Promise.resolve(),
    })
    for (const body of ['1', '2']) await say('chat.a', body)
    await until('both', () => heard.data.length === 2)
    await until('down', () => source.state === 'down')
    await source.stop()
    await until('both to be back', async () => {
      return (await channel.checkQueue(`${exchange}.chat`)).messageCount === 2
    })
    await channel.deleteQueue(full)
  })

  void t.test('after a cut, what was in hand is waited for before it is handed over again', async (t) => {
    const proxy = await startProxy(t, rabbit.url)
    const { source, heard, say } = make(t, { url: proxy.url(rabbit.url) })
    const keep: (() => void)[] = []
    heard.handle = () => ({ kept: new Promise((resolve) => keep.push(resolve)) })
    await source.start(heard)
    for (const body of ['1', '2']) await say('chat.a', body)
    await until('both in hand', () => keep.length === 2)
    proxy.cut()
    await until('up again', () => heard.states.length === 3 && source.state === 'up')
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.equal(keep.length, 2)
    for (const one of keep) one()
    await until('both again', () => keep.length === 4)
    t.same(heard.data, [1, 2, 1, 2])
    t.equal(heard.notifications[0]?.patience, 'wait')
    for (const one of keep) one()
  })

  void t.test(
    'one that ends the process is alone in hand when it comes back: those before it are acknowledged',
    async (t) => {
      const exchange = fresh()
      const declared = make(t, { exchange })
      await declared.source.start(declared.heard)
      await declared.source.stop()
      for (const body of ['1', '2', '3']) await declared.say('chat.a', body)
      for (let i = 0; i < 3; i++) {
        const model = await connect(rabbit.url)
        model.on('error', () => {})
        const channel = await model.createChannel()
        await new Promise<void>((resolve, reject) => {
          let taken = 0
          channel.consume(`${exchange}.chat`, () => ++taken === 3 && resolve()).catch(reject)
        })
        await model.close()
      }
      const { source, heard } = make(t, { exchange, drainMs: 50 })
      const keep: (() => void)[] = []
      heard.handle = () => ({ kept: new Promise((resolve) => keep.push(resolve)) })
      await source.start(heard)
      await until('the first', () => keep.length === 1)
      await new Promise((resolve) => setTimeout(resolve, 50))
      t.same(heard.data, [1], 'nothing else is in hand')
      keep[0]?.()
      await until('the second', () => keep.length === 2)
      const channel = await (await operator(t)).createChannel()
      t.equal((await channel.checkQueue(`${exchange}.chat`)).messageCount, 0)
      await source.stop()
      await until('two are back', async () => {
        return (await channel.checkQueue(`${exchange}.chat`)).messageCount === 2
      })
    },
  )

  void t.test('cut again and again with a message in hand, it is nobody’s failed attempt', async (t) => {
    const proxy = await startProxy(t, rabbit.url)
    const { source, heard, say } = make(t, { url: proxy.url(rabbit.url), maxAttempts: 2 })
    let journal = false
    let calls = 0
    heard.handle = () => {
      calls++
      if (!journal) throw new ClientError('unavailable', 'no journal')
    }
    await source.start(heard)
    await say('chat.a', '1')
    // It is up, or was, for three failures soon call it held up; what it got may be handed on before it says so.
    const consumes = (): boolean => source.state === 'up' || (source.reason?.includes('held up') ?? false)
    for (let i = 1; i <= 4; i++) {
      const before = calls
      await until(`an attempt on connection ${i}`, () => proxy.accepted >= i && consumes() && calls > before)
      proxy.cut()
      await until('it is noticed', () => !consumes() || proxy.accepted > i)
    }
    journal = true
    await until('it', () => heard.data.length === 1)
    t.same(heard.rejects, [])
  })

  void t.test(
    'a message that ends the process each time is dead-lettered, those delivered with it are not',
    async (t) => {
      const exchange = fresh()
      const declared = make(t, { exchange })
      await declared.source.start(declared.heard)
      await declared.source.stop()
      for (const body of ['1', '2', '3']) await declared.say('chat.a', body)
      // A process that takes them and dies, three times over.
      for (let i = 0; i < 3; i++) {
        const model = await connect(rabbit.url)
        model.on('error', () => {})
        const channel = await model.createChannel()
        await new Promise<void>((resolve, reject) => {
          let taken = 0
          channel.consume(`${exchange}.chat`, () => ++taken === 3 && resolve()).catch(reject)
        })
        await model.close()
      }
      const { source, heard, dead } = make(t, { exchange, maxDeliveries: 3 })
      await source.start(heard)
      await until('those behind it', () => heard.data.length === 2)
      t.same(heard.data, [2, 3])
      t.match(await letters(t, dead, 1), [
        { body: '1', headers: { 'x-livemessage-reason': 'redelivered_too_often' } },
      ])
    },
  )

  void t.test('orderly restarts in an outage are nobody’s failed attempt', async (t) => {
    const exchange = fresh()
    const before = make(t, { exchange })
    await before.source.start(before.heard)
    await before.source.stop()
    await before.say('chat.a', '1')
    for (let i = 0; i < 4; i++) {
      const { source, heard } = make(t, { exchange, maxAttempts: 2 })
      let calls = 0
      heard.handle = () => {
        calls++
        throw new ClientError('unavailable', 'no database')
      }
      await source.start(heard)
      await until('an attempt', () => calls > 0)
      await source.stop()
      t.same(heard.rejects, [])
    }
    const { source, heard } = make(t, { exchange, maxAttempts: 2 })
    await source.start(heard)
    await until('it', () => heard.data.length === 1)
  })

  void t.test('a broker that refuses the dead letter holds up its queue, and nothing is lost', async (t) => {
    const { source, heard, say, exchange, dead } = make(t)
    const channel = await (await operator(t)).createChannel()
    await source.start(heard)
    // Bound beside the dead letters' own queue, it makes the broker refuse what both should take.
    const full = `${exchange}-full`
    await channel.assertQueue(full, { arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' } })
    channel.sendToQueue(full, Buffer.from('"in the way"'))
    await until('full', async () => (await channel.checkQueue(full)).messageCount === 1)
    await channel.bindQueue(full, dead, '#')
    await say('chat.a', 'no JSON')
    await say('chat.a', '2')
    await until('down', () => source.state === 'down')
    t.match(source.reason, new RegExp(`${exchange}.chat is held up.*${dead} does not take its dead letter`))
    t.same(heard.data, [], 'those behind it wait')
    t.same(heard.rejects, [])
    await channel.unbindQueue(full, dead, '#')
    await until('the next one', () => heard.data.length === 1)
    t.equal(heard.rejects.length, 1)
    await until('up', () => source.state === 'up')
    t.match(await letters(t, dead, 1), [{ body: 'no JSON' }])
    await channel.deleteQueue(full)
  })

  void t.test(
    'a queue declared otherwise stops its subsystem, with the way out; the others go on',
    async (t) => {
      const exchange = fresh()
      const model = await operator(t)
      const channel = await model.createChannel()
      await channel.assertQueue(`${exchange}.tasks`, { durable: true })
      const queues = ['chat', 'tasks'].map((subsystem) => ({ subsystem, queue: `${exchange}.${subsystem}` }))
      const { source, heard, lines, say } = make(t, { exchange, queues })
      await source.start(heard)
      t.equal(source.state, 'down')
      t.match(source.reason, new RegExp(`tasks.*exists with other arguments.*quorum.*delete it`))
      await say('chat.a', '1')
      await until('the other subsystem', () => heard.data.length === 1)
      t.equal(lines.length, 1)
      await channel.deleteQueue(`${exchange}.tasks`)
      await until('up', () => source.state === 'up')
    },
  )

  void t.test('a queue of the user’s own name is taken as it is', async (t) => {
    const exchange = fresh()
    const channel = await (await operator(t)).createChannel()
    await channel.assertQueue(`${exchange}-legacy`, { durable: true })
    channel.sendToQueue(`${exchange}-legacy`, Buffer.from('"straight to the queue"'))
    const { source, heard, say } = make(t, {
      exchange,
      queues: [{ subsystem: 'chat', queue: `${exchange}-legacy` }],
    })
    await source.start(heard)
    t.equal(source.state, 'up')
    await say('chat.a', '2')
    await until('both', () => heard.data.length === 2)
    t.match(heard.notifications, [{ subsystem: 'chat' }, { channel: 'chat:a' }])
    await channel.deleteQueue(`${exchange}-legacy`)
    await until('it to be there again', () => heard.gaps === 1 && source.state === 'up')
  })

  void t.test('a deleted queue is declared again, and the gap is told', async (t) => {
    const { source, heard, exchange, say } = make(t)
    await source.start(heard)
    const channel = await (await operator(t)).createChannel()
    await channel.deleteQueue(`${exchange}.chat`)
    await until('the gap', () => heard.gaps === 1)
    await until('up again', () => source.state === 'up')
    await say('chat.a', '1')
    await until('a message', () => heard.data.length === 1)
    t.same(heard.states, ['up', 'down', 'up'])
  })

  void t.test(
    'a dead-letter queue that is gone is declared again before anything is acknowledged',
    async (t) => {
      const { source, heard, say, dead } = make(t)
      await source.start(heard)
      const channel = await (await operator(t)).createChannel()
      await channel.deleteQueue(dead)
      await say('chat.a', 'no JSON')
      t.match(await letters(t, dead, 1), [{ body: 'no JSON' }])
      t.equal(heard.rejects.length, 1, 'counted once')
    },
  )

  void t.test('queues come and go on the open connection', async (t) => {
    const { source, heard, exchange, say } = make(t)
    await source.start(heard)
    await source.setQueues([{ subsystem: 'tasks', queue: `${exchange}.tasks` }])
    t.equal(source.state, 'up')
    await say('chat.a', '1')
    await say('tasks.a', '2')
    await until('the second', () => heard.data.length === 1)
    t.match(heard.notifications, [{ channel: 'tasks:a' }])
    await source.setQueues([{ subsystem: 'chat', queue: `${exchange}.chat` }])
    await until('what the queue kept', () => heard.data.length === 2)
    t.match(heard.notifications[1], { channel: 'chat:a', data: 1 })
    t.same(heard.states, ['up'])
  })

  void t.test('one node consumes at a time; when it stops, the other goes on, in order', async (t) => {
    const exchange = fresh()
    const one = make(t, { exchange, prefetch: 10 })
    const two = make(t, { exchange, prefetch: 10 })
    const order: unknown[] = []
    one.heard.handle = async ({ data }) => {
      await new Promise((resolve) => setTimeout(resolve, 1))
      order.push(data)
    }
    two.heard.handle = ({ data }) => void order.push(data)
    await one.source.start(one.heard)
    await two.source.start(two.heard)
    const publisher = await createAmqpPublisher({ url: rabbit.url, exchange })
    t.teardown(() => publisher.close())
    await Promise.all(Array.from({ length: 200 }, (_, i) => publisher.publish('chat:a', String(i))))
    await until('some at the first', () => one.heard.data.length > 20)
    await one.source.stop()
    await until('all', () => order.length === 200)
    t.same(
      order,
      Array.from({ length: 200 }, (_, i) => i),
      'each once, in order',
    )
    t.ok(two.heard.data.length > 0)
  })

  void t.test('the publisher says when nobody takes the message, or the broker is away', async (t) => {
    const publisher = await createAmqpPublisher({ url: rabbit.url, exchange: fresh() })
    t.teardown(() => publisher.close())
    await t.rejects(publisher.publish('chat:a', '1'), {
      code: 'BROKER_UNREACHABLE',
      message: /no queue takes/,
    })
    const proxy = await startProxy(t, rabbit.url)
    proxy.refuse()
    const options = { url: proxy.url(rabbit.url), exchange: fresh(), connectMs: 300 }
    await t.rejects(createAmqpPublisher(options), { code: 'BROKER_UNREACHABLE', message: /127\.0\.0\.1/ })
    proxy.accept()
    proxy.blackhole(true)
    await t.rejects(createAmqpPublisher(options), { message: /no answer within 300 ms/ })
    await until('nothing left', () => proxy.clients === 0)
  })

  void t.test('a channel too long for a routing key goes by the header', async (t) => {
    const subsystem = 's'.repeat(64)
    const exchange = fresh()
    const { source, heard } = make(t, {
      exchange,
      queues: [{ subsystem, queue: `${exchange}.${subsystem}` }],
    })
    await source.start(heard)
    const publisher = await createAmqpPublisher({ url: rabbit.url, exchange })
    t.teardown(() => publisher.close())
    const channel = `${subsystem}:${'r'.repeat(200)}`
    await publisher.publish(channel, '1', { messageId: 'm' })
    await until('it', () => heard.data.length === 1)
    t.match(heard.notifications, [{ channel, key: 'amqp::m' }])
  })
}
