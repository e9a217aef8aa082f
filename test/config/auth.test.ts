import t from 'tap'
import type { AuthConfig } from '../../src/config/config.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { ConfigError } from '../../src/errors.ts'

const place = { root: '/app', file: '/app/livemessages.config.ts' }
const secret = 'x'.repeat(32)

function resolve(auth: object, more: object = {}): AuthConfig {
  return resolveConfig({ config: { ACTIONS: {}, ...more, auth } }, place).config.auth
}

function wrong(auth: unknown, more: object = {}): Record<string, string> {
  try {
    resolveConfig({ config: { ACTIONS: {}, ...more, auth } }, place)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return Object.fromEntries(error.problems.map(({ key, message }) => [key, message]))
  }
  return {}
}

t.test('one key or a list of them', async (t) => {
  t.same(resolve({ jwt: { secret } }).jwt, [{ secret, algorithms: ['HS256'] }])
  t.match(resolve({ jwt: [{ secret }, { jwksUrl: 'https://a.example/keys', issuer: 'a' }] }).jwt, [
    { secret, algorithms: ['HS256'] },
    { jwksUrl: 'https://a.example/keys', issuer: 'a' },
  ])
  t.same(resolve({}).jwt, [])
})

t.test('what is wrong with one of a list is told with its place', async (t) => {
  t.match(wrong({ jwt: [] }), { 'auth.jwt': /^expected 1 to 16 keys, got 0/ })
  t.match(wrong({ jwt: Array.from({ length: 17 }, () => ({ secret })) }), { 'auth.jwt': /got 17/ })
  t.match(wrong({ jwt: [{ secret }, {}] }), { 'auth.jwt[1]': /exactly one .* got none/ })
  t.match(wrong({ jwt: [{ secret }, { secret: 'short' }] }), { 'auth.jwt[1].secret': /at least 32 bytes/ })
  t.match(wrong({ jwt: [{ secret }, { secret, algorithms: ['none'] }] }), {
    'auth.jwt[1].algorithms': /^expected a list of JWT algorithms/,
  })
  t.match(wrong({ jwt: [{ secret: 7 }] }), { 'auth.jwt[0].secret': /^expected a text/ })
  t.match(wrong({ jwt: [{ secrte: 'a' }] }), { 'auth.jwt[0].secrte': /is no key/ })
  t.match(wrong({ jwt: { secrte: 'a' } }), { 'auth.jwt.secrte': /is no key.*did you mean 'secret'/ })
  t.match(wrong({ jwt: secret }), { 'auth.jwt': /^expected/ })
  t.match(wrong({ jwt: [secret] }), { 'auth.jwt[0]': /^expected/ })
})

t.test('the application’s address: a text, or all that can be said of it', async (t) => {
  const url = 'http://127.0.0.1:8000/whoami'
  t.same(resolve({ url }).url, {
    url,
    headers: ['cookie', 'authorization'],
    cookies: null,
    timeoutMs: 3000,
    cacheMs: 5000,
    recheckMs: 600_000,
    concurrency: 16,
  })
  const whole = {
    url,
    headers: ['Cookie', 'X-Api-Key'],
    cookies: ['sessionid'],
    timeout: '1s',
    cache: 0,
    recheck: false,
    concurrency: 4,
  }
  t.same(resolve({ url: whole }).url, {
    url,
    headers: ['cookie', 'x-api-key'],
    cookies: ['sessionid'],
    timeoutMs: 1000,
    cacheMs: 0,
    recheckMs: Infinity,
    concurrency: 4,
  })
  for (const [given, key, message] of [
    ['whoami', 'auth.url', /^expected a URL/],
    ['file:///etc/passwd', 'auth.url', /^expected a URL/],
    ['http://u:p@127.0.0.1/', 'auth.url', /without user and password/],
    [{}, 'auth.url.url', /^expected a URL.* got none/],
    [{ url: 'whoami' }, 'auth.url.url', /^expected a URL/],
    [{ url, timeout: 'long' }, 'auth.url.timeout', /duration/],
    [{ url, timeout: 0 }, 'auth.url.timeout', /more than 0/],
    [{ url, cache: '2h' }, 'auth.url.cache', /up to an hour/],
    [{ url, recheck: 10 }, 'auth.url.recheck', /from 1s/],
    [{ url, headers: ['a b'] }, 'auth.url.headers', /names of headers/],
    [{ url, headers: [] }, 'auth.url.headers', /by which a client is known.* got an empty list/],
    [{ url, headers: ['cookie', 'Host'] }, 'auth.url.headers', /got 'host'/],
    [{ url, headers: ['authorization'], cookies: ['sid'] }, 'auth.url.cookies', /'cookie' among/],
    [{ url, concurrency: 0 }, 'auth.url.concurrency', /from 1 to 1000, got 0$/],
    [{ url, cahce: '5s' }, 'auth.url.cahce', /did you mean 'cache'/],
  ] as const) {
    t.match(wrong({ url: given }), { [key]: message }, JSON.stringify(given))
  }
})

t.test('the header of a proxy needs a proxy, and a name of its own', async (t) => {
  const trustedProxies = ['127.0.0.1']
  t.equal(resolve({ header: 'X-Remote-User' }, { trustedProxies }).header, 'x-remote-user')
  t.equal(resolve({ header: 'X-Forwarded-User' }, { trustedProxies }).header, 'x-forwarded-user')
  t.match(wrong({ header: 'X-Remote-User' }), { 'auth.header': /^expected trustedProxies/ })
  for (const header of ['Cookie', 'authorization', 'X-Forwarded-For', 'x-real-ip', 'Host']) {
    t.match(wrong({ header }, { trustedProxies }), { 'auth.header': /header of its own/ }, header)
  }
  for (const header of ['', 'a b', 'X_Remote_User', 'x:y', "x'y", 7]) {
    t.match(
      wrong({ header }, { trustedProxies }),
      { 'auth.header': /letters, digits and hyphens/ },
      String(header),
    )
  }
})

t.test('what may be meant and is dangerous is warned of', async (t) => {
  const warningsOf = (config: object): readonly string[] =>
    resolveConfig({ config: { ACTIONS: {}, ...config } }, place).warnings
  t.same(warningsOf({ auth: { url: 'http://localhost:8000/' } }), [])
  t.match(warningsOf({ auth: { url: 'http://app.example/' } }), [/^auth\.url is asked over http/])
  t.match(warningsOf({ origins: ['*'], auth: { url: 'http://[::1]/' } }), [/^origins has '\*' and auth\.url/])
})

t.test('a secret of the environment does not get lost in a list without a word', async (t) => {
  const env = { LIVEMESSAGES_JWT_SECRET: 'y'.repeat(32) }
  const { config, warnings } = resolveConfig(
    { config: { ACTIONS: {}, auth: { jwt: [{ secret }] } }, env },
    place,
  )
  t.match(config.auth.jwt, [{ secret }])
  t.match(warnings, [/^LIVEMESSAGES_JWT_SECRET is not used/])
})

t.test('the rate of users: none where nothing is said, and a burst of twice the rate', async (t) => {
  const limits = (given: object) =>
    resolveConfig({ config: { ACTIONS: {}, limits: given } }, place).config.limits
  t.match(limits({}), { userCallsPerSecond: null, userCallBurst: null })
  t.match(limits({ userCallsPerSecond: 10 }), { userCallsPerSecond: 10, userCallBurst: 20 })
  t.match(limits({ userCallsPerSecond: 10, userCallBurst: 5 }), { userCallsPerSecond: 10, userCallBurst: 5 })
})
