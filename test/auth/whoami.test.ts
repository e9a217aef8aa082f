import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { decodeAnswer } from '../../src/auth/asking.ts'
import { Whoami, type WhoamiOptions } from '../../src/auth/whoami.ts'
import type { AuthUrlConfig } from '../../src/config/config.ts'
import type { Credentials, User } from '../../src/registry/define.ts'
import { until } from '../support/wait.ts'
import { type Application, reply, startApplication } from './application.ts'

const unavailable = { name: 'ClientError', code: 'unavailable' }

function credentials(headers: Record<string, string> = {}, token: string | null = null): Credentials {
  return { token, headers, cookies: {}, query: {}, address: '192.0.2.7' }
}

function session(name: string): Credentials {
  return credentials({ cookie: `sessionid=${name}` })
}

function whoamiOf(url: string, config: Partial<AuthUrlConfig> = {}, options: WhoamiOptions = {}): Whoami {
  const defaults = { timeoutMs: 3000, cacheMs: 5000, recheckMs: Infinity, concurrency: 16 }
  return new Whoami(
    { url, headers: ['cookie', 'authorization'], cookies: null, ...defaults, ...config },
    options,
  )
}

async function start(
  t: Test,
  config?: Partial<AuthUrlConfig>,
  options?: WhoamiOptions,
): Promise<{ application: Application; whoami: Whoami }> {
  const application = await startApplication(
    t,
    new Map([
      ['a', { user: 'ann' }],
      ['b', { user: 'bob' }],
    ]),
  )
  return { application, whoami: whoamiOf(application.url, config, options) }
}

t.test('the application is asked with the credentials, and with nothing else of the client', async (t) => {
  const { application, whoami } = await start(t)
  const given = { cookie: 'sessionid=a', authorization: 'Basic xyz', 'x-secret': '1', host: 'evil.example' }
  t.match(await whoami.whose(credentials(given)), { id: 'ann' })
  const [headers] = application.asked
  t.match(headers, { cookie: 'sessionid=a', authorization: 'Basic xyz', 'x-forwarded-for': '192.0.2.7' })
  t.equal(headers?.['x-secret'], undefined)
  t.match(headers?.host, /^127\.0\.0\.1/)
  t.equal(await whoami.whose(credentials({ 'x-secret': '1' })), null, 'nothing to go by')
  t.equal(application.asked.length, 1, 'so it is not asked')
})

t.test('a token goes as Authorization: Bearer, and the cookies stay behind', async (t) => {
  const { application, whoami } = await start(t)
  await whoami.whose(credentials({ cookie: 'sessionid=a' }, 'abc'))
  t.match(application.asked[0], { authorization: 'Bearer abc' })
  t.equal(application.asked[0]?.cookie, undefined)
})

t.test('of the cookies those that are named go along, and others make no new question', async (t) => {
  const { application, whoami } = await start(t, { cookies: ['sessionid'] })
  for (const other of ['_ga=1', '_ga=2', 'xsessionid=b']) {
    t.match(await whoami.whose(credentials({ cookie: `${other}; sessionid=a; z` })), { id: 'ann' })
  }
  t.equal(await whoami.whose(credentials({ cookie: '_ga=1' })), null)
  t.same(
    application.asked.map(({ cookie }) => cookie),
    ['sessionid=a'],
  )
})

t.test('what the application may answer', async (t) => {
  const { application, whoami } = await start(t, { cacheMs: 0 })
  const expires = Math.floor(Date.now() / 1000) + 60
  const whole = { info: { name: 'Ann' }, channels: { subscribe: ['chat:*'] }, database: 'shop' }
  for (const [answer, expected] of [
    [{ user: 'ann' }, { id: 'ann' }],
    [{ id: 42 }, { id: '42' }],
    [{ user: 'ann', info: null, expires: null, more: 1 }, { id: 'ann' }],
    [
      { user: 'ann', expires, ...whole },
      { id: 'ann', expires: expires * 1000, ...whole },
    ],
    [
      { user: 'ann', expires: '2040-01-31T12:00:00+01:00' },
      { id: 'ann', expires: Date.UTC(2040, 0, 31, 11) },
    ],
    [{ user: null }, null],
    [{ user: false }, null],
    [{ id: null }, null],
    [null, null],
  ] as const) {
    application.say(answer)
    t.same(await whoami.whose(session('a')), expected, JSON.stringify(answer))
  }
  for (const status of [204, 401, 301, 302, 303, 307, 308]) {
    application.answer = (response) =>
      response.writeHead(status, { Location: '/login', 'Set-Cookie': 'a=b' }).end()
    t.equal(await whoami.whose(session('a')), null, String(status))
  }
  application.say({ detail: 'banned' }, 403)
  await t.rejects(whoami.whose(session('a')), { code: 'forbidden' })
})

t.test('answers that are none are the application’s fault: unavailable, whatever they are', async (t) => {
  const { application, whoami } = await start(t, { timeoutMs: 500, cacheMs: 0 }, { retryMs: 0 })
  for (const [name, answer] of [
    ['HTML', (response) => response.end('<html>Sign in</html>')],
    ['nothing', (response) => response.end()],
    ['half', (response) => response.end('{"user":"a')],
    ['a text', (response) => reply(response, 'ann')],
    ['a list', (response) => reply(response, ['ann'])],
    ['a number', (response) => reply(response, 42)],
    ['no user', (response) => reply(response, {})],
    ['a user that is none', (response) => reply(response, { user: { id: 1 } })],
    ['an empty one', (response) => reply(response, { user: '' })],
    ['true', (response) => reply(response, { user: true })],
    ['a number that JSON rounds', (response) => response.end('{"user":12345678901234567890}')],
    ['wrong channels', (response) => reply(response, { user: 'a', channels: ['chat:*'] })],
    ['milliseconds', (response) => reply(response, { user: 'a', expires: Date.now() })],
    ['a time without a zone', (response) => reply(response, { user: 'a', expires: '2040-01-31T12:00:00' })],
    ['1e400', (response) => response.end('{"user":"a","expires":1e400}')],
    ['a wrong database', (response) => reply(response, { user: 'a', database: 1 })],
    ['404', (response) => reply(response, { user: 'ann' }, 404)],
    ['500', (response) => reply(response, { user: 'ann' }, 500)],
    ['an endless one', (response) => void endless(response)],
    ['a drip', (response) => void drip(response)],
    ['none at all', () => undefined],
    [
      'a length that does not come',
      (response) => void response.writeHead(200, { 'Content-Length': 100 }).write('{'),
    ],
    ['a broken connection', (response) => response.destroy()],
  ] as [string, Application['answer']][]) {
    application.answer = answer
    await t.rejects(whoami.whose(session('a')), unavailable, name)
  }
  await application.stop()
  await t.rejects(whoami.whose(session('a')), unavailable, 'nobody listens')
  await application.start()
  application.say({ user: 'ann' })
  t.match(await whoami.whose(session('a')), { id: 'ann' }, 'and then it is well again')

  async function endless(response: Parameters<Application['answer']>[0]): Promise<void> {
    while (!response.destroyed) {
      response.write('x'.repeat(16_384))
      await sleep(1)
    }
  }
  async function drip(response: Parameters<Application['answer']>[0]): Promise<void> {
    while (!response.destroyed) {
      response.write(' ')
      await sleep(50)
    }
  }
})

t.test('an answer is good for a while, that nobody is known for less', async (t) => {
  const { application, whoami } = await start(t, { cacheMs: 60_000 })
  for (let round = 0; round < 5; round++) t.match(await whoami.whose(session('a')), { id: 'ann' })
  t.match(await whoami.whose(session('b')), { id: 'bob' }, 'others are others')
  t.equal(application.asked.length, 2)
  const short = whoamiOf(application.url, { cacheMs: 500 })
  t.equal(await short.whose(session('x')), null)
  t.equal(await short.whose(session('x')), null)
  t.equal(application.asked.length, 3)
  application.say({ user: 'xenia' })
  await sleep(150)
  t.match(await short.whose(session('x')), { id: 'xenia' }, 'a fifth later it is asked again')
  application.say({ user: 'late', expires: Date.now() / 1000 + 0.2 })
  t.match(await whoami.whose(session('y')), { id: 'late' })
  await sleep(250)
  application.say({ user: null })
  t.equal(await whoami.whose(session('y')), null, 'and nobody longer than until it expires')
})

t.test('as many answers are remembered as there is room for', async (t) => {
  const { whoami } = await start(t, {}, { maxCached: 10 })
  for (let index = 0; index < 30; index++) await whoami.whose(session(`x${index}`))
  t.equal(whoami.cached, 10)
})

t.test('a user whose sessions were ended is asked for anew', async (t) => {
  const { application, whoami } = await start(t, { cacheMs: 60_000 })
  for (const name of ['a', 'b']) await whoami.whose(session(name))
  whoami.forget('ann', null)
  for (const name of ['a', 'b']) await whoami.whose(session(name))
  t.equal(application.asked.length, 3)
  let release: (() => void) | undefined
  application.answer = (response) => (release = () => reply(response, { user: 'carl' }))
  const before = whoami.whose(session('c'))
  await until('the question', () => release)
  whoami.forget('carl', null)
  application.say({ user: null })
  t.equal(await whoami.whose(session('c')), null, 'what was asked before is not waited for')
  release?.()
  t.match(await before, { id: 'carl' })
  await sleep(0)
  t.equal(await whoami.whose(session('c')), null, 'nor remembered')
})

t.test('ten thousand that come back together: equal questions are one, and few go out at once', async (t) => {
  const { application, whoami } = await start(t, { concurrency: 4 })
  application.answer = (response, { cookie = '' }) =>
    setTimeout(() => reply(response, { user: cookie.slice(10) }), 2)
  const users = await Promise.all(
    Array.from({ length: 10_000 }, (_, index) => whoami.whose(session(`u${index % 200}`))),
  )
  t.equal(users[205]?.id, 'u5')
  t.equal(application.asked.length, 200)
  t.ok(application.busiest <= 4, `at most ${application.busiest} at once`)
  t.match(whoami.counts, { asked: 200, shared: 9800, failed: 0 })
})

t.test('the queue has an end, and a deadline', async (t) => {
  const { application, whoami } = await start(t, { concurrency: 1 }, { maxWaiting: 2, waitMs: 300 })
  const held: (() => void)[] = []
  application.answer = (response) => held.push(() => reply(response, { user: 'ann' }))
  const first = whoami.whose(session('1'))
  await until('the first', () => held.length === 1)
  const waiting = [whoami.whose(session('2')), whoami.whose(session('3'))]
  await t.rejects(whoami.whose(session('4')), unavailable, 'no room')
  for (const one of waiting) await t.rejects(one, unavailable, 'too late')
  held[0]?.()
  t.match(await first, { id: 'ann' })
  application.say({ user: 'ann' })
  t.match(await whoami.whose(session('5')), { id: 'ann' })
})

t.test('an outage is told once at its beginning and once at its end, and nobody waits for it', async (t) => {
  const lines: string[] = []
  const log = {
    warn: (_: object, text: string) => lines.push(text),
    info: (_: object, text: string) => lines.push(text),
  }
  const { application, whoami } = await start(t, { timeoutMs: 20_000 }, { retryMs: 400, log: log as never })
  const { url } = application
  await application.stop()
  for (let index = 0; index < 20; index++) await t.rejects(whoami.whose(session('a')), unavailable)
  t.equal(whoami.counts.asked, 3, 'after some failures it is left alone for a while')
  await application.start()
  t.equal(application.url, url)
  await until('it is asked again', async () => (await whoami.whose(session('a')))?.id === 'ann')
  t.same(lines, ['the application can not say who its users are', 'the application answers again'])
})

t.test('bytes of a header reach the application as they came, and line breaks do not', async (t) => {
  const { application, whoami } = await start(t)
  await whoami.whose(credentials({ cookie: 'name=Zoë' }))
  await whoami.whose(credentials({ cookie: 'name=日' }))
  await t.rejects(
    whoami.whose(credentials({ cookie: 'a=b\r\nX-Evil: 1', authorization: 'x' })).then(() => {
      throw new Error('asked')
    }),
    /asked/,
  )
  t.equal(application.asked[1]?.cookie, Buffer.from('name=日').toString('latin1'))
  t.equal(application.asked[2]?.['x-evil'], undefined)
})

t.test('questions can be asked again, by the user that they found', async (t) => {
  const { application, whoami } = await start(t, { cacheMs: 0, recheckMs: 60_000 })
  const user = (await whoami.whose(session('a'))) as User
  const question = whoami.questionOf(user)
  t.ok(question)
  t.match(await whoami.again(question!), { id: 'ann' })
  application.say({ user: null })
  t.equal(await whoami.again(question!), null)
  t.equal(whoami.questionOf({ id: 'ann' }), undefined)
})

t.test('where nobody is asked about again no credentials are kept', async (t) => {
  const { whoami } = await start(t)
  const user = (await whoami.whose(session('a'))) as User
  t.equal(whoami.questionOf(user), undefined)
})

t.test('answers that are over leave the memory', async (t) => {
  const { whoami } = await start(t, { cacheMs: 100 })
  for (let index = 0; index < 20; index++) await whoami.whose(session(`x${index}`))
  await sleep(150)
  await whoami.whose(session('a'))
  t.equal(whoami.cached, 1)
})

t.test('an answer is decoded without surprises', async (t) => {
  t.same(decodeAnswer('{"user":"a","__proto__":{"channels":{"subscribe":["*"]}}}'), { id: 'a' })
  t.throws(() => decodeAnswer('{"__proto__":{"user":"a"}}'), { name: 'AskingError' })
  t.throws(() => decodeAnswer(`{"user":"${'x'.repeat(256)}"}`), { name: 'AskingError' })
})
