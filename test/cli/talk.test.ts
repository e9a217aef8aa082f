import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { freePort, install, project } from '../support/installation.ts'
import { until } from '../support/wait.ts'

// `publish` and `listen` against a running daemon.

const it = await install(t)
const cwd = await project(t, {
  'livemessages.config.js': `
export default {
  ACTIONS: {}, postgres: false, port: 0,
  channels: {
    chat: { access: 'public', history: { count: 100 } },
    quotes: { access: 'public' },
    secret: { access: 'authenticated' },
  },
  auth: { jwt: { secret: 'a secret of more than thirty-two bytes' } },
}`,
})
const daemon = await it.start(t, ['-p', '0'], { cwd })
const url = ['--url', daemon.url]

t.test('publish: prints the cursor; null where there is no history', async (t) => {
  const journaled = await it.run(['publish', 'chat:a', '{"n":1}', ...url], { cwd })
  t.match(journaled, { code: 0, stderr: '', stdout: /^\{"id":"[\w-]+-\d+"\}\n$/ })
  t.match(await it.run(['publish', 'quotes:x', '1', ...url], { cwd }), { code: 0, stdout: '{"id":null}\n' })
  const key = ['--idempotency-key', 'once']
  const first = await it.run(['publish', 'chat:a', '{"n":2}', ...key, ...url], { cwd })
  const again = await it.run(['publish', 'chat:a', '{"n":2}', ...key, ...url], { cwd })
  t.equal(first.stdout, again.stdout, 'the second one is the first')
  const piped = await it.run(['publish', 'chat:a', '-', ...url], { cwd, input: '{"n":3}\n' })
  t.equal(piped.code, 0, 'from standard input')
})

t.test('token: opens what is for users; without a secret there is none', async (t) => {
  const { code, stdout } = await it.run(['token', 'ann'], { cwd })
  t.equal(code, 0)
  const token = stdout.trim()
  const listening = it.spawn(t, ['listen', 'secret:a', '--token', token, '--count', '1', ...url], { cwd })
  await until('somebody is there', async () => {
    await it.run(['publish', 'secret:a', '{"n":1}', ...url], { cwd })
    return listening.stdout.includes('"n":1')
  })
  t.match(await it.run(['token', 'ann', '--ttl', 'soon'], { cwd }), { code: 2, stderr: /USAGE: --ttl/ })
  const bare = await project(t, {
    'livemessages.config.js': 'export default { ACTIONS: {}, postgres: false }',
  })
  t.match(await it.run(['token', 'ann'], { cwd: bare }), { code: 2, stderr: /USAGE: .*auth\.jwt\.secret/ })
})

t.test('publish: what is no JSON, no channel, refused, or has nobody to go to', async (t) => {
  const expected: readonly (readonly [string[], number, RegExp])[] = [
    [['chat:a', 'hello', ...url], 2, /USAGE: expected JSON/],
    [['chat', '1', ...url], 2, /USAGE: expected a channel/],
    [['nope:a', '1', ...url], 2, /DAEMON_REFUSED: HTTP 404 .*unknown_channel: no subsystem 'nope'/],
    [['chat:a', '1', '--key', 'wrong', ...url], 2, /DAEMON_REFUSED: HTTP 403 .*forbidden/],
    [['chat:a', '1', '--url', 'http://127.0.0.1:1'], 3, /DAEMON_UNREACHABLE: .*127\.0\.0\.1:1.*ECONNREFUSED/],
    [['chat:a', '1', '--url', 'ftp://x'], 2, /USAGE: --url/],
    [['chat:a', '1', '--sql', '--amqp'], 2, /cannot be used with/],
    [['chat:a', '1', '--sql'], 2, /USAGE: .*postgres: false/],
    [['chat:a', '1', '--amqp'], 2, /USAGE: .*broker\.url/],
  ]
  for (const [args, code, text] of expected) {
    const ended = await it.run(['publish', ...args], { cwd })
    t.equal(ended.code, code, args.join(' '))
    t.match(ended.stderr, text)
    t.equal(ended.stdout, '')
  }
})

t.test('publish --print: says how, quoted, and does nothing', async (t) => {
  const print = async (...args: string[]): Promise<string> =>
    (await it.run(['publish', 'chat:a', `{"text":"it's"}`, '--print', ...args], { cwd })).stdout
  t.equal(await print('--sql'), `select livemessage.publish('chat:a', '{"text":"it''s"}'::jsonb);\n`)
  t.match(await print('--amqp'), `routing_key='chat.a' payload='{"text":"it'\\''s"}'`)
  const curl = await print(...url)
  t.match(curl, `curl -X POST '${daemon.url}/publish?channel=chat:a'`)
  t.match(curl, `-d '{"text":"it'\\''s"}'`)
})

t.test('listen: what it missed by --last and --since, and its end by --count', async (t) => {
  const numbers = (stdout: string): unknown[] =>
    stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { data: { n: number } }).data.n)
  const last = await it.run(['listen', 'chat:a', '--last', '2', '--count', '2', ...url], { cwd })
  t.match(last, { code: 0, stderr: '' })
  t.strictSame(numbers(last.stdout), [2, 3])
  const { id } = JSON.parse(last.stdout.split('\n')[0]!) as { id: string }
  const since = await it.run(['listen', 'chat:a', '--since', id, '--count', '1', ...url], { cwd })
  t.strictSame(numbers(since.stdout), [3])
  const raw = await it.run(['listen', 'chat:a', '--last', '1', '--count', '1', '--raw', ...url], { cwd })
  t.match(raw.stdout, /^\{"type":"welcome"[^\n]*\n\{"type":"subscribed"[^\n]*\n$/)
  const unknown = it.spawn(t, ['listen', 'chat:a', '--since', 'x-1', '--count', '1', ...url], { cwd })
  await unknown.said('chat:a: what came meanwhile is not all there any more')
})

t.test('listen: refused where it may not, and told when there is no daemon', async (t) => {
  const forbidden = await it.run(['listen', 'secret:a', ...url], { cwd })
  t.equal(forbidden.code, 2)
  t.match(forbidden.stderr, 'DAEMON_REFUSED: unauthenticated: secret:a is for authenticated users')
  const token = await it.run(['listen', 'chat:a', '--token', 'nonsense', ...url], { cwd })
  t.equal(token.code, 2)
  t.match(token.stderr, /DAEMON_REFUSED: .*4401/)
  const nobody = await it.run(['listen', 'chat:a', '--url', 'http://127.0.0.1:1'], { cwd })
  t.equal(nobody.code, 3)
  t.match(nobody.stderr, /DAEMON_UNREACHABLE: .*ECONNREFUSED/)
  for (const args of [
    ['--count', '0'],
    ['--last', 'x'],
    ['--last', '1', '--since', 'x-1'],
  ]) {
    t.equal((await it.run(['listen', 'chat:a', ...args], { cwd })).code, 2, args.join(' '))
  }
})

t.test('listen: one channel refused, the other one goes on', async (t) => {
  const listening = it.spawn(t, ['listen', 'chat:b', 'secret:a', '--count', '1', ...url], { cwd })
  await listening.said('unauthenticated')
  await it.run(['publish', 'chat:b', '"on"', ...url], { cwd })
  t.match(await listening.ended, { code: 0, stdout: /"data":"on"/ })
})

t.test('listen: survives a restart of the daemon, and says what it can not know', async (t) => {
  const port = String(await freePort())
  const first = await it.start(t, ['-p', port], { cwd })
  const place = ['--url', first.url]
  const listening = it.spawn(t, ['listen', 'chat:c', '--last', '0', '--count', '2', ...place], { cwd })
  // With --last 0 nothing is printed: it is there when the daemon has a channel.
  const subscribed = async () =>
    (await (await fetch(`${first.url}/metrics`)).text()).includes('livemessages_channels 1')
  await until('the subscription', subscribed)
  await it.run(['publish', 'chat:c', '"before"', ...place], { cwd })
  await listening.said('before')
  first.kill('SIGTERM')
  t.match(await first.ended, { code: 0 })
  await listening.said('connection lost (restart), coming back')
  await it.start(t, ['-p', port], { cwd })
  await listening.said('chat:c: what came meanwhile is not all there any more')
  await it.run(['publish', 'chat:c', '"after"', ...place], { cwd })
  t.match(await listening.ended, { code: 0, stdout: /"before"[^]*"after"/ })
})

t.test('listen: who reads it may leave, as head does', async (t) => {
  const listening = it.spawn(t, ['listen', 'chat:d', '--last', '1', ...url], { cwd })
  listening.process.stdout?.destroy()
  for (let n = 0; n < 2; n++) await it.run(['publish', 'chat:d', String(n), ...url], { cwd })
  t.match(await listening.ended, { code: 0, stderr: '' })
})

t.test('a unix socket: the config says where, and publish and listen go there', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-socket-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const key = 'a-key-of-more-than-sixteen-characters'
  const own = await project(t, {
    'livemessages.config.js': `
export default {
  ACTIONS: {}, postgres: false, socket: '${folder}/s', api: { keys: ['${key}'] },
  channels: { chat: { access: 'public', history: {} } },
}`,
  })
  const daemon = await it.start(t, [], { cwd: own })
  t.match(await daemon.logged({ msg: 'listening' }), { address: { socket: `${folder}/s` } })
  t.match(await it.run(['publish', 'chat:a', '1'], { cwd: own }), { code: 0, stdout: /"id":"/ })
  const listened = await it.run(['listen', 'chat:a', '--last', '1', '--count', '1'], { cwd: own })
  t.match(listened, { code: 0, stdout: /"data":1/ })
})

t.test('actions: the registry as a table, and as JSON', async (t) => {
  const own = await project(t, {
    'livemessages.config.js': `
export default {
  postgres: false,
  ACTIONS: { chat: { say: './actions/say.js', subscribe: './actions/say.js' } },
  hooks: { connect: './actions/say.js' },
}`,
    'actions/say.js': 'export default () => true',
  })
  const { stdout } = await it.run(['actions'], { cwd: own })
  t.equal(
    stdout,
    [
      'SUBSYSTEM  NAME       KIND    PATH',
      'chat       chat.say   action  actions/say.js',
      'chat       subscribe  hook    actions/say.js',
      'hooks      connect    hook    actions/say.js',
      '',
    ].join('\n'),
  )
  const json = await it.run(['actions', '--json'], { cwd: own })
  t.match(JSON.parse(json.stdout), [{ subsystem: 'chat', key: 'say', kind: 'action', path: /^\/.*say\.js$/ }])
})
