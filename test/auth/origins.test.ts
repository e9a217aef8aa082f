import t from 'tap'
import { createOrigins } from '../../src/auth/origins.ts'
import { ConfigError } from '../../src/errors.ts'

t.test('without a list: programs without an origin, and pages of the same host', async (t) => {
  const origins = createOrigins([])
  for (const [origin, host] of [
    ['', 'app.example'],
    ['https://app.example', 'app.example'],
    ['http://app.example', 'app.example'],
    ['https://app.example', 'app.example:443'],
    ['http://app.example:80', 'app.example'],
    ['HTTPS://App.Example', 'APP.example'],
    ['http://localhost:7777', 'localhost:7777'],
    ['http://[::1]:7777', '[::1]:7777'],
  ] as const) {
    t.ok(origins.allows(origin, host), `${origin} at ${host}`)
  }
  for (const [origin, host] of [
    ['https://evil.example', 'app.example'],
    ['https://app.example:8443', 'app.example'],
    ['https://app.example', 'app.example:8443'],
    ['http://localhost:8080', 'localhost:7777'],
    ['https://app.example.evil.example', 'app.example'],
    ['https://evilapp.example', 'app.example'],
    ['https://app.example', ''],
    ['null', 'null'],
    ['null', 'app.example'],
    ['file://app.example', 'app.example'],
    ['https://*', '*'],
  ] as const) {
    t.notOk(origins.allows(origin, host), `${origin} at ${host}`)
  }
})

t.test('what no browser sends is nobody', async (t) => {
  const origins = createOrigins(['https://app.example'])
  for (const origin of [
    'https://app.example@evil.example',
    'https://user@app.example',
    'https://app.example/',
    'https://app.example/path',
    'https://app.example#x',
    'https://app.example?x',
    'https://evil.example\\.app.example',
    'https://app.example https://evil.example',
    'https://evil.example, https://app.example',
    ' https://app.example',
    'https://app.example\n',
    'https://app.example.',
    'https://app.example:',
    'https://app.example:443443',
    'https:/app.example',
    '//app.example',
    'app.example',
    'https://',
    `https://${'a'.repeat(100_000)}`,
  ]) {
    t.notOk(origins.allows(origin, 'app.example'), JSON.stringify(origin.slice(0, 60)))
  }
})

t.test('listed origins are exact: scheme, host and port', async (t) => {
  const origins = createOrigins(['https://App.example', 'http://dev.example:8080/', 'capacitor://localhost'])
  t.ok(origins.allows('https://app.example', 'push.example'))
  t.ok(origins.allows('https://app.example:443', 'push.example'))
  t.ok(origins.allows('http://dev.example:8080', 'push.example'))
  t.ok(origins.allows('capacitor://localhost', 'push.example'))
  t.notOk(origins.allows('http://app.example', 'push.example'))
  t.notOk(origins.allows('https://app.example:8443', 'push.example'))
  t.notOk(origins.allows('http://dev.example', 'push.example'))
  t.notOk(origins.allows('https://sub.app.example', 'push.example'))
})

t.test(
  'a wildcard is for subdomains, not for the domain itself and not for a name that ends like it',
  async (t) => {
    const origins = createOrigins(['https://*.example.com', 'http://*.dev.example:8080'])
    for (const origin of [
      'https://a.example.com',
      'https://a.b.example.com',
      'https://A.EXAMPLE.com',
      'http://x.dev.example:8080',
    ]) {
      t.ok(origins.allows(origin, 'push.example'), origin)
    }
    for (const origin of [
      'https://example.com',
      'https://.example.com',
      'https://evilexample.com',
      'https://a.example.com.evil.example',
      'http://a.example.com',
      'https://a.example.com:8443',
      'https://evil.example/.example.com',
      'https://evil.example#.example.com',
      'https://x:y@a.example.com',
      'https://*.example.com',
      'http://x.dev.example',
    ]) {
      t.notOk(origins.allows(origin, 'push.example'), origin)
    }
  },
)

t.test('`*` allows every page but those without an origin; `null` allows these', async (t) => {
  const all = createOrigins(['*'])
  const sandboxed = createOrigins(['null'])
  t.ok(all.allows('https://anyone.example', 'push.example'))
  t.notOk(all.allows('null', 'push.example'))
  t.ok(sandboxed.allows('null', 'push.example'))
  t.notOk(sandboxed.allows('https://anyone.example', 'push.example'))
})

t.test('an answer is remembered for its own origin and host only', async (t) => {
  const origins = createOrigins([])
  t.ok(origins.allows('https://a.example', 'a.example'))
  t.notOk(origins.allows('https://a.example', 'b.example'))
  t.notOk(origins.allows('https://b.example', 'a.example'))
  t.ok(origins.allows('https://a.example', 'a.example'))
  t.ok(origins.allows('', 'b.example'))
})

t.test('every entry that is no origin is named at once', async (t) => {
  const list = [
    'app.example',
    'https://app.example/path',
    'https://a*.example',
    'https://a.*.example',
    'https://ok.example',
    '',
  ]
  try {
    createOrigins(list)
    t.fail('accepted')
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    t.same(
      error.problems.map(({ key }) => key),
      [0, 1, 2, 3, 5].map((index) => `origins[${index}]`),
    )
  }
})
