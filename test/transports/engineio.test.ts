import t from 'tap'
import type { ActionContext } from '../../src/registry/define.ts'
import type { EngineIoLink } from '../../src/transports/engineio/link.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { until, within } from '../support/wait.ts'
import { onBoth, SECRET, token } from './both.ts'
import { connectEngine, dialEngine } from './engineio-client.ts'
import { Raw } from './engineio-raw.ts'
import { connectTo, WAYS } from './socketio-client.ts'

const CONFIG: TestConfig = {
  ACTIONS: {
    chat: {
      sum: { access: 'public', handle: (data: number[]) => data.reduce((sum, one) => sum + one, 0) },
      ask: {
        access: 'public',
        handle: async (_data: unknown, context: ActionContext) => context.connection!.emitWithAck('why', [1]),
      },
      leave: {
        access: 'public',
        handle: (_data: unknown, context: ActionContext) => context.connection!.disconnect('enough', 4000),
      },
    },
  },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 100_000, maxAge: '1d' }, presence: true },
    live: { access: 'public', publish: 'public' },
  },
  engineio: {},
} as unknown as TestConfig

const RAW: TestConfig = {
  ACTIONS: {
    echo: {
      message: {
        access: 'public',
        handle: (data: string | Buffer, context: ActionContext) => {
          const { connection } = context
          if (data === 'fail') throw new Error('a secret')
          if (data === 'all') return context.emit({ channel: 'echo:all' }, 'message', [Buffer.from([7, 8])])
          if (data === 'others') connection!.broadcast('message', 'to others')
          connection!.emit('noise', 'not said')
          connection!.emit('message', 'two', 'arguments')
          connection!.emit('message', { no: 'text' })
          return connection!.send(data)
        },
      },
    },
  },
  channels: { echo: { access: 'public', publish: 'public' } },
  engineio: { subsystem: 'echo' },
} as unknown as TestConfig

for (const transports of WAYS) {
  onBoth(`${transports.join(' then ')}: the whole protocol, as over a raw WebSocket`, async (t, start) => {
    const daemon = await start(CONFIG)
    const options = { transports: [...transports] }
    const one = await connectEngine(t, daemon, options)
    const two = await connectEngine(t, daemon, options)
    const raw = await connect(t, daemon)
    const welcome = await one.next('welcome')
    t.match(welcome, { session: String, user: null, ping: 25_000 })
    const here = daemon.daemon.hub!.get(welcome.session)!
    t.equal(here.transport, 'engineio')
    t.not(one.socket.id, welcome.session, "the connection's own id opens it to others: nobody is told")
    t.match(await one.ask({ type: 'call', action: 'chat.sum', data: [1, 2, 3] }), { type: 'reply', data: 6 })
    for (const client of [one, two, raw]) {
      t.match(await client.ask(SUBSCRIBE), { type: 'subscribed', channel: 'chat:a' })
    }
    const said = await one.ask({ type: 'publish', channel: 'chat:a', data: { text: 'hi €' }, exclude: true })
    t.match(said, { type: 'reply', data: { id: /-1$/ } })
    t.match(await two.next('message'), { channel: 'chat:a', data: { text: 'hi €' } })
    await daemon.publish('chat:a', 2)
    t.match(await one.next('message'), { data: 2 })
    t.match(await two.next('message'), { data: 2 })
    t.equal(one.all('message').length, 0, 'not to the sender')
    t.match(await one.ask({ type: 'presence', channel: 'chat:a' }), { data: { count: 3 } })
    t.match(await one.ask({ type: 'history', channel: 'chat:a', last: 1 }), {
      data: { messages: [{ data: 2 }] },
    })
    const asking = one.ask({ type: 'call', action: 'chat.ask' })
    const event = await one.next('event')
    one.say({ type: 'ack', id: event.id, args: ['because'] })
    t.match(await asking, { data: ['because'] })
    t.match(await one.ask({ type: 'nonsense' }), { type: 'error', code: 'unknown_type' })
    const since = { query: { channel: 'chat:a', since: said.data.id } }
    const back = await connectEngine(t, daemon, { ...options, ...since })
    t.match(await back.next('subscribed'), { recovered: true, messages: [{ data: 2 }] })
    one.socket.close()
    await until('it has gone', () => daemon.daemon.hub!.size === 3)
    two.say({ type: 'call', action: 'chat.leave' })
    t.match(await two.next('close'), { code: 4000, reason: 'enough' })
    await two.ended()
  })
}

const SUBSCRIBE = { type: 'subscribe', channel: 'chat:a' }

onBoth(
  'over to the WebSocket: each publication once and in order, whatever is under way',
  async (t, start) => {
    const daemon = await start(CONFIG)
    const clients = await Promise.all(
      Array.from({ length: 20 }, () =>
        connectEngine(t, daemon, { transports: ['polling', 'websocket'], query: { channel: 'chat:x' } }),
      ),
    )
    await until('all are on it', () => daemon.daemon.hub!.channels.get('chat:x') === 20)
    for (let n = 0; n < 300; n++) {
      await daemon.publish('chat:x', n)
      if (n % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await until('all are WebSockets', () =>
      clients.every(
        ({ socket }) => (socket as unknown as { transport: { name: string } }).transport.name === 'websocket',
      ),
    )
    await daemon.publish('chat:x', 300)
    for (const client of clients) {
      const told = (): readonly unknown[] => client.all('message').map(({ data }) => data as unknown)
      await until('all messages', () => told().length >= 301)
      t.strictSame(
        told(),
        Array.from({ length: 301 }, (_, n) => n),
      )
    }
  },
)

onBoth(
  'who one is: a token in the query, a header, a frame; where one must be known, in time',
  async (t, start) => {
    const daemon = await start({
      ...CONFIG,
      auth: { jwt: { secret: SECRET }, required: true },
      limits: { authenticationMs: 1500 },
    })
    const good = await token('42')
    const byQuery = await connectEngine(t, daemon, { query: { token: good } })
    t.match(await byQuery.next('welcome'), { user: '42' })
    const byHeader = await connectEngine(t, daemon, {
      transports: ['polling'],
      extraHeaders: { Authorization: `Bearer ${good}` },
    })
    t.match(await byHeader.next('welcome'), { user: '42' })
    const later = await connectEngine(t, daemon)
    t.match(await later.ask(SUBSCRIBE), { type: 'error', code: 'unauthenticated' })
    t.match(await later.ask({ type: 'authenticate', token: good }), { data: { user: '42' } })
    const never = await connectEngine(t, daemon, { transports: ['polling'] })
    t.match(await never.next('close'), { code: 4452 })
    await never.ended()
    const wrong = await connectEngine(t, daemon, { query: { token: 'wrong' } })
    t.match(await wrong.next('error'), { code: 'unauthenticated' })
    t.match(await wrong.next('close'), { code: 4401 })
    t.equal(later.socket.readyState, 'open')
  },
)

onBoth('origins, addresses, rates: the limits of all clients', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    origins: ['https://app.example'],
    trustedProxies: ['127.0.0.1'],
    limits: { connectionsPerAddress: 2, framesPerSecond: 50 },
  })
  const from = (address: string, more = {}): object => ({
    extraHeaders: { 'X-Forwarded-For': address, ...more },
  })
  await t.rejects(connectEngine(t, daemon, from('203.0.113.1', { Origin: 'https://evil.example' })))
  const first = await connectEngine(t, daemon, from('203.0.113.5'))
  t.equal(daemon.daemon.hub!.get((await first.next('welcome')).session)!.address, '203.0.113.5')
  await connectEngine(t, daemon, { ...from('203.0.113.5'), transports: ['polling'] })
  const third = await connectEngine(t, daemon, from('203.0.113.5'))
  t.match(await third.next('error'), { code: 'limit_exceeded' })
  t.match(await third.next('close'), { code: 4451 })
  const flood = await connectEngine(t, daemon, from('203.0.113.6'))
  for (let n = 0; n < 100; n++) flood.say({ type: 'ping' })
  t.match(await flood.next('error'), { code: 'rate_limited' })
  t.match(await flood.next('close'), { code: 4451 })
  const pongs = new Raw(t, `${daemon.url.replace('http', 'ws')}/engine.io/?EIO=4&transport=websocket`)
  await pongs.next()
  for (let n = 0; n < 100; n++) pongs.socket.send('3')
  await pongs.end()
  first.socket.close()
  await until('its place is free', async () => {
    const again = await connectEngine(t, daemon, from('203.0.113.5'))
    return until('its first frame', () => again.came[0]).then((frame) => String(frame).includes('welcome'))
  })
  t.equal(daemon.daemon.counts.errors.get('upgrade.forbidden'), 1)
})

onBoth('frames that are none: told, counted, and closed as on a raw WebSocket', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { frameBytes: 10_000 } })
  const witness = await connectEngine(t, daemon)
  for (const wrong of ['', 'no JSON', '[]', 'null', Buffer.from('{"type":"ping"}')]) {
    const client = await connectEngine(t, daemon)
    await client.next('welcome')
    client.socket.send(wrong)
    t.match(await client.next('error'), { code: 'bad_frame' })
    t.match(await client.next('close'), { code: 4400 })
    await client.ended()
  }
  const large = await connectEngine(t, daemon)
  large.socket.send('x'.repeat(20_000))
  await large.ended()
  const polling = await connectEngine(t, daemon, { transports: ['polling'] })
  const body = await fetch(`${daemon.url}/engine.io/?EIO=4&transport=polling&sid=${polling.socket.id}`, {
    method: 'POST',
    body: '4'.repeat(20_000),
  })
  t.equal(body.status, 413)
  await polling.ended()
  t.match(await witness.ask({ type: 'ping' }), { type: 'pong' })
  await until('they have gone', () => daemon.daemon.hub!.size === 1)
  t.equal(daemon.daemon.counts.errors.get('client.bad_frame'), 5)
  t.equal(daemon.daemon.counts.errors.get('client.too_large'), 1)
})

onBoth('who reads too slowly is closed, and nobody else loses anything', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { bufferBytes: 64 * 1024, publicationBytes: 16 * 1024 } })
  const fast = await connectEngine(t, daemon, { query: { channel: 'live:x' } })
  const url = `${daemon.url}/engine.io/?EIO=4&channel=live:x`
  await (await fetch(`${url}&transport=polling`)).text()
  const slow = new Raw(t, `${url.replace('http', 'ws')}&transport=websocket`)
  await slow.opened()
  await until('all are on it', () => daemon.daemon.hub!.channels.get('live:x') === 3)
  slow.socket.pause()
  const pad = 'x'.repeat(10_000)
  let published = 0
  await until('the slow ones are gone', async () => {
    for (let n = 0; n < 5; n++, published++) {
      daemon.daemon.hub!.deliver('live:x', `{"channel":"live:x","data":"${pad}","time":${published}}`)
    }
    await until('the fast one has them', () => fast.all('message').length === published)
    return daemon.daemon.hub!.size === 1
  })
  t.equal(daemon.daemon.counts.closes.get(4450), 2)
  t.strictSame(
    fast.all('message').map(({ time }) => time as number),
    Array.from({ length: published }, (_, n) => n),
  )
})

/** Which of the ways never has a WebSocket. */
const POLLING = WAYS.findIndex((ways) => !ways.includes('websocket'))

onBoth('a stop tells everyone when to come back', async (t, start) => {
  const daemon = await start(CONFIG)
  const clients = await Promise.all(WAYS.map((ways) => connectEngine(t, daemon, { transports: [...ways] })))
  for (const client of clients) await client.next('welcome')
  // Whoever polls has asked again, whoever goes over has done so: in between nobody can be told.
  await new Promise((resolve) => setTimeout(resolve, 200))
  await Promise.all([
    daemon.stop('restart'),
    ...clients.map(async (client, way) => {
      t.match(await client.next('reconnect'), { reason: 'restart' })
      // Who polls had one answer left: there may be no other.
      if (way !== POLLING) t.match(await client.next('close'), { code: 1012 })
    }),
  ])
  await Promise.all(clients.map((client) => client.ended()))
})

for (const transports of WAYS) {
  onBoth(
    `${transports.join(' then ')}: messages of the application's own, text and binary`,
    async (t, start) => {
      const daemon = await start(RAW)
      const one = await connectEngine(t, daemon, {
        transports: [...transports],
        query: { channel: 'echo:all' },
      })
      const two = await connectEngine(t, daemon, {
        transports: [...transports],
        query: { channel: 'echo:all' },
      })
      await until('both are there', () => daemon.daemon.hub!.channels.get('echo:all') === 2)
      const large = 'x'.repeat(50_000)
      for (const said of ['hello', '', '{"type":"ping"}', Buffer.from([1, 2, 3]), large]) {
        one.socket.send(said)
        await until('it comes back', () => one.came.length === 1)
        t.same(one.came.shift(), said)
      }
      await daemon.publish('echo:all', 'publications have no form here')
      one.socket.send('fail')
      one.socket.send('others')
      await until('the others have it', () => two.came.length === 1)
      t.equal(two.came.shift(), 'to others')
      two.socket.send('all')
      for (const { came } of [one, two])
        await until('all have it', () => came.some((data) => Buffer.isBuffer(data)))
      t.same(two.came, [Buffer.from([7, 8])])
      t.same(one.came, ['others', Buffer.from([7, 8])])
      t.ok([...daemon.daemon.counts.errors.keys()].some((key) => key.endsWith('internal')))
      await daemon.stop()
      await one.ended()
      t.equal(one.came.length, 2, 'nothing was said of the end')
    },
  )
}

onBoth('clients without binary get it as base64, those beside them do not', async (t, start) => {
  const daemon = await start(RAW)
  const url = `${daemon.url.replace('http', 'ws')}/engine.io/?EIO=4&transport=websocket&channel=echo:all`
  const plain = new Raw(t, `${url}&b64=1`)
  const other = new Raw(t, url)
  for (const raw of [plain, other]) await raw.next()
  await until('both are there', () => daemon.daemon.hub!.channels.get('echo:all') === 2)
  plain.socket.send('4all')
  t.equal(await plain.next(), 'bBwg=')
  t.same(await other.next(), Buffer.from([7, 8]))
})

onBoth('beside Socket.IO, each at its own path', async (t, start, kind) => {
  const daemon = await start({ ...CONFIG, engineio: { path: '/eio' } })
  const engine = await connectEngine(t, daemon, { path: '/eio/' })
  const socket = await connectTo(t, daemon, '/chat')
  await engine.ask(SUBSCRIBE)
  await socket.ask('subscribe', 'a')
  const raw = await connect(t, daemon)
  await raw.ask(SUBSCRIBE)
  await daemon.publish('chat:a', 'to all three')
  t.match(await engine.next('message'), { data: 'to all three' })
  const { link } = [...daemon.daemon.hub!].find(({ transport }) => transport === 'engineio')!
  t.equal((link as EngineIoLink).subscribeNative('probe'), kind === 'uws', 'topics are those of uWS')
  t.match(await socket.next('message'), [{ data: 'to all three' }])
  await raw.next({ type: 'message' })
  const nowhere = new Raw(t, `${daemon.url.replace('http', 'ws')}/nowhere?EIO=4&transport=websocket`)
  await nowhere.end()
})

void t.test('what is not said is not served', async (t) => {
  const daemon = await startDaemon(t, {})
  t.equal((await fetch(`${daemon.url}/engine.io/?EIO=4&transport=polling`)).status, 404)
  const client = dialEngine(t, daemon)
  await within('the refusal', client.ended())
})
