import { once } from 'node:events'
import { connect as tcpConnect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { connect } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth, SECRET, startParts, token } from './both.ts'

onBoth('10,000 frames at once: what is allowed is handled, then an error and 4451', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { framesPerSecond: 500 } })
  const other = await connect(t, daemon)
  const client = await connect(t, daemon)
  for (let id = 0; id < 10_000; id++) client.send({ type: 'ping', id })
  t.match(await client.closed, { code: 4451 })
  const pongs = client.rest('pong').length
  t.ok(pongs >= 500 && pongs < 2000, `${pongs} were handled`)
  t.match(client.frames.at(-1), { type: 'error', code: 'rate_limited' })
  t.match(await other.ask({ type: 'ping' }), { type: 'pong' })
})

onBoth('too many calls a second are refused, each, and the connection goes on', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: { chat: { echo: (input: unknown) => input }, live: {} },
    limits: { callsPerSecond: 1, callBurst: 5 },
  })
  const client = await connect(t, daemon)
  for (let id = 0; id < 10; id++) {
    client.send(
      id % 2 === 0
        ? { type: 'call', id, action: 'chat.echo' }
        : { type: 'publish', id, channel: 'chat:a', data: 1 },
    )
  }
  client.send({ type: 'ping', id: 10 })
  await client.next({ id: 10 })
  t.equal(client.rest('reply').length, 5)
  t.match(
    client.rest('error').map((frame) => frame['code']),
    Array.from({ length: 5 }, () => 'rate_limited'),
  )
})

onBoth('too many calls under way are refused until some are answered', async (t, start) => {
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: { chat: { slow: async () => held }, live: {} },
    limits: { pendingCalls: 3 },
  })
  const client = await connect(t, daemon)
  for (let id = 0; id < 4; id++) client.send({ type: 'call', id, action: 'chat.slow' })
  t.match(await client.next(), { type: 'error', id: 3, code: 'limit_exceeded' })
  release()
  for (let id = 0; id < 3; id++) t.match(await client.next(), { type: 'reply', id })
  t.match(await client.ask({ type: 'call', action: 'chat.slow' }), { type: 'reply' })
})

onBoth('too many subscriptions are refused; one again, or in place of another, is not', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { subscriptions: 2, channelLength: 20 } })
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  await client.subscribe('live:b')
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:c' }), { code: 'limit_exceeded' })
  await client.subscribe('chat:a')
  await client.ask({ type: 'unsubscribe', channel: 'chat:a' })
  await client.subscribe('chat:c')
  t.match(await client.ask({ type: 'subscribe', channel: `chat:${'x'.repeat(16)}` }), { type: 'error' })
  await client.ask({ type: 'unsubscribe', channel: 'chat:c' })
  t.match(await client.ask({ type: 'subscribe', channel: `chat:${'x'.repeat(16)}` }), {
    code: 'unknown_channel',
  })
  const url = await connect(t, daemon, { query: { channel: ['chat:a', 'chat:b', 'chat:c'] } })
  t.match(await url.next(), { type: 'error', code: 'limit_exceeded' })
  t.match(await url.closed, { code: 4451 })
})

onBoth(
  'more connections than the limit are refused at the upgrade with 503, until some leave',
  async (t, start) => {
    const daemon = await start({ ...CHANNELS, limits: { connections: 3 } })
    const clients = [await connect(t, daemon), await connect(t, daemon), await connect(t, daemon)]
    await t.rejects(connect(t, daemon), { message: /503/ })
    await clients[0]!.close()
    await connect(t, daemon)
    t.equal(daemon.daemon.counts.errors.get('upgrade.unavailable'), 1)
  },
)

onBoth('too many connections of one address get an error and 4451; others come in', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    trustedProxies: ['127.0.0.1'],
    limits: { connectionsPerAddress: 2 },
  })
  const from = (address: string) =>
    connect(t, daemon, { headers: { 'X-Forwarded-For': address }, paused: true })
  const first = [await from('203.0.113.5'), await from('203.0.113.5')]
  const third = await from('203.0.113.5')
  third.resume()
  t.match(await third.next(), { type: 'error', code: 'limit_exceeded' })
  t.match(await third.closed, { code: 4451 })
  const other = await from('203.0.113.6')
  other.resume()
  t.match(await other.next(), { type: 'welcome' })
  first[0]!.resume()
  await first[0]!.close()
  await until('it is gone', () => daemon.daemon.hub!.size === 2)
  const again = await from('203.0.113.5')
  again.resume()
  t.match(await again.next(), { type: 'welcome' })
})

onBoth('frames that wait for a slow hook are bounded, empty and binary ones too', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: { chat: { subscribe: () => new Promise<boolean>(() => undefined) }, live: {} },
    limits: { bufferBytes: 64 * 1024, framesPerSecond: 1_000_000 },
  })
  for (const frame of [Buffer.alloc(0), '{}', JSON.stringify({ type: 'ping', x: 'x'.repeat(8000) })]) {
    const client = await connect(t, daemon)
    client.send({ type: 'subscribe', channel: 'chat:a' })
    for (let count = 0; count < 1100; count++) client.send(frame)
    t.match(await client.next({ type: 'error' }), { code: 'rate_limited', message: /wait/ })
    t.match(await client.closed, { code: 4451 })
  }
})

onBoth(
  '2,000 connections that came and went in every ugly way leave nothing behind',
  async (t, _start, listener) => {
    let connects = 0
    const parts = await startParts(t, {
      ...CHANNELS,
      listener,
      trustedProxies: ['127.0.0.1'],
      auth: { jwt: { secret: SECRET } },
      limits: { connectionsPerAddress: 10, bufferBytes: 64 * 1024 },
      ACTIONS: {
        chat: {
          subscribe: async ({ rest }: { rest: string }) => {
            if (rest === 'slow') await sleep(20)
            return rest !== 'shut'
          },
          slow: async () => sleep(30),
          leave: (_input: unknown, { connection }: { connection: { disconnect(): void } }) =>
            connection.disconnect(),
        },
        live: {},
      },
      hooks: {
        connect: async () => {
          if (++connects % 5 === 0) await sleep(5)
          if (connects % 7 === 0) throw new Error('not this one')
        },
        disconnect: async () => sleep(1),
      },
    })
    const jwt = await token('42')
    const ways: ((socket: WebSocket) => void)[] = [
      (socket) => socket.close(1000),
      (socket) => socket.terminate(),
      (socket) => socket.send('rubbish'),
      (socket) => socket.send(Buffer.alloc(10)),
      (socket) => socket.send('x'.repeat(80_000)),
      (socket) => {
        socket.send('{"type":"subscribe","channel":"chat:a","last":10}')
        socket.send('{"type":"authenticate","token":"bad"}')
      },
      (socket) => {
        socket.send(`{"type":"authenticate","token":"${jwt}"}`)
        socket.send('{"type":"subscribe","channel":"chat:slow"}')
        socket.send('{"type":"subscribe","channel":"live:a"}')
        setTimeout(() => socket.terminate(), 5)
      },
      (socket) => {
        for (let count = 0; count < 20; count++) socket.send('{"type":"call","id":1,"action":"chat.slow"}')
        socket.close()
      },
      (socket) => {
        socket.send('{"type":"subscribe","channel":"live:a"}')
        socket.send('{"type":"call","action":"chat.leave"}')
      },
      (socket) => {
        socket.send('{"type":"subscribe","channel":"chat:a"}')
        ;(socket as unknown as { _socket: Socket })._socket.resetAndDestroy()
      },
      (socket) => {
        for (let count = 0; count < 1500; count++) socket.send('{"type":"ping"}')
      },
    ]
    const queries = [
      '',
      `?token=${jwt}`,
      '?token=bad',
      '?channel=chat:a&last=5',
      '?channel=chat:shut',
      `?channel=live:a&channel=chat:slow&token=${jwt}`,
    ]
    const one = async (index: number): Promise<void> => {
      const headers = { 'X-Forwarded-For': `203.0.113.${index % 40}` }
      const socket = new WebSocket(parts.ws + queries[index % queries.length]!, { headers })
      socket.on('error', () => undefined)
      const closed = new Promise((resolve) => socket.once('close', resolve))
      if (index % 13 === 0) setTimeout(() => socket.terminate(), 1)
      else socket.once('open', () => ways[index % ways.length]!(socket))
      // A refused one, and a few ways, leave it open.
      const timer = setTimeout(() => socket.terminate(), 300)
      await closed
      clearTimeout(timer)
    }
    for (let from = 0; from < 2000; from += 100) {
      await Promise.all(Array.from({ length: 100 }, (_value, index) => one(from + index)))
    }
    const half: Socket[] = []
    for (let count = 0; count < 50; count++) {
      const socket = tcpConnect(parts.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write('GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgr')
      half.push(socket)
    }
    await Promise.all(half.map((socket) => once(socket, 'connect')))
    await until('the hub is empty', () => parts.hub.size === 0)
    for (const socket of half) socket.destroy()
    await until('hooks have ended', () => parts.deadlines.size === 0)
    await sleep(50)
    // One that was cut off before it was accepted may come this late.
    await until(
      'the late ones have gone',
      () => parts.hub.size === 0 && parts.transports.websocket.addresses === 0,
    )
    t.equal(parts.hub.channels.size, 0)
    t.equal(parts.hub.of('42').length, 0)
    t.equal(parts.deadlines.size, 0)
    t.equal(parts.transports.websocket.addresses, 0)
    for (const channel of ['chat:a', 'live:a', 'chat:slow']) t.equal(parts.listener.subscribers(channel), 0)
  },
)

onBoth(
  'a user has one rate for all its connections and its requests, others have theirs',
  async (t, start) => {
    const daemon = await start({
      ACTIONS: { chat: { echo: (input: unknown) => input } },
      channels: { chat: { access: 'public', publish: 'public' } },
      auth: { jwt: { secret: SECRET } },
      limits: { userCallsPerSecond: 1, userCallBurst: 6 },
    })
    const [ann, bob] = [await token('ann'), await token('bob')]
    const [one, two] = [await connect(t, daemon, { token: ann }), await connect(t, daemon, { token: ann })]
    for (const client of [one, two]) for (let call = 0; call < 3; call++) await client.call('chat.echo', call)
    for (const client of [one, two]) await t.rejects(client.call('chat.echo'), { code: 'rate_limited' })
    const call = (jwt: string) =>
      fetch(`${daemon.url}/call/chat/echo`, { method: 'POST', headers: { Authorization: `Bearer ${jwt}` } })
    t.equal((await call(ann)).status, 429)
    t.equal((await call(bob)).status, 200)
    t.equal((await one.ask({ type: 'publish', channel: 'chat:a', data: 1 }))['code'], 'rate_limited')
    const nobody = await connect(t, daemon)
    for (let index = 0; index < 10; index++)
      t.match(await nobody.ask({ type: 'publish', channel: 'chat:a', data: 1 }), { type: 'reply' })
    t.ok(Number(daemon.daemon.counts.errors.get('client.rate_limited')) >= 3)
  },
)
