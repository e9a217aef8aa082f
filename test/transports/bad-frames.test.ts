import { once } from 'node:events'
import { connect as tcpConnect, type Socket } from 'node:net'
import { randomBytes } from 'node:crypto'
import { connect } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth } from './both.ts'

onBoth('what is no JSON object closes with 4400, and nobody else is harmed', async (t, start) => {
  const daemon = await start(CHANNELS)
  const other = await connect(t, daemon)
  await other.subscribe('chat:a')
  const bad = [
    '',
    ' ',
    'nonsense',
    '{',
    '{"type":"ping"',
    '{"type":"ping"}{"type":"ping"}',
    'null',
    'true',
    '0',
    '"ping"',
    '[]',
    '[{"type":"ping"}]',
    '\ufeff{"type":"ping"}',
    '['.repeat(60_000),
    '{"a":'.repeat(12_000),
    Buffer.from('{"type":"ping"}'),
    Buffer.alloc(0),
  ]
  for (const frame of bad) {
    const client = await connect(t, daemon)
    client.send(frame)
    client.send({ type: 'publish', channel: 'chat:a', data: 'after a bad frame' })
    t.match(await client.next(), { type: 'error', id: undefined, code: 'bad_frame' })
    t.match(await client.closed, { code: 4400 })
    t.same(client.rest(), [])
  }
  await daemon.publish('chat:a', 'good')
  t.match(await other.next({ type: 'message' }), { data: 'good' })
  await until('all closed', () => daemon.daemon.hub!.size === 1)
  t.equal(daemon.daemon.counts.closes.get(4400), bad.length)
})

onBoth('a frame with a wrong field is refused by name, and the connection goes on', async (t, start) => {
  const daemon = await start({ ...CHANNELS, ACTIONS: { chat: { echo: () => 1 }, live: {} } })
  const client = await connect(t, daemon)
  const channel = 'chat:a'
  const cases: [object, string, RegExp?][] = [
    [{}, 'unknown_type'],
    [{ type: null }, 'unknown_type'],
    [{ type: ['ping'] }, 'unknown_type'],
    [{ type: { toString: 'ping' } }, 'unknown_type'],
    [{ type: 'x'.repeat(10_000) }, 'unknown_type'],
    [{ type: 'constructor' }, 'unknown_type'],
    [{ type: '__proto__' }, 'unknown_type'],
    [{ type: 'welcome' }, 'unknown_type'],
    [{ type: 'authenticate' }, 'invalid_input', /token/],
    [{ type: 'authenticate', token: 5 }, 'invalid_input', /token/],
    [{ type: 'subscribe' }, 'invalid_input', /channel/],
    [{ type: 'subscribe', channel: 5 }, 'invalid_input', /channel/],
    [{ type: 'subscribe', channel: ['chat:a'] }, 'invalid_input', /channel/],
    [{ type: 'subscribe', channel: '' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: 'chat' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: 'chat:' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: 'chat:a b' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: 'chat:a\n' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: `chat:${'x'.repeat(201)}` }, 'unknown_channel'],
    [{ type: 'subscribe', channel: '__proto__:a' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: 'constructor:a' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: 'hasOwnProperty:a' }, 'unknown_channel'],
    [{ type: 'subscribe', channel: 'none:a' }, 'unknown_channel'],
    [{ type: 'subscribe', channel, since: 5 }, 'invalid_input', /since/],
    [{ type: 'subscribe', channel, since: null }, 'invalid_input', /since/],
    [{ type: 'subscribe', channel, since: 'nonsense' }, 'invalid_input', /since/],
    [{ type: 'subscribe', channel, since: 'x-99999999999999999999' }, 'invalid_input', /since/],
    [{ type: 'subscribe', channel, since: 'x-1', last: 1 }, 'invalid_input', /since, last/],
    [{ type: 'subscribe', channel, last: -1 }, 'invalid_input', /last/],
    [{ type: 'subscribe', channel, last: 1.5 }, 'invalid_input', /last/],
    [{ type: 'subscribe', channel, last: '5' }, 'invalid_input', /last/],
    [{ type: 'subscribe', channel, last: 1e300 }, 'invalid_input', /last/],
    [{ type: 'unsubscribe', channel: {} }, 'invalid_input', /channel/],
    [{ type: 'history', channel, limit: 'all' }, 'invalid_input', /limit/],
    [{ type: 'publish', channel: 'chat', data: 1 }, 'unknown_channel'],
    [{ type: 'publish', channel: 'constructor:a', data: 1 }, 'unknown_channel'],
    [{ type: 'call' }, 'invalid_input', /action/],
    [{ type: 'call', action: ['chat.echo'] }, 'invalid_input', /action/],
    [{ type: 'call', action: '' }, 'unknown_action'],
    [{ type: 'call', action: 'chat' }, 'unknown_action'],
    [{ type: 'call', action: 'chat.none' }, 'unknown_action'],
    [{ type: 'call', action: 'chat.echo.x' }, 'unknown_action'],
    [{ type: 'call', action: 'chat.constructor' }, 'unknown_action'],
    [{ type: 'call', action: 'chat.__proto__' }, 'unknown_action'],
    [{ type: 'call', action: '__proto__.echo' }, 'unknown_action'],
    [{ type: 'call', action: 'hasOwnProperty' }, 'unknown_action'],
    [{ type: 'call', action: 'x'.repeat(50_000) }, 'unknown_action'],
  ]
  for (const [frame, code, message] of cases) {
    const answer = await client.ask({ ...frame })
    t.match(answer, { type: 'error', code, message: message ?? String }, JSON.stringify(frame).slice(0, 80))
    t.ok(JSON.stringify(answer).length < 500, 'a short answer')
  }
  t.match(await client.ask({ type: 'ping' }), { type: 'pong' })
})

onBoth('ids that could not be echoed as they came are refused', async (t, start) => {
  const client = await connect(t, await start(CHANNELS))
  for (const id of ['null', 'true', '[]', '{}', '9007199254740993', '1e400', `"${'x'.repeat(129)}"`]) {
    client.send(`{"type":"ping","id":${id}}`)
    t.match(await client.next(), { type: 'error', id: undefined, code: 'bad_frame', message: /^id:/ }, id)
  }
})

onBoth('fields named __proto__ and constructor are data like any other', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: { chat: { echo: (input: unknown) => input }, live: {} },
  })
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  const data = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
  client.send(`{"type":"call","id":1,"action":"chat.echo","__proto__":{"polluted":1},"data":${data}}`)
  t.equal(JSON.stringify((await client.next({ id: 1 }))['data']), data)
  client.send(`{"type":"publish","id":2,"channel":"chat:a","data":${data}}`)
  t.equal(JSON.stringify((await client.next({ type: 'message' }))['data']), data)
  t.equal(Reflect.get({}, 'polluted'), undefined)
})

onBoth(
  'a frame over the limit closes with 1009; up to it, and in fragments, it is taken',
  async (t, start) => {
    const daemon = await start({ ...CHANNELS, limits: { frameBytes: 4096 } })
    const client = await connect(t, daemon)
    const ping = (bytes: number): string => {
      const text = '{"type":"ping","id":1,"x":""}'
      return text.replace('""', `"${'x'.repeat(bytes - text.length)}"`)
    }
    client.send(ping(4096))
    t.match(await client.next(), { type: 'pong', id: 1 })
    const whole = ping(4096)
    for (let at = 0; at < whole.length; at += 100) {
      client.socket.send(whole.slice(at, at + 100), { fin: at + 100 >= whole.length })
    }
    t.match(await client.next(), { type: 'pong', id: 1 })
    client.send(ping(4097))
    t.match(await client.closed, { code: 1009 })
    const endless = await connect(t, daemon)
    endless.socket.on('error', () => undefined)
    for (let size = 0; size < 5000; size += 500) endless.socket.send('x'.repeat(500), { fin: false })
    endless.socket.send('x', { fin: true })
    t.match(await endless.closed, { code: 1009 })
  },
)

onBoth(
  'a message that never ends is not kept: twice the limit ends the connection',
  async (t, start, kind) => {
    const daemon = await start({ ...CHANNELS, limits: { frameBytes: 4096 } })
    const client = await connect(t, daemon)
    client.socket.on('error', () => undefined)
    for (let size = 0; size < 8192 + 4096; size += 1024) client.socket.send('x'.repeat(1024), { fin: false })
    t.match(await client.closed, { code: kind === 'uws' ? 1006 : 1009 })
  },
)

onBoth('invalid UTF-8 and broken framing end that connection only', async (t, start) => {
  const daemon = await start(CHANNELS)
  const good = await connect(t, daemon)
  const masked = (opcode: number, payload: Buffer): Buffer => {
    const mask = randomBytes(4)
    return Buffer.concat([
      Buffer.from([0x80 | opcode, 0x80 | payload.length]),
      mask,
      payload.map((byte, index) => byte ^ mask[index % 4]!),
    ])
  }
  const cases: Buffer[] = [
    masked(1, Buffer.from([0x22, 0xff, 0xfe, 0x22])), // text that is no UTF-8
    masked(1, Buffer.from([0xed, 0xa0, 0x80])), // a lone surrogate
    masked(3, Buffer.from('{}')), // a reserved opcode
    masked(0, Buffer.from('{}')), // a continuation of nothing
    Buffer.from('\x81\x06not masked', 'latin1'),
    Buffer.from([0xf1, 0x80, 1, 2, 3, 4]), // reserved bits
    Buffer.from([0x89, 0xfe, 0x01, 0x00, 1, 2, 3, 4]), // a ping longer than control frames may be
    Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]), // 2^64 bytes
  ]
  for (const bytes of cases) {
    const socket = tcpConnect(daemon.port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    let answer = ''
    socket.on('data', (chunk) => (answer += chunk.toString('latin1')))
    socket.on('error', () => undefined)
    const closed = once(socket, 'close')
    socket.write(
      'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    await until('the welcome', () => answer.includes('welcome'))
    socket.write(bytes)
    // A close frame is answered by hanging up.
    await until(`an answer to ${bytes.toString('hex')}`, () => socket.closed || answer.includes('\x88'))
    socket.end()
    await closed
  }
  await until('the others are gone', () => daemon.daemon.hub!.size === 1)
  t.match(await good.ask({ type: 'ping' }), { type: 'pong' })
})

onBoth('frames behind a close are not handled', async (t, start) => {
  const daemon = await start(CHANNELS)
  const watcher = await connect(t, daemon)
  await watcher.subscribe('chat:a')
  const client = await connect(t, daemon)
  const raw = (client.socket as unknown as { _socket: Socket })._socket
  raw.cork()
  client.send({ type: 'publish', channel: 'chat:a', data: 'before' })
  client.socket.close(1000)
  // What `ws` refuses to send by itself: a masked text frame behind the close frame.
  const text = Buffer.from('{"type":"publish","channel":"chat:a","data":"behind"}')
  raw.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), text]))
  raw.uncork()
  await client.closed
  await daemon.publish('chat:a', 'end')
  t.match(await watcher.next({ type: 'message' }), { data: 'before' })
  t.match(await watcher.next({ type: 'message' }), { data: 'end' })
})
