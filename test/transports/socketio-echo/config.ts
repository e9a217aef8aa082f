import type { ConfigInput } from '../../../src/config/input.ts'

const echo = {
  message: './test/transports/socketio-echo/message.ts',
  'message-with-ack': './test/transports/socketio-echo/message-with-ack.ts',
}

/** What the public conformance suites of Engine.IO v4 and Socket.IO v5 expect of a server. */
export const ECHO: ConfigInput = {
  ACTIONS: { custom: echo },
  hooks: {
    authenticate: './test/transports/socketio-echo/authenticate.ts',
    connect: './test/transports/socketio-echo/connect.ts',
  },
  origins: ['*'],
  socketio: {
    namespaces: { '/': 'custom' },
    ping: 300,
    pong: 200,
    maxPayload: 1_000_000,
    connectTimeout: '1s',
    spread: true,
  },
}
