import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import type { Config } from '../../src/config/config.ts'
import { isEmbedded } from '../../src/config/config.ts'
import type { ConfigInput } from '../../src/config/input.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import type { Layers } from '../../src/config/resolve.ts'
import { ConfigError } from '../../src/errors.ts'

const place = { root: '/app', file: '/app/livemessages.config.ts' }
const ACTIONS: ConfigInput['ACTIONS'] = { chat: { say: './say.ts' } }

function resolve(config: object = {}, layers: Omit<Layers, 'config'> = {}): Config {
  return resolveConfig({ ...layers, config: { ACTIONS, ...config } }, place).config
}

function problems(config: unknown, layers: Omit<Layers, 'config'> = {}): Record<string, string> {
  try {
    resolveConfig({ ...layers, config }, place)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return Object.fromEntries(error.problems.map(({ key, message }) => [key, message]))
  }
  return {}
}

t.test('ACTIONS alone is a config; everything else has its default', async (t) => {
  const config = resolve()
  t.match(config, {
    ...place,
    host: '127.0.0.1',
    port: 7777,
    socket: null,
    journal: 'postgres',
    workers: 1,
    postgres: {
      directory: '/app/.livemessages/postgres',
      minConnections: 1,
      maxConnections: 20,
      cleanupTimeoutMs: 10_000,
    },
    broker: null,
    auth: { jwt: [], url: null, header: null, required: false, cookie: null },
    origins: [],
    api: { keys: [], loopback: true },
    limits: {
      frameBytes: 65_536,
      subscriptions: 128,
      callsPerSecond: 100,
      callBurst: 200,
      callMs: 10_000,
      replyBytes: 4 * 2 ** 20,
      blockMs: 100,
    },
    trustedProxies: [],
    listener: 'auto',
    compression: false,
    pingMs: 25_000,
    pongMs: 16_000,
    stopMs: 10_000,
    dev: false,
    log: { level: 'info' },
  })
  t.strictSame(config.channels.get('chat'), {
    access: 'none',
    publish: 'none',
    history: null,
    mailbox: false,
    conflate: null,
    presence: null,
  })
})

t.test('durations and sizes come out as milliseconds and bytes', async (t) => {
  const config = resolve({
    ping: '5s',
    pong: 250,
    stop: '1m',
    limits: {
      frameBytes: '1mb',
      bufferBytes: 4096,
      callMs: '2s',
      callsPerSecond: 5,
      idempotencyMs: '1h',
      replyBytes: '1mb',
      blockMs: '1s',
    },
    postgres: { url: 'postgres://db/app', cleanupTimeout: '30s' },
  })
  t.match(config, { pingMs: 5000, pongMs: 250, stopMs: 60_000, postgres: { cleanupTimeoutMs: 30_000 } })
  t.match(config.limits, {
    frameBytes: 2 ** 20,
    bufferBytes: 4096,
    callMs: 2000,
    idempotencyMs: 3_600_000,
    replyBytes: 2 ** 20,
    blockMs: 1000,
  })
  t.equal(config.limits.callBurst, 10, 'the burst follows the rate')
})

t.test('flag wins over environment over config over INI over default', async (t) => {
  const ini = {
    file: '/app/livemessages.ini',
    section: { port: '1', POSTGRES_MAXCON: '1', postgres_mincon: '1', HOST: '::1' },
  }
  const env = { LIVEMESSAGES_PORT: '3', LIVEMESSAGES_POSTGRES_MAXCON: '3' }
  const flags = { address: ':4' }
  const layers = { ini, env, flags }
  const config = { port: 2, postgres: { url: 'postgres://db/app', maxConnections: 2 } }
  t.match(resolve(config, layers), {
    port: 4,
    host: '::1',
    postgres: { maxConnections: 3, minConnections: 1 },
  })
  t.equal(resolve(config, { ini, env }).port, 3)
  t.equal(resolve(config, { ini }).port, 2)
  t.equal(resolve({}, { ini }).port, 1)
  t.equal(resolve().port, 7777)
  t.equal(resolve({}, { flags: { address: '0:1', port: '9', host: 'localhost' } }).host, 'localhost')
})

t.test('the flags of the command', async (t) => {
  const url = 'postgres://db/app'
  const flags = {
    host: '0',
    port: '8',
    databases: 'a, b',
    maxCursor: '7',
    logLevel: 'debug',
    listener: 'node',
  }
  t.match(resolve({ postgres: { url } }, { flags }), {
    host: '0.0.0.0',
    port: 8,
    listener: 'node',
    postgres: { databases: ['a', 'b'], maxConnections: 7 },
    log: { level: 'debug' },
  })
  t.strictSame(problems({ ACTIONS }, { flags: { maxCursor: 'many', address: 'x:y' } }), {
    'postgres.maxConnections': "expected a whole number from 1 to 10000, got 'many' from --max-cursor",
    '[interface:port]':
      "expected an address such as 8000, :8000, 0:8000, localhost:8000 or [::1]:8000, with a port from 0 to 65535, got 'x:y'",
  })
})

t.test("the environment's names, the predecessors' with their seconds among them", async (t) => {
  const { config, warnings } = resolveConfig(
    {
      config: { ACTIONS },
      env: {
        LIVEMESSAGES_PORT: '0',
        LIVEMESSAGES_HOST: 'localhost',
        LIVEMESSAGES_POSTGRES_URL: 'postgres://db/app',
        LIVEMESSAGES_POSTGRES_MINCON: '2',
        LIVEMESSAGES_POSTGRES_MAXCON: '30',
        LIVEMESSAGES_POSTGRES_CLEANUP_TIMEOUT: '20',
        LIVEMESSAGES_BROKER_HOST: 'rabbit',
        LIVEMESSAGES_API_KEY: 'a-key-that-is-long-enough',
        LIVEMESSAGES_JWT_SECRET: 'x'.repeat(32),
        LIVEMESSAGES_JOURNAL: 'memory',
        LIVEMESSAGES_LISTENER: 'uws',
        LIVEMESSAGES_WORKERS: '1',
        LIVEMESSAGES_LOG_LEVEL: 'warn',
        LIVEMESSAGES_SOCKET: '',
        LIVEMESSAGES_PROT: '1',
        LIVEMESSAGES_TEST_POSTGRES_URL: 'postgres://test',
        HOME: '/root',
      },
    },
    place,
  )
  t.match(config, {
    port: 0,
    host: 'localhost',
    socket: null,
    postgres: { url: 'postgres://db/app', minConnections: 2, maxConnections: 30, cleanupTimeoutMs: 20_000 },
    broker: { url: 'amqp://rabbit', exchange: 'livemessages' },
    api: { keys: ['a-key-that-is-long-enough'] },
    auth: { jwt: [{ algorithms: ['HS256'] }] },
    listener: 'uws',
    log: { level: 'warn' },
  })
  t.strictSame(warnings, ["LIVEMESSAGES_PROT is no setting (did you mean 'LIVEMESSAGES_PORT'?)"])
})

t.test('a wrong variable is named in the problem', async (t) => {
  t.strictSame(problems({ ACTIONS }, { env: { LIVEMESSAGES_PORT: '80a' } }), {
    port: "expected a whole number from 0 to 65535, got '80a' from LIVEMESSAGES_PORT",
  })
})

t.test('every problem is reported at once: key, what was expected, what came', async (t) => {
  const found = problems({
    ACTIONS: { 'cha t': { say: 5 }, hooks: { '1st': './x.ts' } },
    chanels: {},
    port: 70_000,
    journal: 'postgres',
    workers: 4,
    dev: true,
    host: '0.0.0.0',
    ping: '15',
    origins: ['https://ok.example', 'app.example'],
    trustedProxies: ['10.0.0.0/33'],
    channels: {
      chat: { acces: 'public', publish: 'everybody', history: { count: 0, maxAge: 'week' }, presence: 'yes' },
      quotes: { conflate: 'symbol', presence: { by: 'tab', leaveAfter: '2h', event: true } },
      messages: { access: 'user', delivery: 'mailbox' },
      feed: { delivery: 'transient', history: {} },
    },
    postgres: { minConnections: 5, maxConnections: 2, databases: ['b'] },
    broker: { prefetch: 0 },
    hooks: { conect: './x.ts' },
  })
  t.strictSame(found, {
    'ACTIONS["cha t"].say': "expected a path, a package, 'path#export', a function or a definition, got 5",
    'ACTIONS["cha t"]':
      "expected the name of a subsystem (1 to 64 letters, digits, '_' and '-', the first a letter), got 'cha t'",
    'ACTIONS.hooks':
      "'hooks' is reserved: name the subsystem otherwise (hooks of connections stand under 'hooks', beside ACTIONS)",
    'ACTIONS.hooks.1st':
      "expected the name of an action (1 to 64 letters, digits, '_' and '-', the first a letter), got '1st'",
    chanels: "is no key of the config (did you mean 'channels'?)",
    port: 'expected a whole number from 0 to 65535, got 70000',
    dev: "expected a loopback host (the demo page lets everybody publish), got host '0.0.0.0'",
    ping: "expected a duration such as '15s', '7d' or milliseconds, more than 0 up to 24 days, got '15'",
    'origins[1]': "expected an origin such as 'https://app.example', or '*', got 'app.example'",
    'trustedProxies[0]': "expected an address or network such as '10.0.0.0/8', got '10.0.0.0/33'",
    'channels.chat.acces': "is no key of the config (did you mean 'access'?)",
    'channels.chat.publish': "expected one of 'public', 'authenticated', 'user', 'none', got 'everybody'",
    'channels.chat.history.count': 'expected a whole number, 1 or more, got 0',
    'channels.chat.history.maxAge':
      "expected a duration such as '15s', '7d' or milliseconds, more than 0, got 'week'",
    'channels.chat.presence': "expected true, false or an object with by, events, leaveAfter, got 'yes'",
    'channels.quotes.presence.by': "expected one of 'session', 'user', got 'tab'",
    'channels.quotes.presence.leaveAfter':
      "expected a duration such as '15s', '7d' or milliseconds, more than 0 up to an hour, got '2h'",
    'channels.quotes.presence.event': "is no key of the config (did you mean 'events'?)",
    'channels.feed.delivery':
      "'transient' keeps nothing, but history says how much to keep: leave one of them out",
    'postgres.minConnections': 'expected at most maxConnections (2), got 5',
    'broker.prefetch': 'expected a whole number from 1 to 65535, got 0',
    'hooks.conect': "is no key of the config (did you mean 'connect'?)",
  })
})

t.test('presence: true is by session and told at once; by user a reload is not told', async (t) => {
  const of = (presence: unknown): unknown =>
    resolve({ ACTIONS: {}, channels: { chat: { access: 'public', presence } } }).channels.get('chat')
      ?.presence
  t.strictSame(of(true), { by: 'session', events: true, leaveAfterMs: 0 })
  t.strictSame(of({}), of(true))
  t.strictSame(of(false), null)
  t.strictSame(of(undefined), null)
  t.strictSame(of({ by: 'user' }), { by: 'user', events: true, leaveAfterMs: 5_000 })
  t.strictSame(of({ by: 'user', events: false, leaveAfter: '1m' }), {
    by: 'user',
    events: false,
    leaveAfterMs: 60_000,
  })
})

t.test('what is no config at all says what one is', async (t) => {
  t.match(problems({}), { ACTIONS: /^expected the subsystems, such as \{ chat: .*, got nothing$/ })
  t.match(problems({ ACTIONS: [] }), { ACTIONS: /got an empty list$/ })
  t.match(problems({ ACTIONS: { chat: './say.ts' } }), {
    'ACTIONS.chat': /such as \{ say: .*, got '\.\/say\.ts'$/,
  })
  t.match(problems('x'), { config: /^expected an object with host, port, .*, got 'x'$/ })
  t.match(problems(null), { config: /got null$/ })
  t.match(problems({ ACTIONS, postgres: true }), {
    postgres: /^expected false, 'embedded' or an object with url/,
  })
  t.match(problems({ ACTIONS, limits: null }), { limits: /^expected an object with frameBytes/ })
})

t.test('of a list that is wrong its elements are shown, but of one with secrets', async (t) => {
  const databases = problems({ ACTIONS, postgres: { url: 'postgres://db/a', databases: ['b', 3, ''] } })
  t.match(databases, { 'postgres.databases': /got \['b', 3, an empty text\]$/ })
  const many = Array.from({ length: 100 }, (_, index) => index)
  t.match(problems({ ACTIONS, predecessors: { subsystem: 'x', notify: many } }), {
    'predecessors.notify': /got \[0, 1, 2, 3, 4, 5, 6, 7, …\]$/,
  })
  t.match(problems({ ACTIONS, api: { keys: ['s3cr3t', 5] } }), { 'api.keys': /got a list$/ })
})

t.test('names of Object.prototype are names like others, and never found by accident', async (t) => {
  const config = resolve({ ACTIONS: { constructor: { toString: './x.ts' } } })
  t.strictSame([...config.channels.keys()], ['constructor'])
  t.notOk('valueOf' in config.ACTIONS)
  t.equal(config.ACTIONS['constructor']?.['valueOf'], undefined)
  const input: unknown = JSON.parse('{"ACTIONS":{"__proto__":{"say":"./x.ts"}},"channels":{"__proto__":{}}}')
  t.match(Object.keys(problems(input)), ['ACTIONS.__proto__', 'channels.__proto__'])
})

t.test(
  'policies: closed when not said; a subscribe hook opens to itself; history makes journaled',
  async (t) => {
    const { channels } = resolve({
      ACTIONS: { chat: { say: './x.ts' }, room: { subscribe: './x.ts' }, mail: { subscribe: './x.ts' } },
      channels: {
        mail: { access: 'user', history: {} },
        quotes: { access: 'public', publish: 'authenticated' },
        log: { delivery: 'journaled' },
        feed: { delivery: 'journaled', history: { count: 5, maxAge: '1h' }, presence: false },
      },
    })
    const plain = { mailbox: false, conflate: null, presence: null }
    const retention = { count: 1000, maxAgeMs: 604_800_000 }
    t.strictSame(Object.fromEntries(channels), {
      chat: { access: 'none', publish: 'none', history: null, ...plain },
      room: { access: 'hook', publish: 'none', history: null, ...plain },
      mail: { access: 'user', publish: 'none', history: retention, ...plain },
      quotes: { access: 'public', publish: 'authenticated', history: null, ...plain },
      log: { access: 'none', publish: 'none', history: retention, ...plain },
      feed: { access: 'none', publish: 'none', history: { count: 5, maxAgeMs: 3_600_000 }, ...plain },
    })
  },
)

t.test('the database: a server, the embedded one, none', async (t) => {
  t.equal(resolve({ postgres: false }).postgres, null)
  const url = 'postgres://u:p@db/app'
  t.match(resolve({ postgres: { url } }).postgres, { url, listenUrl: url, databases: [] })
  for (const postgres of ['embedded', { embedded: true }, {}, undefined]) {
    const config = resolve({ postgres })
    t.ok(config.postgres && isEmbedded(config.postgres))
  }
  t.match(resolve({ postgres: { directory: 'data' } }).postgres, { directory: '/app/data' })
  t.match(problems({ ACTIONS, postgres: { url, embedded: true } }), {
    'postgres.embedded': /leave one of them out/,
  })
})

t.test('in production the embedded server is asked for, and the problem says how', async (t) => {
  const env = { NODE_ENV: 'production' }
  t.match(problems({ ACTIONS }, { env }), { postgres: /NODE_ENV=production.*'embedded'.*postgres: false/ })
  for (const postgres of [false, 'embedded', { url: 'postgres://db/app' }]) {
    t.strictSame(problems({ ACTIONS, postgres }, { env }), {})
  }
  t.strictSame(problems({ ACTIONS }, { env: { ...env, LIVEMESSAGES_POSTGRES_URL: 'postgres://db/app' } }), {})
  t.strictSame(Object.keys(problems({ ACTIONS, postgres: { url: 'nonsense' } }, { env })), ['postgres.url'])
})

t.test('in production nobody publishes without a key, unless the config says so', async (t) => {
  const loopback = (api: object | undefined, env: Record<string, string>) =>
    resolve({ postgres: false, api }, { env }).api.loopback
  t.equal(loopback(undefined, {}), true)
  t.equal(loopback({ keys: ['a-key-that-is-long-enough'] }, {}), true)
  t.equal(loopback(undefined, { NODE_ENV: 'production' }), false)
  t.equal(loopback({ keys: ['a-key-that-is-long-enough'] }, { NODE_ENV: 'production' }), false)
  t.equal(loopback({ loopback: true }, { NODE_ENV: 'production' }), true)
  t.equal(loopback({ loopback: false }, {}), false)
})

t.test('the demo is not for a socket, nor for other machines', async (t) => {
  t.strictSame(problems({ ACTIONS, dev: true }), {})
  t.match(problems({ ACTIONS, dev: true, socket: 'x.sock' }), {
    dev: /^expected a loopback host and port .*got socket$/,
  })
  t.match(problems({ ACTIONS, socket: 'x.sock' }, { flags: { dev: true } }), { dev: /socket/ })
  t.match(problems({ ACTIONS, dev: true, host: '0.0.0.0' }), { dev: /loopback host/ })
})

t.test('the NOTIFY name of publications is no setting', async (t) => {
  const url = 'postgres://db/app'
  t.match(problems({ ACTIONS, postgres: { url, channel: 'other' } }), { 'postgres.channel': /^is no key/ })
})

t.test(
  "a server's URL from above turns `false` on and replaces another server's details; a pool size doesn't",
  async (t) => {
    const env = { LIVEMESSAGES_POSTGRES_URL: 'postgres://new/app' }
    t.match(resolve({ postgres: false }, { env }).postgres, { url: 'postgres://new/app' })
    t.match(resolve({ postgres: 'embedded' }, { env }).postgres, { url: 'postgres://new/app' })
    const old = { url: 'postgres://old/app', listenUrl: 'postgres://old:1/app', maxConnections: 3 }
    t.match(resolve({ postgres: old }, { env }).postgres, {
      listenUrl: 'postgres://new/app',
      maxConnections: 3,
    })
    t.equal(resolve({ postgres: false }, { env: { LIVEMESSAGES_POSTGRES_MAXCON: '3' } }).postgres, null)
    const ini = { file: 'x.ini', section: { BROKER_HOST: 'localhost', POSTGRES_URL: 'postgres://ini/app' } }
    t.match(resolve({ postgres: false, broker: false }, { ini }), { postgres: null, broker: null })
  },
)

t.test('the broker: url wins over host', async (t) => {
  t.equal(resolve({ broker: { host: '::1' } }).broker?.url, 'amqp://[::1]')
  const { config, warnings } = resolveConfig(
    { config: { ACTIONS, broker: { url: 'amqps://a/v' } }, env: { LIVEMESSAGES_BROKER_HOST: 'b' } },
    place,
  )
  t.equal(config.broker?.url, 'amqps://a/v')
  t.match(warnings, [/broker\.host is not used/])
  t.match(problems({ ACTIONS, broker: {} }), { broker: /^expected url or host, got neither/ })
})

t.test('tokens: exactly one key, and algorithms that it can do', async (t) => {
  const jwt = (input: object) => resolve({ auth: { jwt: input } }).auth.jwt[0]
  const wrong = (input: object) => problems({ ACTIONS, auth: { jwt: input } })
  const secret = 'x'.repeat(32)
  const pem = (type: 'ec' | 'ed25519' | 'rsa') => {
    const { publicKey } =
      type === 'ec'
        ? generateKeyPairSync('ec', { namedCurve: 'P-384' })
        : type === 'rsa'
          ? generateKeyPairSync('rsa', { modulusLength: 2048 })
          : generateKeyPairSync('ed25519')
    return publicKey.export({ type: 'spki', format: 'pem' }).toString()
  }
  t.strictSame(jwt({ secret }), { secret, algorithms: ['HS256'] })
  t.strictSame(jwt({ publicKey: pem('ec') })?.algorithms, ['ES384'])
  t.match(jwt({ publicKey: pem('ed25519') })?.algorithms, ['EdDSA'])
  t.match(jwt({ publicKey: pem('rsa'), algorithms: ['PS256'], issuer: 'me' }), {
    algorithms: ['PS256'],
    issuer: 'me',
  })
  t.notOk(
    jwt({ jwksUrl: 'https://issuer.example/jwks.json' })?.algorithms.some((name) => name.startsWith('HS')),
  )
  t.match(wrong({}), { 'auth.jwt': /exactly one .* got none$/ })
  t.match(wrong({ secret, jwksUrl: 'https://a/b' }), { 'auth.jwt': /got secret and jwksUrl$/ })
  t.match(wrong({ secret: 'short' }), { 'auth.jwt.secret': /^expected at least 32 bytes for HS256, got 5;/ })
  t.match(wrong({ secret, algorithms: ['HS512'] }), { 'auth.jwt.secret': /at least 64 bytes/ })
  t.match(wrong({ secret, algorithms: ['RS256'] }), { 'auth.jwt.algorithms': /as secret allows, got RS256$/ })
  t.match(wrong({ secret, algorithms: ['none'] }), {
    'auth.jwt.algorithms': /^expected a list of JWT algorithms/,
  })
  t.match(wrong({ publicKey: pem('rsa'), algorithms: ['HS256'] }), { 'auth.jwt.algorithms': /got HS256$/ })
  t.match(wrong({ publicKey: 'no key' }), { 'auth.jwt.publicKey': /PEM text of a public key/ })
  const { privateKey } = generateKeyPairSync('ed25519')
  const text = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  t.match(wrong({ publicKey: text }), { 'auth.jwt.publicKey': /got a private one/ })
})

t.test('no problem and no warning shows a secret', async (t) => {
  const secret = 'hunter2-s3cret'
  const bad = [
    { auth: { jwt: { secret } } },
    { auth: { jwt: secret } },
    { auth: secret },
    { auth: { jwt: { publicKey: secret } } },
    { auth: { jwt: { jwksUrl: `http:${secret}` } } },
    { auth: { jwt: { secret: [secret], algorithms: [secret] } } },
    { api: { keys: [`with space ${secret}`] } },
    { api: { keys: secret } },
    { api: secret },
    { postgres: `postgres://u:${secret}@db` },
    { postgres: { url: `mysql://u:${secret}@db` } },
    { postgres: { listenUrl: secret, [secret.slice(0, 3)]: secret } },
    { broker: { url: `http://u:${secret}@db` } },
    { broker: { host: `u:${secret}@db` } },
    { host: `http://u:${secret}@db` },
  ]
  for (const config of bad) {
    const found = problems({ ACTIONS, ...config })
    t.ok(Object.keys(found).length > 0, JSON.stringify(config))
    t.notOk(JSON.stringify(found).includes(secret), JSON.stringify(found))
  }
  const env = {
    LIVEMESSAGES_JWT_SECRET: secret,
    LIVEMESSAGES_POSTGRES_URL: secret,
    LIVEMESSAGES_API_KEY: `${secret} x`,
  }
  const found = problems({ ACTIONS }, { env })
  t.strictSame(Object.keys(found).sort(), ['api.keys', 'auth.jwt.secret', 'postgres.url'])
  t.notOk(JSON.stringify(found).includes(secret))
  const { warnings } = resolveConfig({ config: { ACTIONS, api: { keys: [secret] } } }, place)
  t.equal(warnings.length, 1)
  t.notOk(warnings.join().includes(secret))
})

t.test('origins are compared as browsers write them', async (t) => {
  const origins = [
    'https://App.Example',
    'https://b.example:443',
    'http://c.example:8080',
    'capacitor://localhost',
    '*',
  ]
  t.strictSame(resolve({ origins }).origins, [
    'https://app.example',
    'https://b.example',
    'http://c.example:8080',
    'capacitor://localhost',
    '*',
  ])
  for (const origin of [
    'https://a.example/',
    'https://a.example/path',
    'https://u:p@a.example',
    'null',
    '',
  ]) {
    t.match(problems({ ACTIONS, origins: [origin] }), { 'origins[0]': /^expected an origin/ }, origin)
  }
})

t.test(
  'what is allowed and likely a mistake is warned of: short keys, a small buffer for large publications',
  async (t) => {
    const warningsOf = (config: object): readonly string[] =>
      resolveConfig({ config: { ACTIONS, ...config } }, place).warnings
    t.same(warningsOf({}), [])
    t.match(warningsOf({ api: { keys: ['short'] } }), [/^api\.keys .* less than 16 characters/])
    t.match(warningsOf({ origins: ['*'], auth: { cookie: 'session' } }), [
      /^origins has '\*' and auth\.cookie/,
    ])
    t.same(warningsOf({ origins: ['https://app.example'], auth: { cookie: 'session' } }), [])
    t.same(warningsOf({ origins: ['*'] }), [])
    const helo = { ACTIONS: { hello: {}, chat: {} }, channels: { chat: {}, helo: {}, news: {} } }
    t.match(warningsOf(helo), [/^channels\.helo is no subsystem .* \(did you mean 'hello'\?\)$/])
    t.same(warningsOf({ ...helo, channels: { hello: {}, helo: {} } }), [], 'each has its own')
    t.same(warningsOf({ limits: { bufferBytes: '256kb' } }), [])
    t.match(warningsOf({ limits: { bufferBytes: '255kb' } }), [
      /^limits\.bufferBytes .* limits\.publicationBytes/,
    ])
  },
)

t.test('journal and workers: what the servers at hand allow', async (t) => {
  const postgres = { url: 'postgres://localhost/app' }
  const broker = { host: 'localhost' }
  const history = { history: {} }
  t.equal(resolve({ postgres }).journal, 'postgres')
  t.equal(resolve({ postgres: false }).journal, 'memory')
  t.equal(
    resolve({ postgres: false, broker }).journal,
    'memory',
    'a stream is declared where it is asked for',
  )
  t.equal(resolve({ postgres: false, broker, journal: 'rabbitmq', workers: 4 }).workers, 4)
  t.strictSame(problems({ ACTIONS: {}, postgres: false, journal: 'postgres' }), {
    journal: "'postgres' needs a database, got postgres: false",
  })
  t.strictSame(problems({ ACTIONS: {}, postgres, journal: 'rabbitmq' }), {
    journal: "'rabbitmq' needs a broker, got none: set broker.url",
  })
  t.strictSame(problems({ ACTIONS: {}, postgres: false, workers: 2 }), {
    workers: '2 processes need a database or a broker between them, got neither: set postgres or broker',
  })
  t.strictSame(
    problems({ ACTIONS: {}, postgres, journal: 'memory', workers: 2, channels: { chat: history } }),
    {
      workers: "2 processes can't share a journal in memory: set journal to 'postgres'",
    },
  )
  t.strictSame(
    problems({ ACTIONS: {}, postgres, journal: 'memory', workers: 2, channels: { chat: {} } }),
    {},
    'all transient',
  )
  t.strictSame(problems({ ACTIONS: {}, postgres: false, channels: { chat: { delivery: 'mailbox' } } }), {
    'channels.chat.delivery':
      "'mailbox' keeps each user's place in the database: it needs journal: 'postgres', got 'memory'",
  })
  t.strictSame(problems({ ACTIONS: {}, channels: { chat: { conflate: 'symbol', ...history } } }), {
    'channels.chat.conflate': 'keeps the latest value in place of a history: leave one of them out',
  })
})

t.test('a mailbox keeps longer than a history, where nothing is said', async (t) => {
  const { channels } = resolve({
    channels: { chat: { delivery: 'mailbox' }, feed: { delivery: 'journaled' } },
  })
  t.match(channels.get('chat'), { mailbox: true, history: { maxAgeMs: 30 * 86_400_000 } })
  t.match(channels.get('feed'), { mailbox: false, history: { maxAgeMs: 7 * 86_400_000 } })
})
