import t from 'tap'
import { createPeers } from '../../src/auth/peers.ts'
import type { PeerRequest, PeersOptions } from '../../src/auth/peers.ts'
import { ConfigError } from '../../src/errors.ts'

/** As uWS does: `header` gives the first of a name, `eachHeader` all, in the order in which they came. */
function request(
  address: string,
  list: readonly (readonly [string, string])[],
  proxiedAddress = '',
): PeerRequest {
  return {
    address,
    proxiedAddress,
    header: (name) => list.find(([candidate]) => candidate === name)?.[1] ?? '',
    eachHeader: (visit) => list.forEach(([name, value]) => visit(name, value)),
  }
}

function peers(options: Partial<PeersOptions> & { keys?: string[]; loopback?: boolean } = {}) {
  const { keys = [], loopback = true, ...rest } = options
  return createPeers({ trustedProxies: [], api: { keys, loopback }, socket: null, ...rest })
}

const LOCAL = ['host', 'localhost:7777'] as const
const curl = [LOCAL, ['user-agent', 'curl/8'], ['accept', '*/*'], ['content-length', '2']] as const

t.test('a program on this machine may publish without a key', async (t) => {
  const rules = peers()
  for (const address of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1']) {
    t.same(rules.mayPublish(request(address, curl)), { ok: true, publisher: 'loopback' }, address)
  }
  for (const host of [
    'localhost',
    'LOCALHOST:7777',
    '127.0.0.1',
    '127.0.0.1:7777',
    '127.8.8.8',
    '[::1]',
    '[::1]:7777',
  ]) {
    t.ok(rules.mayPublish(request('127.0.0.1', [['host', host]])).ok, host)
  }
})

t.test('what came from elsewhere, from a page or through a proxy may not', async (t) => {
  const rules = peers()
  for (const address of ['192.0.2.1', '2001:db8::1', '', 'rubbish', '127.0.0.1.evil.example']) {
    t.match(rules.mayPublish(request(address, curl)), { ok: false, code: 'forbidden' }, `peer '${address}'`)
  }
  for (const [name, value] of [
    ['origin', 'http://localhost:7777'],
    ['origin', 'null'],
    ['sec-fetch-site', 'same-origin'],
    ['forwarded', 'for=127.0.0.1'],
    ['x-forwarded-for', '127.0.0.1'],
    ['x-forwarded-host', 'localhost'],
    ['x-forwarded-proto', 'https'],
    ['x-forwarded-anything', ''],
    ['x-real-ip', '127.0.0.1'],
    ['via', '1.1 proxy'],
    ['connection', 'close'],
    ['connection', 'Close'],
    ['connection', 'upgrade'],
    ['connection', 'keep-alive, Upgrade'],
    ['connection', 'close,te'],
    ['authorization', 'Bearer guess'],
    ['authorization', 'Basic dTpw'],
    ['host', 'evil.example'],
  ] as const) {
    t.match(
      rules.mayPublish(request('127.0.0.1', [...curl, [name, value]])),
      { ok: false, code: 'forbidden' },
      name,
    )
    t.match(rules.mayPublish(request('127.0.0.1', [[name, value], ...curl])), { ok: false }, `${name} first`)
    t.ok(rules.mayPublish(request('127.0.0.1', curl)).ok, 'nothing of it is remembered')
  }
})

t.test('a connection that is kept is no sign of a proxy', async (t) => {
  for (const value of ['keep-alive', 'Keep-Alive', 'TE', 'keep-alive, te', 'x-close', 'upgraded', '']) {
    t.ok(peers().mayPublish(request('127.0.0.1', [...curl, ['connection', value]])).ok, `'${value}'`)
  }
  t.match(peers().mayPublish(request('127.0.0.1', [...curl, ['connection', 'close']])), {
    message: /Connection header says close or upgrade.* api\.keys as Authorization: Bearer/,
  })
  const keyed = peers({ keys: ['the-key'] })
  const proxied = [...curl, ['connection', 'close'], ['authorization', 'Bearer the-key']] as const
  t.ok(keyed.mayPublish(request('127.0.0.1', proxied)).ok, 'a key is enough')
})

t.test("a browser of this machine may not publish, and is this machine's all the same", async (t) => {
  const page = [...curl, ['sec-fetch-site', 'same-origin'], ['origin', 'http://localhost:7777']] as const
  const isOwn = (options: Parameters<typeof peers>[0], address = '127.0.0.1', ...more: [string, string][]) =>
    peers(options).isOwnBrowser(request(address, [...page, ...more]))
  t.ok(isOwn({}))
  t.ok(isOwn({}, '::1', ['connection', 'keep-alive']))
  t.notOk(peers().mayPublish(request('127.0.0.1', page)).ok)
  for (const header of [
    ['connection', 'close'],
    ['connection', 'upgrade'],
    ['x-forwarded-for', '127.0.0.1'],
    ['via', '1.1 proxy'],
    ['host', 'evil.example'],
  ] satisfies [string, string][]) {
    t.notOk(isOwn({}, '127.0.0.1', header), header.join(': '))
  }
  t.notOk(isOwn({}, '192.0.2.1'))
  t.notOk(isOwn({ loopback: false }))
  t.notOk(isOwn({ socket: '/run/x.sock' }, ''))
  t.notOk(isOwn({ trustedProxies: ['10.0.0.1'] }))
  t.notOk(peers().isOwnBrowser(request('127.0.0.1', page, '192.0.2.1')), 'PROXY header')
})

t.test("a name that an attacker's DNS points to this machine is not a loopback name", async (t) => {
  const rules = peers()
  for (const host of [
    'evil.example:7777',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.0.0.1@evil.example',
    'localhost:7777:80',
    'localhost:',
    'localhost ',
    '127.0.0.999',
    '127.1',
    '[::1',
    '::1',
    '0.0.0.0',
    '',
  ]) {
    t.notOk(rules.mayPublish(request('127.0.0.1', [['host', host]])).ok, `'${host}'`)
  }
  t.notOk(rules.mayPublish(request('127.0.0.1', [])).ok, 'no Host')
  t.notOk(rules.mayPublish(request('127.0.0.1', [LOCAL, ['host', 'evil.example']])).ok, 'a second Host')
  t.notOk(
    rules.mayPublish(request('127.0.0.1', [['host', 'evil.example'], LOCAL])).ok,
    'and the other way round',
  )
})

t.test(
  'a PROXY header, a unix socket, trusted proxies or the config end the rule for this machine',
  async (t) => {
    t.notOk(peers().mayPublish(request('127.0.0.1', curl, '192.0.2.1')).ok, 'PROXY header')
    t.notOk(
      peers().mayPublish(request('127.0.0.1', curl, '127.0.0.1')).ok,
      'even one that names this machine',
    )
    t.notOk(peers({ socket: '/run/x.sock' }).mayPublish(request('', curl)).ok, 'unix socket')
    t.notOk(peers({ socket: '/run/x.sock' }).mayPublish(request('127.0.0.1', curl)).ok)
    t.notOk(
      peers({ trustedProxies: ['10.0.0.1'] }).mayPublish(request('127.0.0.1', curl)).ok,
      'trusted proxies',
    )
    t.notOk(peers({ loopback: false }).mayPublish(request('127.0.0.1', curl)).ok, 'api.loopback: false')
  },
)

t.test('an API key opens it from anywhere, each under its own name', async (t) => {
  const rules = peers({ keys: ['first-key', 'second-key'], trustedProxies: ['10.0.0.0/8'] })
  const by = (authorization: string) =>
    rules.mayPublish(
      request('192.0.2.1', [
        ['host', 'push.example'],
        ['origin', 'x'],
        ['authorization', authorization],
      ]),
    )
  const [first, second] = [by('Bearer first-key'), by('bearer second-key')]
  t.match(first, { ok: true, publisher: /^key:[0-9a-f]{12}$/ })
  t.match(second, { ok: true, publisher: /^key:[0-9a-f]{12}$/ })
  t.notSame(first, second)
  t.same(
    peers({ keys: ['new', 'second-key', 'first-key'] }).mayPublish(
      request('::2', [['authorization', 'Bearer first-key']]),
    ),
    first,
    'the name stays when keys are added and reordered',
  )
  for (const wrong of [
    'Bearer first-ke',
    'Bearer first-key2',
    'Bearer FIRST-KEY',
    'Bearer first-key,second-key',
    'Bearer first-key second-key',
    'Bearer ',
    'Bearer',
    'Basic first-key',
    'first-key',
    `Bearer ${'x'.repeat(5000)}`,
    `Bearer first-ke\u0179`,
    'Bearer first-key\0',
  ]) {
    t.match(by(wrong), { ok: false, code: 'unauthenticated' }, wrong.slice(0, 40))
  }
})

t.test('with keys configured, this machine still needs none, but a wrong one is wrong', async (t) => {
  const rules = peers({ keys: ['first-key'] })
  t.ok(rules.mayPublish(request('127.0.0.1', curl)).ok)
  t.match(rules.mayPublish(request('127.0.0.1', [...curl, ['authorization', 'Bearer typo']])), {
    code: 'unauthenticated',
  })
  t.match(rules.mayPublish(request('192.0.2.1', curl)), { code: 'unauthenticated', message: /API key/ })
})

t.test('keys that no header can carry are refused at the start', async (t) => {
  try {
    peers({ keys: ['', 'with space', 'ключ', 'fine', 'x'.repeat(257)] })
    t.fail('accepted')
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    t.same(
      error.problems.map(({ key }) => key),
      ['api.keys[0]', 'api.keys[1]', 'api.keys[2]', 'api.keys[4]'],
    )
    t.notMatch(error.message, 'with space', 'a key is not shown')
  }
})

t.test('a forwarded address counts from trusted proxies only', async (t) => {
  const forwarded = [
    ['x-forwarded-for', '198.51.100.7'],
    ['x-real-ip', '198.51.100.8'],
    ['forwarded', 'for=198.51.100.9'],
  ] as const
  t.equal(peers().clientAddress(request('127.0.0.1', forwarded)), '127.0.0.1')
  const rules = peers({ trustedProxies: ['10.0.0.0/8', '::1', 'unix'] })
  t.equal(rules.clientAddress(request('192.0.2.1', forwarded)), '192.0.2.1')
  t.equal(rules.clientAddress(request('10.0.0.1', forwarded)), '198.51.100.7')
  t.equal(rules.clientAddress(request('::ffff:10.0.0.1', forwarded)), '198.51.100.7')
  t.equal(rules.clientAddress(request('::1', forwarded)), '198.51.100.7')
  t.equal(rules.clientAddress(request('', forwarded)), '198.51.100.7', 'unix socket')
  t.equal(peers({ trustedProxies: ['10.0.0.0/8'] }).clientAddress(request('', forwarded)), '')
  t.equal(rules.clientAddress(request('10.0.0.1', forwarded.slice(1))), '198.51.100.9')
  t.equal(rules.clientAddress(request('10.0.0.1', [['x-real-ip', ' 198.51.100.8 ']])), '198.51.100.8')
  t.equal(rules.clientAddress(request('10.0.0.1', [])), '10.0.0.1')
})

t.test('what the client wrote to the left of its own address is not believed', async (t) => {
  const rules = peers({ trustedProxies: ['10.0.0.0/8'] })
  const by = (...values: string[]) =>
    rules.clientAddress(
      request(
        '10.0.0.1',
        values.map((value) => ['x-forwarded-for', value] as const),
      ),
    )
  t.equal(by('1.1.1.1, 198.51.100.7'), '198.51.100.7')
  t.equal(by('1.1.1.1, 198.51.100.7, 10.0.0.2'), '198.51.100.7', 'two proxies')
  t.equal(by('1.1.1.1', '198.51.100.7'), '198.51.100.7', "HAProxy's own header behind the client's")
  t.equal(by('10.0.0.3, 10.0.0.2'), '10.0.0.3', 'nobody but proxies')
  t.equal(by('1.1.1.1, rubbish'), '10.0.0.1', 'an unreadable hop ends the walk')
  t.equal(by('1.1.1.1, rubbish, 10.0.0.2'), '10.0.0.2')
  t.equal(by('198.51.100.7:4711'), '198.51.100.7')
  t.equal(by('[2001:DB8::1]:4711'), '2001:db8::1')
  t.equal(by('2001:db8::1'), '2001:db8::1')
  t.equal(by('::ffff:198.51.100.7'), '198.51.100.7')
  t.equal(by(',, 198.51.100.7 ,'), '198.51.100.7')
  t.equal(by(','.repeat(8000)), '10.0.0.1')
  t.equal(by(`198.51.100.7${',10.0.0.2'.repeat(500)}`), '10.0.0.2', 'the walk ends')
})

t.test('Forwarded is read from the right too, and no quote swallows what a proxy added', async (t) => {
  const rules = peers({ trustedProxies: ['10.0.0.0/8'] })
  const by = (value: string) => rules.clientAddress(request('10.0.0.1', [['forwarded', value]]))
  t.equal(by('for=198.51.100.7;proto=https;by=10.0.0.1'), '198.51.100.7')
  t.equal(by('proto=https; For="198.51.100.7:80"'), '198.51.100.7')
  t.equal(by('for=1.1.1.1, for="[2001:db8::1]:4711"'), '2001:db8::1')
  t.equal(by('for="1.1.1.1, for=198.51.100.7'), '198.51.100.7')
  for (const unreadable of [
    'for=unknown',
    'for=_hidden',
    'proto=https',
    'for=198.51.100.7;for=1.1.1.1',
    'for=198.51.100.7;host="x, for=1.1.1.1"',
    'for=198.51.100.7;host="x, for=1.1.1.1;y="',
    'for=198.51.100.7;host="x, for=1.1.1.1;y=\\"z"',
    'for="198.51.100.7',
  ]) {
    t.equal(by(unreadable), '10.0.0.1', unreadable)
  }
})

t.test("a trusted proxy's PROXY header names the client, or the next proxy", async (t) => {
  const rules = peers({ trustedProxies: ['10.0.0.0/8'] })
  const forged = [['x-forwarded-for', '1.1.1.1']] as const
  t.equal(rules.clientAddress(request('10.0.0.1', forged, '198.51.100.7')), '198.51.100.7')
  t.equal(
    rules.clientAddress(request('10.0.0.1', [['x-forwarded-for', '198.51.100.7']], '10.0.0.2')),
    '198.51.100.7',
  )
  t.equal(rules.clientAddress(request('192.0.2.1', forged, '198.51.100.7')), '192.0.2.1')
})
