import type { Driver } from './driver.ts'
import { engineIoPolling, engineIoWebSocket } from './engineio.ts'
import { getMessages, listen, longPolling, polling } from './polls.ts'
import { socketIoPolling, socketIoWebSocket } from './socketio.ts'
import { iframe, messages, ndjson, sse } from './streams.ts'
import { websocket } from './websocket.ts'

/** One for each row of the table in docs/transports.md. */
export const DRIVERS: readonly Driver[] = [
  websocket,
  sse,
  longPolling,
  polling,
  ndjson,
  iframe,
  socketIoWebSocket,
  socketIoPolling,
  engineIoWebSocket,
  engineIoPolling,
  listen,
  getMessages,
  messages,
]
