import type { ActionContext } from '../../src/index.ts'
import type { TestConfig } from '../support/daemon.ts'
import { onBoth, SECRET, token } from './both.ts'
import { type HeadersOf, post, receive } from './upstream.ts'

// Which page may have a visitor's browser do something here.

const CONFIG: TestConfig = {
  ACTIONS: { open: { who: (data: unknown, { user }: ActionContext) => ({ data, user }) } },
  channels: { open: { access: 'public', publish: 'public' } },
  auth: { jwt: { secret: SECRET }, cookie: 'token' },
  origins: ['https://app.example'],
}

const JSON_TYPE = { 'Content-Type': 'application/json' }
const FORM = { 'Content-Type': 'application/x-www-form-urlencoded;charset=UTF-8' }
const TEXT = { 'Content-Type': 'text/plain;charset=UTF-8' }

onBoth('what a cookie says counts from the own and the listed pages only', async (t, start) => {
  const daemon = await start(CONFIG)
  const jwt = await token('42')
  const Cookie = `token=${jwt}`
  const own = `http://127.0.0.1:${daemon.port}`
  const cases: [string, HeadersOf, number, string | null][] = [
    ['cookie, listed page', { Cookie, Origin: 'https://app.example' }, 200, '42'],
    ['cookie, own page', { Cookie, Origin: own }, 200, '42'],
    ['cookie, another page', { Cookie, Origin: 'https://evil.example' }, 403, null],
    ['cookie, no origin', { Cookie }, 403, null],
    ['cookie, origin null', { Cookie, Origin: 'null' }, 403, null],
    ['cookie, another port', { Cookie, Origin: 'http://127.0.0.1:1' }, 403, null],
    ['header, no origin', { Authorization: `Bearer ${jwt}` }, 200, '42'],
    ['header and cookie, no origin', { Authorization: `Bearer ${jwt}`, Cookie }, 200, '42'],
    ['header, another page', { Authorization: `Bearer ${jwt}`, Origin: 'https://evil.example' }, 403, null],
    ['nobody, no origin', {}, 200, null],
    ['nobody, another page', { Origin: 'https://evil.example' }, 403, null],
    ['a cookie that is no token, no origin', { Cookie: 'theme=dark' }, 200, null],
  ]
  for (const [name, headers, status, user] of cases) {
    for (const path of ['/call/open/who', '/publish?channel=open:a']) {
      const answer = await post(daemon, path, { a: 1 }, { ...JSON_TYPE, ...headers })
      const known = path.startsWith('/call')
      // Without credentials `/publish` is a matter of API keys.
      if (!known && user === null && status === 200) continue
      t.equal(answer.status, status, `${name}: ${path}`)
      if (known && status === 200) t.match(answer.body, { data: { user } }, name)
      if (status === 403 && known) t.match(answer.body, { error: { code: 'forbidden' } })
    }
  }
})

onBoth('what a form on any page could send is no call', async (t, start) => {
  const daemon = await start(CONFIG)
  for (const type of [
    'text/plain',
    'multipart/form-data; boundary=x',
    'application/x-www-form-urlencoded',
    'x/y',
  ]) {
    const answer = await post(daemon, '/call/open/who', '{"a":1}', { 'Content-Type': type })
    t.match(
      answer,
      { status: 400, body: { error: { code: 'invalid_input', message: /Content-Type/ } } },
      type,
    )
  }
  const form = 'a=1&b=x+y&a=2&__proto__=z'
  const Origin = 'https://app.example'
  t.match(await post(daemon, '/call/open/who', form, { ...FORM, Origin }), {
    status: 200,
    body: { data: { data: { a: '2', b: 'x y' } } },
  })
  t.equal(
    (await post(daemon, '/call/open/who', form, { ...FORM, Origin: 'https://evil.example' })).status,
    403,
  )
})

onBoth('with `*` any page may call, and none with cookies', async (t, start) => {
  const daemon = await start({ ...CONFIG, origins: ['*'] })
  const jwt = await token('42')
  const Origin = 'https://any.example'
  t.equal((await post(daemon, '/call/open/who', {}, { Origin })).status, 200)
  t.equal((await post(daemon, '/call/open/who', {}, { Origin, Cookie: `token=${jwt}` })).status, 403)
  const own = { Origin: `http://127.0.0.1:${daemon.port}`, Cookie: `token=${jwt}` }
  t.match(await post(daemon, '/call/open/who', {}, own), { status: 200, body: { data: { user: '42' } } })
})

onBoth('what a hook knows by cookies needs a page as well', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    hooks: {
      authenticate: ({ cookies }: { cookies: Record<string, string> }) =>
        cookies['sid'] ? { id: '7' } : null,
    },
  })
  t.equal((await post(daemon, '/call/open/who', {}, { Cookie: 'sid=1' })).status, 403)
  t.match(await post(daemon, '/call/open/who', {}, { Cookie: 'sid=1', Origin: 'https://app.example' }), {
    status: 200,
    body: { data: { user: '7' } },
  })
  t.equal((await post(daemon, '/call/open/who', {}, { Authorization: 'Basic eA==' })).status, 403)
})

onBoth('browsers are told beforehand what they may send', async (t, start) => {
  const daemon = await start({ ...CONFIG, calls: { aliases: { '/roles/who': 'open.who' } } })
  for (const path of ['/call/open/who', '/command', '/publish?channel=open:a', '/roles/who']) {
    const ask = async (Origin: string): Promise<Response> => {
      const headers = { Origin, 'Access-Control-Request-Method': 'POST' }
      const response = await fetch(daemon.url + path, { method: 'OPTIONS', headers })
      await response.arrayBuffer()
      return response
    }
    const { status, headers } = await ask('https://app.example')
    t.equal(status, 204)
    t.equal(headers.get('access-control-allow-origin'), 'https://app.example')
    t.equal(headers.get('access-control-allow-credentials'), 'true')
    t.equal(headers.get('access-control-allow-methods'), 'POST')
    for (const name of [
      'Authorization',
      'Content-Type',
      'Idempotency-Key',
      'Livemessage-Session',
      'Livemessage-Secret',
    ]) {
      t.match(headers.get('access-control-allow-headers'), name)
    }
    t.equal((await ask('https://evil.example')).status, 403)
  }
  const refused = await post(daemon, '/call/open/nothing', {}, { Origin: 'https://app.example' })
  t.equal(refused.headers.get('access-control-allow-origin'), 'https://app.example', 'errors can be read too')
})

onBoth('sendBeacon shows the secret in the query, and sends text', async (t, start) => {
  const daemon = await start(CONFIG)
  const page = await receive(t, daemon)
  const { session, secret } = page
  const query = `session=${session}&secret=${encodeURIComponent(secret)}`
  const headers = { ...TEXT, Origin: 'https://app.example' }
  t.match(await post(daemon, `/call/open/who?${query}`, '{"bye":1}', headers), { status: 200 })
  t.equal((await post(daemon, `/call/open/who?session=${session}`, '{}', headers)).status, 403)
  t.equal(
    (await post(daemon, `/call/open/who?${query}`, '{}', { ...TEXT, Origin: 'https://evil.example' })).status,
    403,
  )
})
