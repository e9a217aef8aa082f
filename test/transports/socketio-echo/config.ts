import type { ConfigInput } from '../../../src/config/input.ts'

const custom = {
  message: './test/transports/socketio-echo/message.ts',
  'message-with-ack': './test/transports/socketio-echo/message-with-ack.ts',
}

/** As both public conformance suites expect. */
const engine = { ping: 300, pong: 200, maxPayload: 1_000_000 }

/** What the public conformance suites of Engine.IO v4 and Socket.IO v5 expect of a server. */
export const ECHO: ConfigInput = {
  ACTIONS: { custom, echo: { message: './test/transports/socketio-echo/echo.ts' } },
  hooks: {
    authenticate: './test/transports/socketio-echo/authenticate.ts',
    connect: './test/transports/socketio-echo/connect.ts',
  },
  origins: ['*'],
  engineio: { ...engine, subsystem: 'echo' },
  socketio: { ...engine, namespaces: { '/': 'custom' }, connectTimeout: '1s', spread: true },
}
