import { z } from 'zod'
import { isHost, normalizeHost } from './address.ts'
import { auth } from './auth-schema.ts'
import type {
  CallsInput,
  EngineIoInput,
  PredecessorsInput,
  SocketIoInput,
  StreamInput,
} from './clients-input.ts'
import { MAX_CHANNEL_LENGTH } from './defaults.ts'
import type { ApiInput, ChannelInput, ConfigInput, PresenceInput } from './input.ts'
import {
  choice,
  count,
  duration,
  flag,
  isCallback,
  isEngineTransport,
  isProxyText,
  leaf,
  list,
  MAX_WAIT_MS,
  notifyNames,
  type Shape,
  size,
  text,
  url,
} from './leaves.ts'
import type { LimitsInput } from './limits-input.ts'
import type { BrokerInput, PostgresInput } from './servers-input.ts'
import { signals } from './signals-schema.ts'
import { isDatabase, isKey, isText, normalizeOrigin } from './values.ts'

const reference = leaf("a path, a package, 'path#export', a function or a definition", (value) =>
  isText(value) || typeof value === 'function' || (typeof value === 'object' && value !== null)
    ? value
    : undefined,
)

const access = choice('public', 'authenticated', 'user', 'none').optional()

const presence = z.strictObject({
  by: choice('session', 'user').optional(),
  events: flag().optional(),
  leaveAfter: duration(MAX_WAIT_MS).optional(),
} satisfies Shape<PresenceInput>)

const channel = z.strictObject({
  access,
  publish: access,
  delivery: choice('transient', 'journaled', 'mailbox').optional(),
  history: z
    .strictObject({ count: count().optional(), maxAge: duration(Number.MAX_SAFE_INTEGER).optional() })
    .optional(),
  presence: z.union([z.boolean(), presence]).optional(),
  conflate: text("a field's name").optional(),
  perDatabase: flag().optional(),
} satisfies Shape<ChannelInput>)

const postgres = z.strictObject({
  url: url("a URL such as 'postgres://user:password@host:5432/database'", [
    'postgres',
    'postgresql',
  ]).optional(),
  listenUrl: url("a URL such as 'postgres://…'", ['postgres', 'postgresql']).optional(),
  embedded: flag().optional(),
  directory: text('a path').optional(),
  minConnections: count(0, 10_000).optional(),
  maxConnections: count(1, 10_000).optional(),
  cleanupTimeout: duration().optional(),
  databases: list('names of databases, each of 1 to 63 bytes', isDatabase).optional(),
  notify: choice('data', 'positions').optional(),
} satisfies Shape<PostgresInput>)

const broker = z.strictObject({
  url: url("a URL such as 'amqp://user:password@host:5672'", ['amqp', 'amqps']).optional(),
  host: leaf('a host', (value) => (isText(value) && isHost(value) ? value : undefined)).optional(),
  exchange: text("an exchange's name").optional(),
  prefetch: count(1, 65_535).optional(),
  maxAttempts: count().optional(),
} satisfies Shape<BrokerInput>)

const api = z.strictObject({
  keys: list('keys of visible ASCII characters', isKey).optional(),
  loopback: flag().optional(),
} satisfies Shape<ApiInput>)

const calls = z.strictObject({
  prefix: text("a path such as '/call'").optional(),
  aliases: z.record(z.string(), text("an action such as 'messages.query'")).optional(),
  plain: flag().optional(),
} satisfies Shape<CallsInput>)

const limits = z.strictObject({
  frameBytes: size().optional(),
  publicationBytes: size().optional(),
  subscriptions: count().optional(),
  channelLength: count(3, MAX_CHANNEL_LENGTH).optional(),
  callsPerSecond: count().optional(),
  callBurst: count().optional(),
  userCallsPerSecond: count().optional(),
  userCallBurst: count().optional(),
  framesPerSecond: count().optional(),
  pendingCalls: count().optional(),
  bufferBytes: size().optional(),
  connections: count().optional(),
  connectionsPerAddress: count().optional(),
  authenticationMs: duration().optional(),
  callMs: duration().optional(),
  replyBytes: size().optional(),
  blockMs: duration().optional(),
  recoveryMessages: count().optional(),
  recoveryBytes: size().optional(),
  windowBytes: size().optional(),
  idempotencyMs: duration().optional(),
  idempotencyKeys: count().optional(),
  bodyMs: duration(MAX_WAIT_MS).optional(),
  stallMs: duration(MAX_WAIT_MS).optional(),
  publishMs: duration().optional(),
  conflateKeys: count().optional(),
  pendingAcks: count().optional(),
  ackMs: duration(MAX_WAIT_MS).optional(),
  presenceEvents: count(0).optional(),
  presenceEntries: count().optional(),
} satisfies Shape<LimitsInput>)

const stream = z.strictObject({
  callbacks: leaf("a list of JavaScript names such as 'parent.handle'", (value) =>
    Array.isArray(value) && value.length > 0 && value.every(isCallback) ? value : undefined,
  ).optional(),
} satisfies Shape<StreamInput>)

/** What both kinds of Engine.IO clients have. */
const engine = (example: string) => ({
  path: leaf(`a path such as '${example}'`, (value) =>
    isText(value) && /^\/[A-Za-z0-9._/-]*$/.test(value) ? `${value.replace(/\/$/, '')}/` : undefined,
  ).optional(),
  transports: leaf("a list of 'polling', 'websocket'", (value) =>
    Array.isArray(value) && value.length > 0 && value.every(isEngineTransport) ? value : undefined,
  ).optional(),
  ping: duration().optional(),
  pong: duration().optional(),
  maxPayload: size().optional(),
})

const engineio = z.strictObject({
  ...engine('/engine.io/'),
  subsystem: text('a subsystem').optional(),
} satisfies Shape<EngineIoInput>)

const socketio = z.strictObject({
  ...engine('/socket.io/'),
  namespaces: z.record(z.string(), text('a subsystem')).optional(),
  connectTimeout: duration().optional(),
  spread: flag().optional(),
} satisfies Shape<SocketIoInput>)

const predecessors = z.strictObject({
  // Mandatory, which is said where it is resolved: what is refused there has no default.
  subsystem: text("a subsystem's name").optional(),
  addresses: flag().optional(),
  notify: leaf('a NOTIFY name or a list of them, each of 1 to 63 bytes', notifyNames).optional(),
} satisfies Shape<PredecessorsInput>)

const hooks = z.strictObject({
  authenticate: reference.optional(),
  connect: reference.optional(),
  disconnect: reference.optional(),
  message: reference.optional(),
  call: reference.optional(),
  start: reference.optional(),
} satisfies Shape<NonNullable<ConfigInput['hooks']>>)

/** The whole config. What it gives has durations in milliseconds and sizes in bytes. */
export const configSchema = z.strictObject({
  host: leaf("an interface's address or name", (value) =>
    isText(value) && isHost(normalizeHost(value)) ? normalizeHost(value) : undefined,
  ).optional(),
  port: count(0, 65_535).optional(),
  socket: text('a path').optional(),
  ACTIONS: z.record(z.string(), z.record(z.string(), reference)),
  hooks: hooks.optional(),
  channels: z.record(z.string(), channel).optional(),
  journal: choice('memory', 'postgres', 'rabbitmq').optional(),
  postgres: z.union([z.literal(false), postgres]).optional(),
  broker: z.union([z.literal(false), broker]).optional(),
  auth: auth.optional(),
  origins: z.array(leaf("an origin such as 'https://app.example', or '*'", normalizeOrigin)).optional(),
  api: api.optional(),
  calls: calls.optional(),
  stream: stream.optional(),
  limits: limits.optional(),
  signals: signals.optional(),
  predecessors: z.union([z.literal(false), predecessors]).optional(),
  workers: count(1, 256).optional(),
  trustedProxies: z.array(leaf("an address or network such as '10.0.0.0/8'", isProxyText)).optional(),
  listener: choice('auto', 'uws', 'node').optional(),
  compression: flag().optional(),
  socketio: z.union([z.literal(false), socketio]).optional(),
  engineio: z.union([z.literal(false), engineio]).optional(),
  ping: duration().optional(),
  pong: duration().optional(),
  stop: duration().optional(),
  dev: flag().optional(),
  log: z
    .strictObject({ level: choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent').optional() })
    .optional(),
  ini: text('a path').optional(),
} satisfies Shape<ConfigInput>)

/** A config whose every value has been accepted. */
export type Parsed = z.infer<typeof configSchema>

/** The keys that a section knows, by the section's path; none for what is no section. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  let schema: unknown = configSchema
  for (const key of path) {
    const inner = unwrap(schema)
    if (inner instanceof z.ZodObject) schema = (inner.shape as Record<PropertyKey, unknown>)[key]
    else schema = inner instanceof z.ZodRecord ? inner.valueType : undefined
  }
  const found = unwrap(schema)
  return found instanceof z.ZodObject ? Object.keys(found.shape) : []
}

function unwrap(schema: unknown): unknown {
  if (schema instanceof z.ZodOptional) return unwrap(schema.unwrap())
  return schema instanceof z.ZodUnion ? schema.options.at(-1) : schema
}
