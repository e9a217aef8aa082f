import { WebSocket } from 'ws'
import type { TestConfig, TestDaemon } from '../support/daemon.ts'
import { collectGarbage } from '../support/garbage.ts'
import { until, within } from '../support/wait.ts'
import { onBoth } from './both.ts'
import { connectEngine } from './engineio-client.ts'
import { openSession } from './engineio-raw.ts'
import { connectTo } from './socketio-client.ts'

/** How often each round of attacks is repeated. */
const ROUNDS = 8

const CONFIG = {
  ACTIONS: { chat: { echo: { access: 'public', handle: (data: unknown) => data } } },
  channels: { chat: { access: 'public', publish: 'public' } },
  engineio: {},
  socketio: { namespaces: { '/': 'chat' } },
  limits: {
    framesPerSecond: 1_000_000,
    callsPerSecond: 1_000_000,
    connectionsPerAddress: 10_000,
    bufferBytes: '8mb',
  },
} as unknown as TestConfig

/** What leaves an Engine.IO connection as it was. */
const ODD_FRAMES = [
  '4{"type":"x"}',
  '4{"type":"call"}',
  '4{"type":"call","action":"__proto__.constructor","id":"x"}',
  '4{"type":"subscribe","channel":"a"}',
  '4{"type":"ack","id":99}',
  '4{"__proto__":{"type":"ping"},"type":"publish"}',
  '3',
  '6',
]

/** What leaves a Socket.IO connection as it was. */
const ODD_EVENTS = [
  '42["nothing",{}]',
  '42["__proto__",{"__proto__":{"polluted":1}}]',
  '42[5]',
  '4399["nobody asked"]',
  '42["subscribe",[[]]]',
  '42["disconnected"]',
  '461-77[{"_placeholder":true,"num":0}]',
  Buffer.from('the part'),
]

/** What ends a connection of either kind. */
const BROKEN = ['abc', '', '2', '5', '4no JSON', '451-["x"]', '4\ud800', '9', Buffer.alloc(10), '1']

/** Requests that are refused, or end their session. */
const QUERIES = [
  'EIO=4&transport=polling&sid=__proto__',
  'EIO=4&transport=polling&sid=constructor',
  'EIO=4&transport=webtransport',
  'EIO=4&transport=__proto__',
  'EIO=4&transport=websocket',
  'EIO[]=4&transport[]=polling',
  'EIO=4&EIO=3&transport=polling&sid=%00',
  '%&%%%=%E0%A4%A',
]

onBoth('malformed packets and requests without end: nobody else notices, nothing stays', async (t, start) => {
  const daemon = await start(CONFIG)
  const witness = await connectEngine(t, daemon)
  const other = await connectTo(t, daemon, '/')
  await attack(daemon, 1)
  const before = heapUsed()
  await attack(daemon, ROUNDS)
  await until('only the witnesses are left', () => daemon.daemon.hub!.size === 2, 60_000)
  t.match(await witness.ask({ type: 'call', action: 'chat.echo', data: 'here' }), { data: 'here' })
  t.equal(await other.ask('echo', 'here'), 'here')
  t.equal(Reflect.get({}, 'polluted'), undefined)
  const { errors } = daemon.daemon.counts
  for (const key of ['client.unknown_type', 'client.unknown_action', 'client.bad_frame', 'http.400']) {
    t.ok((errors.get(key) ?? 0) > ROUNDS, `${key} is counted: ${errors.get(key)}`)
  }
  t.notOk(
    daemon.lines.some(({ level }) => level === 'error'),
    'nothing of it is an error of ours',
  )
  t.ok(heapUsed() - before < 8 * 1024 * 1024, `${heapUsed() - before} bytes more`)
})

async function attack(daemon: TestDaemon, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const path of ['/engine.io/', '/socket.io/']) {
      const odd = path === '/engine.io/' ? ODD_FRAMES : ODD_EVENTS
      await flood(daemon, path, odd, 60)
      await Promise.all(BROKEN.map((packet) => flood(daemon, path, [packet], 1)))
      await Promise.all(QUERIES.map((query) => ask(`${daemon.url}${path}?${query}`, { method: 'GET' })))
      await Promise.all(BROKEN.map((body) => post(daemon, path, body)))
      for (const method of ['PUT', 'DELETE', 'POST']) {
        await ask(`${daemon.url}${path}?EIO=4&transport=polling`, { method, body: 'x' })
      }
    }
  }
}

/** Sends packets over a WebSocket of its own, the whole list again and again, and goes. */
async function flood(
  daemon: TestDaemon,
  path: string,
  packets: readonly (string | Buffer)[],
  times: number,
): Promise<void> {
  const raw = new WebSocket(`${daemon.url.replace('http', 'ws')}${path}?EIO=4&transport=websocket`)
  raw.on('error', () => undefined)
  const ended = new Promise<void>((resolve) => raw.once('close', () => resolve()))
  let answers = 0
  raw.on('message', (data: Buffer) => {
    if (path === '/socket.io/' && data.toString().startsWith('0')) raw.send('40')
    else answers++
  })
  await until('it is let in', () => answers > 0)
  for (let time = 0; time < times; time++) for (const packet of packets) raw.send(packet)
  if (times > 1) await until('some answers', () => answers >= times)
  // The last of them have come when it has answered this by closing.
  raw.close()
  setTimeout(() => raw.terminate(), 2000).unref()
  await within('the end', ended)
}

async function post(daemon: TestDaemon, path: string, body: string | Buffer): Promise<void> {
  const url = `${daemon.url}${path}?EIO=4`
  const sid = await openSession(url)
  await ask(`${url}&transport=polling&sid=${sid}`, { method: 'POST', body })
  await ask(`${url}&transport=polling&sid=${sid}`, { method: 'POST', body: '1' })
}

/** However it is answered, if at all. */
async function ask(url: string, init: RequestInit): Promise<void> {
  await within(
    'an answer',
    fetch(url, init)
      .then((response) => response.arrayBuffer())
      .catch(() => undefined),
  )
}

function heapUsed(): number {
  for (let time = 0; time < 4; time++) collectGarbage()
  return process.memoryUsage().heapUsed
}
