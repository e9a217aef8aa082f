import { z } from 'zod'
import type {
  ApiInput,
  AuthInput,
  BrokerInput,
  CallsInput,
  ChannelInput,
  ConfigInput,
  JwtInput,
  LimitsInput,
  PostgresInput,
  PredecessorsInput,
  EngineIoInput,
  SocketIoInput,
  StreamInput,
  PresenceInput,
} from './input.ts'
import { isHost, normalizeHost } from './address.ts'
import { isAlgorithm, isKey, isProxy, isText, isUrl, normalizeOrigin } from './values.ts'
import { MAX_CHANNEL_LENGTH } from './defaults.ts'
import { MAX_TIMER_MS, parseDuration, parseSize } from './units.ts'

/** Every key of an input, so that neither the type nor the schema can have one that the other lacks. */
type Shape<T> = { [K in keyof Required<T>]: z.ZodType }

/** The longest that anybody waits for a client. */
const MAX_WAIT_MS = 3_600_000

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
  databases: list('names of databases', isText).optional(),
  notify: choice('data', 'positions').optional(),
} satisfies Shape<PostgresInput>)

const broker = z.strictObject({
  url: url("a URL such as 'amqp://user:password@host:5672'", ['amqp', 'amqps']).optional(),
  host: leaf('a host', (value) => (isText(value) && isHost(value) ? value : undefined)).optional(),
  exchange: text("an exchange's name").optional(),
  prefetch: count(1, 65_535).optional(),
  maxAttempts: count().optional(),
} satisfies Shape<BrokerInput>)

const jwt = z.strictObject({
  secret: text('a text').optional(),
  publicKey: text('the PEM text of a public key').optional(),
  jwksUrl: url("a URL such as 'https://issuer.example/.well-known/jwks.json'", ['https', 'http']).optional(),
  algorithms: list('JWT algorithms (HS256, RS256, PS256, ES256, EdDSA, …)', isAlgorithm).optional(),
  audience: text('a text').optional(),
  issuer: text('a text').optional(),
} satisfies Shape<JwtInput>)

const auth = z.strictObject({
  jwt: jwt.optional(),
  required: flag().optional(),
  // RFC 6265: a cookie's name is a token
  cookie: leaf("a cookie's name", (value) =>
    isText(value) && /^[\w!#$%&'*+.^`|~-]+$/.test(value) ? value : undefined,
  ).optional(),
} satisfies Shape<AuthInput>)

const api = z.strictObject({
  keys: list('keys of visible ASCII characters', isKey).optional(),
  loopback: flag().optional(),
} satisfies Shape<ApiInput>)

const calls = z.strictObject({
  prefix: text("a path such as '/call'").optional(),
  aliases: z.record(z.string(), text("an action such as 'messages.query'")).optional(),
} satisfies Shape<CallsInput>)

const limits = z.strictObject({
  frameBytes: size().optional(),
  publicationBytes: size().optional(),
  subscriptions: count().optional(),
  channelLength: count(3, MAX_CHANNEL_LENGTH).optional(),
  callsPerSecond: count().optional(),
  callBurst: count().optional(),
  framesPerSecond: count().optional(),
  pendingCalls: count().optional(),
  bufferBytes: size().optional(),
  connections: count().optional(),
  connectionsPerAddress: count().optional(),
  authenticationMs: duration().optional(),
  callMs: duration().optional(),
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

/** A value of its own kind: `accept` gives what it means, or undefined. The issue's message is what was expected. */
function leaf<T>(expected: string, accept: (value: unknown) => T | undefined) {
  return z.unknown().transform((value, context): T => {
    const accepted = accept(value)
    if (accepted !== undefined) return accepted
    context.addIssue({ code: 'custom', message: expected, input: value })
    return z.NEVER
  })
}

function choice<const T extends string>(...choices: T[]) {
  const list = choices.map((choice) => `'${choice}'`).join(', ')
  return leaf(`one of ${list}`, (value) => choices.find((choice) => choice === value))
}

function flag() {
  return leaf('true or false', (value) => (typeof value === 'boolean' ? value : undefined))
}

function text(expected: string) {
  return leaf(expected, (value) => (isText(value) ? value : undefined))
}

function list(expected: string, isItem: (item: unknown) => item is string) {
  return leaf(`a list of ${expected}`, (value) =>
    Array.isArray(value) && value.every(isItem) ? value : undefined,
  )
}

function url(expected: string, schemes: readonly string[]) {
  return leaf(expected, (value) => (isUrl(value, schemes) ? value : undefined))
}

function count(least = 1, most = Number.MAX_SAFE_INTEGER) {
  const range = most === Number.MAX_SAFE_INTEGER ? `, ${least} or more` : ` from ${least} to ${most}`
  return leaf(`a whole number${range}`, (value) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most
      ? value
      : undefined,
  )
}

function duration(most = MAX_TIMER_MS) {
  const bound = most === MAX_TIMER_MS ? ' up to 24 days' : most === MAX_WAIT_MS ? ' up to an hour' : ''
  return leaf(`a duration such as '15s', '7d' or milliseconds, more than 0${bound}`, (value) => {
    const ms = parseDuration(value)
    return ms !== null && ms > 0 && ms <= most ? ms : undefined
  })
}

function size() {
  return leaf("a size such as '64kb', '1mb' or bytes, more than 0 up to 1gb", (value) => {
    const bytes = parseSize(value)
    return bytes !== null && bytes > 0 && bytes <= 1024 ** 3 ? bytes : undefined
  })
}

function isCallback(value: unknown): value is string {
  return isText(value) && /^[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*$/.test(value)
}

function isEngineTransport(value: unknown): value is 'polling' | 'websocket' {
  return value === 'polling' || value === 'websocket'
}

function isProxyText(value: unknown): string | undefined {
  return isProxy(value) ? value : undefined
}
