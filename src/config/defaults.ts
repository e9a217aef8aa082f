import type { Retention } from '../journal/journal.ts'
import type { Limits } from './config.ts'

const KIB = 1024
const MIB = 1024 ** 2

/** What holds where nothing is said. The doc comments of `ConfigInput` name the same values. */
export const DEFAULTS = {
  host: '127.0.0.1',
  port: 7777,
  pingMs: 25_000,
  pongMs: 16_000,
  stopMs: 10_000,
  workers: 1,
  calls: { prefix: '/call', plain: false },
  streamCallbacks: ['parent.handle'],
  log: { level: 'info' },
  engineio: { path: '/engine.io/', transports: ['polling', 'websocket'] },
  socketio: { path: '/socket.io/', transports: ['polling', 'websocket'] },
  postgres: { minConnections: 1, maxConnections: 20, cleanupTimeoutMs: 10_000 },
  broker: { exchange: 'livemessages', prefetch: 100, maxAttempts: 5 },
} as const

export const DEFAULT_RETENTION: Retention = { count: 1000, maxAgeMs: 7 * 86_400_000 }

/** Of a mailbox: what nobody confirms must end at some time. */
export const DEFAULT_MAILBOX_RETENTION: Retention = { count: 1000, maxAgeMs: 30 * 86_400_000 }

/** The longest name that the protocol allows: subsystem, colon, rest. */
export const MAX_CHANNEL_LENGTH = 265

export const DEFAULT_LIMITS: Limits = {
  frameBytes: 64 * KIB,
  publicationBytes: 64 * KIB,
  subscriptions: 128,
  channelLength: MAX_CHANNEL_LENGTH,
  callsPerSecond: 100,
  callBurst: 200,
  userCallsPerSecond: null,
  userCallBurst: null,
  framesPerSecond: 1000,
  pendingCalls: 64,
  bufferBytes: MIB,
  connections: 100_000,
  connectionsPerAddress: 1000,
  authenticationMs: 10_000,
  callMs: 10_000,
  replyBytes: 4 * MIB,
  blockMs: 100,
  recoveryMessages: 1000,
  recoveryBytes: 256 * KIB,
  windowBytes: 64 * MIB,
  idempotencyMs: 5 * 60_000,
  idempotencyKeys: 100_000,
  bodyMs: 30_000,
  stallMs: 10_000,
  publishMs: 5_000,
  conflateKeys: 10_000,
  pendingAcks: 256,
  ackMs: 10_000,
  presenceEvents: 1000,
  presenceEntries: 1_000_000,
}

/** By user a reload of a page is not told; by session it is, for it is another one. */
export const DEFAULT_LEAVE_AFTER_MS = { session: 0, user: 5_000 }
