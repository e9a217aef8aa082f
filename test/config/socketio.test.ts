import t from 'tap'
import type { ConfigError } from '../../src/errors.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import type { SocketIoInput } from '../../src/config/input.ts'

const ACTIONS = { chat: { say: () => null } }
const place = { root: '/', file: null }

t.test('what is not said of Socket.IO is as for all clients', (t) => {
  const { config } = resolveConfig({ config: { ACTIONS, ping: '9s', limits: { frameBytes: 100 } } }, place)
  t.strictSame(config.socketio, {
    path: '/socket.io/',
    namespaces: new Map(),
    transports: ['polling', 'websocket'],
    pingMs: 9000,
    pongMs: 16_000,
    maxPayloadBytes: 100,
    connectMs: 10_000,
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
  t.end()
})

t.test('paths, namespaces and transports that are none are named', (t) => {
  for (const [socketio, key] of [
    [{ path: 'io' }, 'socketio.path'],
    [{ path: '/io/*' }, 'socketio.path'],
    [{ transports: [] }, 'socketio.transports'],
    [{ transports: ['webtransport'] }, 'socketio.transports'],
    [{ namespaces: { '/': 'nobody' } }, 'socketio.namespaces./'],
    [{ namespaces: { other: 'chat' } }, 'socketio.namespaces.other'],
    [{ maxPayload: 0 }, 'socketio.maxPayload'],
    [{ pingInterval: 5 }, 'socketio.pingInterval'],
    [true, 'socketio'],
  ] as const) {
    try {
      resolveConfig({ config: { ACTIONS, socketio } }, place)
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
