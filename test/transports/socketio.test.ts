import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ClientError } from '../../src/protocol/codes.ts'
import type { ActionContext } from '../../src/registry/define.ts'
import type { SocketIoLink } from '../../src/transports/socketio/link.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { PYTHON_REQUESTS, PYTHON_SOCKETIO, PYTHON_WEBSOCKET, skipWithout } from '../support/packages.ts'
import { connect } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { onBoth, SECRET, token } from './both.ts'
import { connectTo, dial, type Told, WAYS } from './socketio-client.ts'

const run = promisify(execFile)

const CONFIG: TestConfig = {
  ACTIONS: {
    chat: {
      /** Publishes, and answers after it. */
      say: {
        access: 'public',
        handle: async (data: { n: number }, context: ActionContext) => {
          await context.publish('chat:general', data)
          return { said: data.n }
        },
      },
      sum: { access: 'public', handle: (data: number[]) => data.reduce((sum, one) => sum + one, 0) },
      new_game: { access: 'public', handle: (data: unknown) => ({ game: data ?? null }) },
      bytes: {
        access: 'public',
        handle: (data: Buffer, context: ActionContext) => {
          context.connection!.emit('echoed', { bytes: data })
          return { kind: Buffer.isBuffer(data) ? 'Buffer' : typeof data, bytes: data }
        },
      },
      fail: {
        access: 'public',
        handle: () => {
          throw new ClientError('conflict', 'not now', { at: 5 })
        },
      },
      throws: {
        access: 'public',
        handle: () => {
          throw new Error('a secret of the database')
        },
      },
      ask: {
        access: 'public',
        handle: async (data: unknown, context: ActionContext) =>
          context.connection!.emitWithAck('question', [data, 'why?']),
      },
      broadcast: {
        access: 'public',
        handle: (data: unknown, context: ActionContext) => context.connection!.broadcast('news', 'all', data),
      },
      tell: {
        access: 'public',
        handle: async (data: unknown, context: ActionContext) => {
          await context.emit({ channel: 'chat:general' }, 'told', [data], { exclude: 'me' })
        },
      },
      poll: {
        access: 'public',
        handle: (data: unknown, context: ActionContext) =>
          context.emit({ channel: 'chat:general' }, 'question', [data], { ack: { timeoutMs: 1500 } }),
      },
      reserved: {
        access: 'public',
        handle: (_data: unknown, context: ActionContext) => context.connection!.emit('disconnect'),
      },
    },
    live: {},
    secrets: {},
  },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 100_000, maxAge: '1d' }, presence: true },
    live: { access: 'public', publish: 'public' },
    secrets: { access: 'authenticated' },
  },
  limits: { callsPerSecond: 10_000, framesPerSecond: 100_000 },
} as unknown as TestConfig

for (const transports of WAYS) {
  onBoth(
    `${transports.join(' then ')}: calls with callbacks, publications, history, presence`,
    async (t, start) => {
      const daemon = await start(CONFIG)
      const one = await connectTo(t, daemon, '/chat', { transports: [...transports] })
      const two = await connectTo(t, daemon, '/chat', { transports: [...transports] })
      t.equal(await one.ask('sum', 1, 2, 3), 6, 'several arguments come as a list')
      t.strictSame(await one.ask('new game', { size: 3 }), { game: { size: 3 } }, 'spaces become _')
      t.strictSame(await one.ask('new game'), { game: null })
      t.match(await one.ask('subscribe', 'general'), {
        channel: 'chat:general',
        recovered: false,
        messages: [],
      })
      t.match(await two.ask('subscribe', { channel: 'chat:general' }), { channel: 'chat:general' })
      t.match(await one.ask('publish', 'general', { text: 'hi' }), { id: /-1$/ })
      for (const client of [one, two]) {
        const [message] = await client.next('message')
        t.match(message, { channel: 'chat:general', data: { text: 'hi' }, id: /-1$/, time: Number })
      }
      await one.ask('publish', { channel: 'general', data: 2, exclude: true })
      t.match(await two.next('message'), [{ data: 2 }])
      t.equal(one.came.filter(({ event }) => event === 'message').length, 1, 'not to the sender')
      t.match(await one.ask('history', 'general', { last: 1 }), { messages: [{ data: 2 }] })
      t.match(await one.ask('presence', 'general'), { count: 2, clients: [{ session: String }, {}] })
      t.ok(daemon.daemon.hub!.get(one.socket.id!), "the socket's id is the session")
      t.equal(await one.ask('unsubscribe', 'general'), null)
      t.strictSame(await one.ask('ping'), {})
      two.socket.emit('say', { n: 3 })
      t.match(await two.next('message'), [{ data: { n: 3 } }])
      await one.ask('sum', 1)
      t.equal(one.came.filter(({ event }) => event === 'message').length, 1, 'left')
      one.socket.close()
      await until('the client has gone', () => daemon.daemon.hub!.size === 1)
    },
  )

  onBoth(
    `${transports.join(' then ')}: what is published before an answer comes before it`,
    async (t, start) => {
      const daemon = await start(CONFIG)
      const client = await connectTo(t, daemon, '/chat', { transports: [...transports] })
      await client.ask('subscribe', 'general')
      const other = await connect(t, daemon)
      const noise = { stop: false }
      const made = (async () => {
        for (let n = 0; !noise.stop; n++)
          await other.ask({ type: 'publish', channel: 'chat:general', data: { noise: n } })
      })()
      const rounds = transports[0] === 'websocket' ? 300 : 100
      for (let n = 0; n < rounds; n++) {
        t.strictSame(await client.ask('say', { n }), { said: n })
        if (!client.came.some(({ args: [message] }) => message?.data?.n === n))
          t.fail(`${n} came after its answer`)
      }
      noise.stop = true
      await made
      const messages = client.came.filter(({ event }) => event === 'message').map(({ args }) => args[0])
      const positions = messages.map(({ id }) => Number(id.split('-')[1]))
      t.strictSame(
        positions,
        positions.map((_, index) => index + 1),
        'each once, in their order',
      )
      if (transports.length === 2) t.equal(client.socket.io.engine.transport.name, 'websocket')
    },
  )

  onBoth(
    `${transports.join(' then ')}: a client that was away gets what it missed, before what is live`,
    async (t, start) => {
      const daemon = await start(CONFIG)
      const first = await connectTo(t, daemon, '/chat', { transports: [...transports] })
      const { cursor } = await first.ask('subscribe', 'general')
      first.socket.close()
      const other = await connect(t, daemon)
      for (let n = 1; n <= 3000; n++)
        other.send({ type: 'publish', channel: 'chat:general', data: { n, pad: 'x'.repeat(300) } })
      await other.ask({ type: 'ping' })
      const again = dial(t, daemon, '/chat', {
        transports: [...transports],
        auth: { channels: ['general'], since: cursor },
      })
      for (let n = 3001; n <= 3500; n++) other.send({ type: 'publish', channel: 'chat:general', data: { n } })
      await again.connected()
      const [subscribed] = await again.next('subscribed')
      t.match(subscribed, { channel: 'chat:general', recovered: true })
      const all = await until('all of them', () => {
        const live = again.came.filter(({ event }) => event === 'message').map(({ args }) => args[0].data.n)
        const got = [...subscribed.messages.map((message: Told) => message.data.n), ...live]
        return got.length >= 3500 ? got : undefined
      })
      t.strictSame(
        all,
        Array.from({ length: 3500 }, (_, index) => index + 1),
      )
    },
  )
}

onBoth('a cursor of a journal that is no more proves nothing', async (t, start) => {
  const before = await start(CONFIG)
  const first = await connectTo(t, before, '/chat')
  const { cursor } = await first.ask('subscribe', 'general')
  await before.stop('restart')
  const after = await start(CONFIG)
  const again = await connectTo(t, after, '/chat', { auth: { channels: ['general'], since: cursor } })
  t.match(await again.next('subscribed'), [{ recovered: false, messages: [] }])
  const wrong: unknown = await connectTo(t, after, '/chat', { auth: { channels: 'no channel' } }).catch(
    (e) => e,
  )
  t.match(wrong, { data: { code: 'unknown_channel' } })
  const ended = await connectTo(t, after, '/chat', { auth: { channels: 'general', since: 'nonsense' } })
  t.match(await ended.next('error'), [{ code: 'invalid_input' }])
})

onBoth('events to a channel, to all but the sender, and with answers', async (t, start) => {
  const daemon = await start(CONFIG)
  const sender = await connectTo(t, daemon, '/chat')
  const others = await Promise.all(
    WAYS.map((transports) => connectTo(t, daemon, '/chat', { transports: [...transports] })),
  )
  for (const client of [sender, ...others]) await client.ask('subscribe', 'general')
  await sender.ask('broadcast', { to: 'others' })
  for (const client of others) t.strictSame(await client.next('news'), ['all', { to: 'others' }])
  await sender.ask('tell', Buffer.from([1, 2]))
  for (const client of others) t.same(await client.next('told'), [Buffer.from([1, 2])])
  const raw = await connect(t, daemon)
  await raw.subscribe('chat:general')
  await sender.ask('tell', 'text')
  t.match(await raw.next({ type: 'event' }), { event: 'told', args: ['text'] })
  for (const client of others) client.socket.on('question', (_data, answer) => answer('yes'))
  t.match(await sender.ask('poll', 1), { count: 5, answered: 3 })
  t.equal(sender.came.filter(({ event }) => event === 'news' || event === 'told').length, 0)
})

onBoth('errors: to the callback, or as the event error', async (t, start) => {
  const daemon = await start(CONFIG)
  const client = await connectTo(t, daemon, '/chat')
  t.strictSame(await client.ask('fail'), {
    error: { code: 'conflict', message: 'not now', details: { at: 5 } },
  })
  t.match(await client.ask('throws'), { error: { code: 'internal', message: /^(?!.*secret)/ } })
  t.match(await client.ask('nothing'), { error: { code: 'unknown_action' } })
  t.match(await client.ask('constructor'), { error: { code: 'unknown_action' } })
  t.match(await client.ask('__proto__'), { error: { code: 'unknown_action' } })
  t.match(await client.ask('subscribe', 'no channel'), { error: { code: 'unknown_channel' } })
  t.match(await client.ask('subscribe', 'secrets:x'), { error: { code: 'unauthenticated' } })
  t.match(await client.ask('subscribe'), { error: { code: 'invalid_input' } })
  client.socket.emit('fail')
  t.match(await client.next('error'), [{ code: 'conflict', details: { at: 5 } }])
  client.socket.emit('reserved')
  t.equal(await client.ask('sum', 1, 1), 2, 'an event that a client may not be sent is left out')
  const main = await connectTo(t, daemon, '/')
  t.equal(await main.ask('chat.sum', 1, 2), 3, 'in the main namespace actions have their whole names')
  t.match(await main.ask('subscribe', 'chat:general'), { channel: 'chat:general' })
  t.match(await main.ask('subscribe', 'general'), { error: { code: 'unknown_channel' } })
})

onBoth('binary and acknowledgements both ways', async (t, start) => {
  const daemon = await start(CONFIG)
  for (const transports of WAYS) {
    const client = await connectTo(t, daemon, '/chat', { transports: [...transports] })
    const bytes = Buffer.from([0, 1, 254, 255])
    t.same(await client.ask('bytes', bytes), { kind: 'Buffer', bytes })
    t.same(await client.next('echoed'), [{ bytes }])
    client.socket.on('question', (_data, _why, answer) => answer('because', 7))
    t.strictSame(await client.ask('ask', 5), ['because', 7])
  }
})

onBoth(
  'events that ask: binary too, and nothing is kept of those that nobody answers in time',
  async (t, start) => {
    const daemon = await start(CONFIG)
    const client = await connectTo(t, daemon, '/chat')
    const here = daemon.daemon.hub!.get(client.socket.id!)!
    const bytes = Buffer.from([1, 2])
    client.socket.on('binary', (data, answer) => answer([data]))
    const [answer] = await here.emitWithAck('binary', [bytes])
    t.match(answer, [{ type: 'Buffer', data: [1, 2] }])
    const held: (() => void)[] = []
    client.socket.on('later', (_n, answerLater) => held.push(() => answerLater('too late')))
    const errors = await Promise.all(
      [1, 2, 3].map((n) =>
        here.emitWithAck('later', [n], { timeoutMs: 50 }).catch((error: unknown) => error),
      ),
    )
    t.match(errors, [{ code: 'timeout' }, { code: 'timeout' }, { code: 'timeout' }])
    await until('all were asked', () => held.length === 3)
    for (const answerLater of held) answerLater()
    t.equal(await client.ask('sum', 1, 2), 3)
    t.equal(client.came.filter(({ event }) => event === 'error').length, 0, 'nothing is said of late answers')
    const { socket } = here.link as SocketIoLink
    t.equal((socket as unknown as { acks: Map<number, unknown> }).acks.size, 0)
  },
)

onBoth(
  'who it is: a token in auth, in the query, a wrong one, none where one is required',
  async (t, start) => {
    const daemon = await start({ ...CONFIG, auth: { jwt: { secret: SECRET } } })
    const client = await connectTo(t, daemon, '/secrets', { auth: { token: await token('42') } })
    t.match(await client.ask('subscribe', 'x'), { channel: 'secrets:x' })
    t.equal(daemon.daemon.hub!.get(client.socket.id!)!.user, '42')
    const byQuery = await connectTo(t, daemon, '/secrets', { query: { token: await token('43') } })
    t.equal(daemon.daemon.hub!.get(byQuery.socket.id!)!.user, '43')
    const wrong: unknown = await connectTo(t, daemon, '/secrets', { auth: { token: 'nonsense' } }).catch(
      (error) => error,
    )
    t.match(wrong, { message: String, data: { code: 'unauthenticated' } })
    const later = await connectTo(t, daemon, '/secrets')
    t.match(await later.ask('subscribe', 'x'), { error: { code: 'unauthenticated' } })
    t.match(await later.ask('authenticate', await token('44')), { user: '44' })
    t.match(await later.ask('subscribe', 'x'), { channel: 'secrets:x' })
    const required = await start({
      ...CONFIG,
      auth: { jwt: { secret: SECRET }, required: true },
      limits: { authenticationMs: 1500 },
    })
    const nobody = await connectTo(t, required, '/chat')
    t.match(await nobody.ask('sum', 1), { error: { code: 'unauthenticated' } })
    await nobody.ended()
    t.match(await nobody.next('close'), [{ code: 4452 }])
  },
)

onBoth('a stop tells clients when to come back, and they do', async (t, start) => {
  const daemon = await start(CONFIG)
  const client = await connectTo(t, daemon, '/chat', { reconnection: true })
  const ended = client.ended()
  await daemon.stop('restart')
  t.equal(await ended, 'transport close', 'which the library takes for a reason to come back')
  t.match(await client.next('reconnect'), [{ after: Number, reason: 'restart' }])
  t.match(await client.next('close'), [{ code: 1012, reason: 'restart' }])
})

onBoth('who is disconnected by a module stays away', async (t, start) => {
  const daemon = await start(CONFIG)
  const client = await connectTo(t, daemon, '/chat', { reconnection: true })
  const ended = client.ended()
  daemon.daemon.hub!.get(client.socket.id!)!.disconnect('go away')
  t.equal(await ended, 'io server disconnect')
  t.match(await client.next('close'), [{ code: 4405, reason: 'go away' }])
  await until('it has gone', () => daemon.daemon.hub!.size === 0)
})

for (const transport of ['polling', 'websocket']) {
  const skip = [PYTHON_SOCKETIO, PYTHON_REQUESTS, PYTHON_WEBSOCKET]
    .map((module) => skipWithout(module))
    .find(Boolean)
  void t.test(
    `${transport}: python-socketio, which nobody here wrote`,
    { skip: skip ?? false },
    async (t) => {
      const daemon = await startDaemon(t, CONFIG)
      const file = path.join(import.meta.dirname, 'socketio-client.py')
      const { stdout } = await run('/usr/bin/python3', [file, daemon.url, transport], { timeout: 20_000 })
      const lines = new Map(
        stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as [string, unknown]),
      )
      t.equal(lines.get('transport'), transport)
      t.equal(lines.get('sum'), 6)
      t.match(lines.get('error'), { error: { code: 'unknown_action' } })
      t.equal(lines.get('bytes'), '00ff')
      t.strictSame(lines.get('message'), { from: 'python' })
    },
  )
}
