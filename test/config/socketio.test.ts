import t from 'tap'
import type { ConfigError } from '../../src/errors.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { keepFrozen } from '../../src/reload.ts'
import { settingsOf } from '../../src/transports/engineio/options.ts'
import type { SocketIoInput } from '../../src/config/clients-input.ts'

const ACTIONS = { chat: { say: () => null } }
const place = { root: '/', file: null }

t.test('what is not said of Socket.IO is as for all clients', (t) => {
  const all = { ping: '9s', limits: { frameBytes: 100, bufferBytes: '1mb' } } as const
  const { config } = resolveConfig({ config: { ACTIONS, ...all } }, place)
  t.strictSame(config.socketio, {
    path: '/socket.io/',
    namespaces: new Map(),
    transports: ['polling', 'websocket'],
    pingMs: null,
    pongMs: null,
    maxPayloadBytes: null,
    connectMs: null,
    spread: false,
  })
  t.equal(resolveConfig({ config: { ACTIONS, socketio: false } }, place).config.socketio, null)
  const socketio: SocketIoInput = {
    path: '/io',
    namespaces: { '/': 'chat' },
    transports: ['websocket'],
    ping: 300,
  }
  t.match(resolveConfig({ config: { ACTIONS, socketio } }, place).config.socketio, {
    path: '/io/',
    namespaces: new Map([['/', 'chat']]),
    transports: ['websocket'],
    pingMs: 300,
  })
  const settings = settingsOf(config.socketio!, config)
  t.match(settings, { path: '/socket.io/', pingMs: 9000, pongMs: 16_000, maxPayloadBytes: 100 })
  t.equal(config.engineio, null, 'Engine.IO alone is not served')
  const engineio = { subsystem: 'chat', pong: '2s', maxPayload: '1kb' } as const
  const served = resolveConfig({ config: { ACTIONS, ...all, engineio } }, place).config
  t.strictSame(served.engineio, {
    path: '/engine.io/',
    transports: ['polling', 'websocket'],
    pingMs: null,
    pongMs: 2000,
    maxPayloadBytes: 1024,
    subsystem: 'chat',
  })
  t.match(settingsOf(served.engineio!, served), { pingMs: 9000, pongMs: 2000, maxPayloadBytes: 1024 })
  t.equal(resolveConfig({ config: { ACTIONS, engineio: {} } }, place).config.engineio!.subsystem, null)
  t.end()
})

t.test('what only follows from other keys is no change of its own', (t) => {
  const served = { ACTIONS, engineio: {}, socketio: {} }
  const running = resolveConfig({ config: served }, place).config
  const wanted = resolveConfig(
    { config: { ...served, ping: '9s', limits: { frameBytes: 100 } } },
    place,
  ).config
  t.strictSame(keepFrozen(running, wanted).changed, ['pingMs', 'limits.frameBytes'])
  const other = resolveConfig({ config: { ...served, engineio: { ping: '9s' } } }, place).config
  t.strictSame(keepFrozen(running, other).changed, ['engineio'])
  t.end()
})

t.test('paths, namespaces and transports that are none are named', (t) => {
  for (const [section, key] of [
    [{ path: 'io' }, 'socketio.path'],
    [{ path: '/io/*' }, 'socketio.path'],
    [{ transports: [] }, 'socketio.transports'],
    [{ transports: ['webtransport'] }, 'socketio.transports'],
    [{ namespaces: { '/': 'nobody' } }, 'socketio.namespaces./'],
    [{ namespaces: { other: 'chat' } }, 'socketio.namespaces.other'],
    [{ maxPayload: 0 }, 'socketio.maxPayload'],
    [{ pingInterval: 5 }, 'socketio.pingInterval'],
    [true, 'socketio'],
    [{ path: 'io' }, 'engineio.path'],
    [{ path: '/socket.io' }, 'engineio.path'],
    [{ path: '/socket.io/below' }, 'engineio.path'],
    [{ path: '/' }, 'engineio.path'],
    [{ subsystem: 'nobody' }, 'engineio.subsystem'],
    [{ namespaces: {} }, 'engineio.namespaces'],
    [true, 'engineio'],
  ] as const) {
    try {
      const config = key.startsWith('engineio') ? { engineio: section } : { socketio: section }
      resolveConfig({ config: { ACTIONS, ...config } }, place)
      t.fail(`${key} was accepted`)
    } catch (error) {
      const { problems } = error as ConfigError
      t.strictSame(
        problems.map((problem) => problem.key.replaceAll(/['"[\]]/g, '')),
        [key],
        JSON.stringify(problems),
      )
    }
  }
  t.end()
})
