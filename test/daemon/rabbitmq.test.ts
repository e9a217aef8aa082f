import { connect as connectBroker } from 'amqplib'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { ClientError } from '../../src/protocol/codes.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { install, project } from '../support/installation.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'

// A RabbitMQ that is down, dies, and comes back; and what may come by AMQP. One broker, for each takes 7 s.

const skip = rabbitSkip()

t.setTimeout(120_000)

t.test('RabbitMQ and the daemon', { skip, timeout: 120_000 }, async (t) => {
  const [rabbit, it] = await Promise.all([startRabbit(t), install(t)])
  const proxy = await startProxy(t, rabbit.url)
  const config: TestConfig = {
    broker: { url: proxy.url(rabbit.url), maxAttempts: 3 },
    channels: { chat: { access: 'public', history: { count: 100 } }, mail: { access: 'public' } },
    ACTIONS: { mail: { sender: { route: (notification: { data: unknown }) => route(notification) } } },
  }
  let route = (_notification: { data: unknown }): string => 'mail:a'
  const cwd = await project(t, {
    'livemessages.config.js': `export default {
      ACTIONS: {}, postgres: false, broker: { url: '${rabbit.url}' },
      channels: { chat: {}, news: {} },
    }`,
  })
  const publish = (channel: string, json: string, ...more: string[]) =>
    it.run(['publish', channel, json, '--amqp', ...more], { cwd })

  proxy.refuse()
  const daemon = await startDaemon(t, config)
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')

  await t.test('down at start: it starts and says so; up: it works', async (t) => {
    t.match(await readyz(daemon), { status: 503, down: ['bus rabbitmq', 'amqp'] })
    t.equal((await fetch(`${daemon.url}/readyz?scope=node`)).status, 200)
    t.match(await publish('chat:a', '1'), { code: 3, stderr: /BROKER_UNREACHABLE: no queue takes chat\.a/ })
    proxy.accept()
    await ready(daemon)
    t.match(await publish('chat:a', '{"n":1}'), { code: 0, stdout: 'confirmed\n' })
    t.match(await client.next({ type: 'message' }), { data: { n: 1 } })
  })

  await t.test(
    'what is no publication: a dead letter with its reason, counted; the next one arrives',
    async (t) => {
      const broker = await connectBroker(rabbit.url)
      t.teardown(() => broker.close())
      const channel = await broker.createConfirmChannel()
      const wrong: readonly (readonly [key: string, body: string, code: string])[] = [
        ['chat.a', 'not JSON', 'bad_payload'],
        ['chat.a b', '1', 'bad_channel'],
        ['chat', '1', 'unknown_channel'],
      ]
      for (const [key, body] of wrong) channel.publish('livemessages', key, Buffer.from(body))
      channel.publish('livemessages', 'chat.a', Buffer.from('{"n":2}'))
      await channel.waitForConfirms()
      t.match(await client.next({ type: 'message' }), { data: { n: 2 } })
      for (const [key, body, code] of wrong) {
        const letter = await until(
          'a dead letter',
          async () => (await channel.get('livemessages.dead', { noAck: true })) || null,
        )
        t.equal(letter.content.toString(), body)
        t.match(letter.properties.headers, {
          'x-livemessage-reason': code,
          'x-livemessage-message': /.{10}/,
          'x-livemessage-routing-key': key,
        })
      }
      const refused = daemon.lines.filter(({ msg }) => msg === 'notification refused')
      t.match(
        refused.map(({ code }) => code),
        wrong.map(([, , code]) => code),
      )
      t.match(await metrics(daemon), 'livemessages_errors_total{code="amqp.bad_payload"} 1')
    },
  )

  await t.test(
    'a sender that fails is tried again in its place; one that always does, in vain',
    async (t) => {
      const broker = await connectBroker(rabbit.url)
      t.teardown(() => broker.close())
      const channel = await broker.createConfirmChannel()
      await client.subscribe('mail:a')
      let deadlocks = 1
      route = ({ data }) => {
        if (data === 'poison' || (data === 'unlucky' && deadlocks-- > 0)) throw new Error('deadlock detected')
        return 'mail:a'
      }
      for (const body of ['unlucky', 'next', 'poison', 'last']) {
        channel.publish('livemessages', 'mail', Buffer.from(JSON.stringify(body)))
      }
      await channel.waitForConfirms()
      for (const data of ['unlucky', 'next', 'last']) {
        t.match(await client.next({ type: 'message' }), { channel: 'mail:a', data })
      }
      const letter = await channel.get('livemessages.dead', { noAck: true })
      t.match(letter && { body: letter.content.toString(), headers: letter.properties.headers }, {
        body: '"poison"',
        headers: {
          'x-livemessage-reason': 'failed',
          'x-livemessage-message': 'mail.sender (inline) failed: deadlock detected',
          'x-livemessage-attempts': 3,
        },
      })
      t.equal(await channel.get('livemessages.dead', { noAck: true }), false, 'no other')
      await ready(daemon)
    },
  )

  await t.test('the database is away for a sender: its queue is told, and waits', async (t) => {
    const broker = await connectBroker(rabbit.url)
    t.teardown(() => broker.close())
    const channel = await broker.createConfirmChannel()
    let database = false
    route = () => {
      if (!database) throw new ClientError('unavailable', 'the database is away')
      return 'mail:a'
    }
    channel.publish('livemessages', 'mail', Buffer.from('"patient"'))
    await channel.waitForConfirms()
    const reason = await until('red', async () => {
      const body = await (await fetch(`${daemon.url}/readyz`)).json()
      const { parts } = body as { parts: { name: string; reason: string | null }[] }
      return parts.find(({ name }) => name === 'amqp')?.reason
    })
    t.match(reason, /queue livemessages\.mail is held up by its first message: the database is away/)
    database = true
    t.match(await client.next({ type: 'message' }), { channel: 'mail:a', data: 'patient' })
    await ready(daemon)
  })

  await t.test(
    'killed, and back: what came before, meanwhile and after arrives',
    { skip: !rabbit.own },
    async (t) => {
      // RabbitMQ 3.10 writes a new queue's registration to disk up to a second later: killed before, the queue never
      // finds a leader again.
      await delay(2000)
      await rabbit.kill()
      await until('red', async () => (await readyz(daemon)).status === 503)
      t.match(await readyz(daemon), { down: ['bus rabbitmq', 'amqp'] })
      t.equal((await daemon.publish('chat:a', 'meanwhile')).status, 200)
      t.match(await client.next({ type: 'message' }), { data: 'meanwhile' })
      t.match(await publish('chat:a', '1'), { code: 3, stderr: /BROKER_UNREACHABLE: no connection/ })
      await rabbit.restart()
      // Into the queue, whether the daemon is back already or not.
      t.match(await publish('chat:a', '"after"', '--idempotency-key', 'x'), { code: 0 })
      t.match(await publish('chat:a', '"after"', '--idempotency-key', 'x'), { code: 0 })
      t.match(await publish('chat:a', '"and on"'), { code: 0 })
      t.match(await client.next({ type: 'message' }), { data: 'after' })
      t.match(await client.next({ type: 'message' }), { data: 'and on' }, 'the same key only once')
      await ready(daemon)
      const count = (text: string): number => daemon.lines.filter(({ msg }) => msg === text).length
      t.equal(count('source is down, trying on'), 3, 'at the start, for the sender, and now')
      t.equal(count('source is back'), 3)
      t.equal(daemon.daemon.counts.sourceGaps, 0, 'queues keep what comes')
    },
  )

  await t.test("a reload: a new subsystem's queue is consumed", async (t) => {
    await daemon.reload({ ...config, channels: { ...config.channels, news: { access: 'public' } } })
    await client.subscribe('news:a')
    t.match(await publish('news:a', '"new"'), { code: 0 })
    t.match(await client.next({ type: 'message' }), { channel: 'news:a', data: 'new' })
  })
})

async function readyz(daemon: TestDaemon): Promise<{ status: number; down: string[] }> {
  const response = await fetch(`${daemon.url}/readyz`)
  const { parts } = (await response.json()) as { parts: { name: string; state: string }[] }
  return {
    status: response.status,
    down: parts.filter(({ state }) => state === 'down').map(({ name }) => name),
  }
}

async function ready(daemon: TestDaemon): Promise<void> {
  await until('green', async () => (await readyz(daemon)).status === 200)
}

async function metrics({ url }: { readonly url: string }): Promise<string> {
  return (await fetch(`${url}/metrics`)).text()
}
