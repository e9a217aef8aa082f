import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { TestConfig, TestDaemon } from '../support/daemon.ts'
import { until, within } from '../support/wait.ts'
import { onBoth } from './both.ts'
import { connectTo, dial } from './socketio-client.ts'

const CONFIG: TestConfig = {
  ACTIONS: {
    chat: {
      echo: { access: 'public', handle: (data: unknown) => data },
      slow: {
        access: 'public',
        handle: () => new Promise((resolve) => setTimeout(() => resolve('slow'), 300)),
      },
    },
  },
  channels: { chat: { access: 'public', publish: 'public' } },
  origins: ['https://app.example'],
} as unknown as TestConfig

onBoth('pages of other origins are refused, those of the list may send credentials', async (t, start) => {
  const daemon = await start(CONFIG)
  const url = `${daemon.url}/socket.io/?EIO=4&transport=polling`
  const foreign = await fetch(url, { headers: { Origin: 'https://evil.example' } })
  t.equal(foreign.status, 403)
  t.equal(foreign.headers.get('access-control-allow-origin'), null)
  const own = await fetch(url, { headers: { Origin: 'https://app.example' } })
  t.equal(own.status, 200)
  t.equal(own.headers.get('access-control-allow-origin'), 'https://app.example')
  t.equal(own.headers.get('access-control-allow-credentials'), 'true')
  const asked = await fetch(url, {
    method: 'OPTIONS',
    headers: { Origin: 'https://app.example', 'Access-Control-Request-Method': 'POST' },
  })
  t.equal(asked.status, 204)
  t.equal(asked.headers.get('access-control-allow-origin'), 'https://app.example')
  const socket = dial(t, daemon, '/chat', { extraHeaders: { Origin: 'https://evil.example' } })
  await t.rejects(socket.connected())
  t.equal(daemon.daemon.counts.errors.get('upgrade.forbidden'), 2)
})

onBoth('one address has so many connections, whatever a client says of it', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    trustedProxies: ['127.0.0.1'],
    limits: { connectionsPerAddress: 2 },
  })
  const from = (address: string): object => ({ extraHeaders: { 'X-Forwarded-For': address } })
  const first = await connectTo(t, daemon, '/chat', from('203.0.113.5'))
  t.equal(daemon.daemon.hub!.get(first.socket.id!)!.address, '203.0.113.5')
  await connectTo(t, daemon, '/chat', from('203.0.113.5'))
  const third: unknown = await connectTo(t, daemon, '/chat', from('203.0.113.5')).catch((error) => error)
  t.match(third, { data: { code: 'limit_exceeded' } })
  await connectTo(t, daemon, '/chat', from('203.0.113.6'))
  first.socket.close()
  await until('its place is free', () =>
    connectTo(t, daemon, '/chat', from('203.0.113.5')).then(
      () => true,
      () => false,
    ),
  )
})

onBoth('a node has so many connections, those included that never enter a namespace', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { connections: 2 }, socketio: { connectTimeout: 300 } })
  const url = `${daemon.url}/socket.io/?EIO=4&transport=polling`
  const sids = [await open(url), await open(url)]
  t.equal((await fetch(url)).status, 403)
  const ends = await Promise.all(sids.map(async (sid) => (await fetch(`${url}&sid=${sid}`)).text()))
  t.strictSame(ends, ['1', '1'], 'closed in time')
  await until('there is room', async () => (await fetch(url)).status === 200)
})

onBoth('what is no packet ends its connection and nothing else', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { frameBytes: 10_000 } })
  const witness = await connectTo(t, daemon, '/chat')
  const placeholder = '{"_placeholder":true,"num":0}'
  const broken: readonly (readonly (string | Buffer)[])[] = [
    [`4510000-/chat,["echo",${placeholder}]`],
    [`4511-/chat,["echo",${placeholder}]`, ...Array.from({ length: 11 }, () => Buffer.alloc(10))],
    [`4510-/chat,["echo",${placeholder}]`, ...Array.from({ length: 9 }, () => Buffer.alloc(9000))],
    [`451-/chat,["echo",${placeholder}]`, '42/chat,["echo",1]'],
    [Buffer.from('no packet announced it')],
    ['42/chat,["disconnect"]'],
    ['42/chat,["newListener"]'],
    ['42/chat,[]'],
    ['42/chat,{"a":1}'],
    ['42/chat,'],
    ['42/chat'],
    ['43/other,1[]'],
    ['44/chat,{"message":"x"}'],
    ['49'],
    ['4'],
    ['9'],
    [''],
    ['2'],
    [`42/chat,["echo","${'x'.repeat(20_000)}"]`],
    [`42/chat,["echo",${'['.repeat(4000)}${']'.repeat(3000)}]`],
    ['451-/chat,["echo",{"_placeholder":true,"num":7}]', Buffer.from('x')],
  ]
  for (const packets of broken) {
    const raw = await inChat(t, daemon)
    for (const packet of packets) raw.send(packet)
    await within(`the end after ${String(packets[0]).slice(0, 60)}`, closed(raw))
  }
  t.equal(await witness.ask('echo', 'still here'), 'still here')
  await until('they have gone', () => daemon.daemon.hub!.size === 1)
  t.equal(daemon.daemon.hub!.size, 1)
})

onBoth('odd packets are answered, or ignored', async (t, start) => {
  const daemon = await start(CONFIG)
  const raw = await inChat(t, daemon)
  const came: string[] = []
  raw.on('message', (data: Buffer) => came.push(data.toString()))
  const odd = [
    '42/chat,[5,"a number for a name"]',
    `42/chat,["${'n'.repeat(5000)}"]`,
    '42/chat,["__proto__",{"__proto__":{"polluted":1}}]',
    '42/chat,["subscribe",{"__proto__":{"channel":"chat:x"}}]',
    '42/chat,["subscribe",[[[]]]]',
    '42/chat,["publish","general"]',
    '43/chat,99["an answer that nobody asked for"]',
    `42/chat,7["echo",${'['.repeat(3000)}${']'.repeat(3000)}]`,
    '40/chat,',
  ]
  for (const packet of odd.slice(0, -1)) raw.send(packet)
  raw.send('42/chat,8["echo",{"__proto__":{"a":1},"constructor":2}]')
  await until('the last answer', () => came.includes('43/chat,8[{"__proto__":{"a":1},"constructor":2}]'))
  t.equal(Reflect.get({}, 'polluted'), undefined)
  t.ok(came.some((packet) => packet.startsWith('43/chat,7[')))
  t.match(
    came
      .filter((packet) => packet.startsWith('42/chat,["error"'))
      .map((packet) => JSON.parse(packet.slice(8))[1].code),
    ['bad_frame', 'unknown_action', 'unknown_action', 'invalid_input', 'invalid_input', 'invalid_input'],
  )
  raw.send(odd.at(-1)!)
  await within('the end', closed(raw))
})

onBoth('who floods is closed, and told so', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { framesPerSecond: 50 } })
  const client = await connectTo(t, daemon, '/chat')
  const ended = client.ended()
  for (let n = 0; n < 100; n++) client.socket.emit('echo', n)
  t.equal(await ended, 'transport close')
  t.match(await client.next('close'), [{ code: 4451 }])
  const calls = await start({ ...CONFIG, limits: { callsPerSecond: 5, callBurst: 5, pendingCalls: 2 } })
  const caller = await connectTo(t, calls, '/chat')
  const answers = await Promise.all(Array.from({ length: 10 }, () => caller.ask('slow')))
  t.equal(answers.filter((answer) => answer === 'slow').length, 2)
  t.equal(answers.filter((answer) => answer.error?.code === 'limit_exceeded').length, 3)
  t.equal(answers.filter((answer) => answer.error?.code === 'rate_limited').length, 5)
})

onBoth('who reads too slowly is closed, and nobody else loses anything', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { bufferBytes: 64 * 1024, publicationBytes: 16 * 1024 } })
  const fast = await connectTo(t, daemon, '/chat')
  await fast.ask('subscribe', 'x')
  const slow = await inChat(t, daemon)
  slow.send('42/chat,["subscribe","x"]')
  const url = `${daemon.url}/socket.io/?EIO=4&transport=polling`
  const sid = await open(url)
  const post = (body: string): Promise<unknown> => fetch(`${url}&sid=${sid}`, { method: 'POST', body })
  await post('40/chat,')
  await until('all are there', () => daemon.daemon.hub!.size === 3)
  await post('42/chat,["subscribe","x"]')
  await until('all are on the channel', () => daemon.daemon.hub!.channels.get('chat:x') === 3)
  slow.pause()
  let published = 0
  const pad = 'x'.repeat(10_000)
  await until('the slow ones are gone', async () => {
    for (let n = 0; n < 5; n++, published++) {
      daemon.daemon.hub!.deliver('chat:x', `{"channel":"chat:x","data":"${pad}","time":${published}}`)
    }
    const all = (): boolean => fast.came.filter(({ event }) => event === 'message').length === published
    await until('the fast one has them', all)
    return daemon.daemon.hub!.size === 1
  })
  t.equal(daemon.daemon.counts.closes.get(4450), 2)
  t.strictSame(
    fast.came.filter(({ event }) => event === 'message').map(({ args }) => args[0].time),
    Array.from({ length: published }, (_, n) => n),
  )
})

onBoth('connecting again and again to one namespace is one client', async (t, start) => {
  const daemon = await start(CONFIG)
  const raw = new WebSocket(`${daemon.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`)
  const came: string[] = []
  raw.on('message', (data: Buffer) => came.push(data.toString()))
  await within('the open packet', new Promise((resolve) => raw.once('message', resolve)))
  // All at once: the first has not been let in yet.
  for (let n = 0; n < 50; n++) raw.send('40/chat,')
  await within('the end', closed(raw))
  t.ok(came.filter((packet) => packet.startsWith('40/chat')).length <= 1)
  await until('it has gone', () => daemon.daemon.hub!.size === 0)
})

onBoth('polling: bodies that are no packets, too large or of nobody are refused', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { frameBytes: 10_000 } })
  const url = `${daemon.url}/socket.io/?EIO=4&transport=polling`
  const post = async (sid: string, body: string | Buffer): Promise<number> =>
    (await fetch(`${url}&sid=${sid}`, { method: 'POST', body })).status
  for (const body of ['abc', '\x1e\x1e\x1e', 'b!!!', Buffer.from([0, 255, 254, 1])]) {
    const sid = await open(url)
    await post(sid, body).catch(() => 0)
    await until('the session is over', async () => (await fetch(`${url}&sid=${sid}`)).status === 400)
  }
  const large = await open(url)
  t.equal(await post(large, '4'.repeat(20_000)), 413)
  const over = until('its session is over', async () => (await fetch(`${url}&sid=${large}`)).status === 400)
  await within('the end, at once', over, 1000)
  t.equal(daemon.daemon.counts.errors.get('client.too_large'), 1)
  t.equal(await post('nobody', '40'), 400)
  t.equal(await post('__proto__', '40'), 400)
  const sid = await open(url)
  t.equal((await fetch(`${url}&sid=${sid}`, { method: 'DELETE' })).status, 500, 'as the library answers it')
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth('upgrades of paths that nobody serves are refused', async (t, start) => {
  const daemon = await start(CONFIG)
  const raw = new WebSocket(`${daemon.url.replace('http', 'ws')}/nothing`)
  const error = await within('the refusal', new Promise<Error>((resolve) => raw.once('error', resolve)))
  t.match(error.message, '404')
})

onBoth('transports that the list does not have are refused, the others go on', async (t, start) => {
  const polling = await start({ ...CONFIG, socketio: { transports: ['polling'] } })
  await t.rejects(dial(t, polling, '/chat', { transports: ['websocket'] }).connected())
  const poller = await connectTo(t, polling, '/chat', { transports: ['polling', 'websocket'] })
  t.equal(await poller.ask('echo', 'by polling'), 'by polling')
  t.equal(poller.socket.io.engine.transport.name, 'polling', 'and nobody is offered the other one')

  const websocket = await start({ ...CONFIG, socketio: { transports: ['websocket'] } })
  await t.rejects(dial(t, websocket, '/chat', { transports: ['polling'] }).connected())
  const client = await connectTo(t, websocket, '/chat', { transports: ['websocket'] })
  t.equal(await client.ask('echo', 'by WebSocket'), 'by WebSocket')
})

void t.test('false: nothing is served there', async (t) => {
  const { startDaemon } = await import('../support/daemon.ts')
  const daemon = await startDaemon(t, { ...CONFIG, socketio: false })
  t.equal((await fetch(`${daemon.url}/socket.io/?EIO=4&transport=polling`)).status, 404)
})

async function open(url: string): Promise<string> {
  return JSON.parse((await (await fetch(url)).text()).slice(1)).sid
}

/** A raw WebSocket that has joined `/chat`. */
async function inChat(t: Test, daemon: TestDaemon): Promise<WebSocket> {
  const raw = new WebSocket(`${daemon.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`)
  t.teardown(() => raw.terminate())
  raw.on('error', () => undefined)
  const joined = new Promise<void>((resolve) => {
    raw.on('message', (data: Buffer) => {
      const packet = data.toString()
      if (packet.startsWith('0')) raw.send('40/chat,')
      if (packet.startsWith('40/chat')) resolve()
    })
  })
  await within('the connection', joined)
  return raw
}

function closed(raw: WebSocket): Promise<void> {
  return new Promise((resolve) => {
    if (raw.readyState === WebSocket.CLOSED) resolve()
    raw.once('close', () => resolve())
  })
}
