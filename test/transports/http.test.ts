import { once } from 'node:events'
import { connect as tcpConnect } from 'node:net'
import { connect } from '../support/client.ts'
import type { TestDaemon } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import type { BaseContext } from '../../src/index.ts'
import { CHANNELS, onBoth, SECRET } from './both.ts'

interface Answer {
  readonly status: number
  readonly body: { readonly id?: string | null; readonly error?: { code: string; message: string } }
  readonly headers: Headers
}

async function post(
  daemon: TestDaemon,
  path: string,
  body?: string | Buffer | null,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(daemon.url + path, { method: 'POST', body: body ?? null, headers })
  return {
    status: response.status,
    body: (await response.json()) as Answer['body'],
    headers: response.headers,
  }
}

const JSON_TYPE = { 'Content-Type': 'application/json' }

/** Sends bytes as they are and gives what came back until the server hung up or the text was seen. */
async function raw(
  t: { teardown(work: () => unknown): unknown },
  daemon: TestDaemon,
  text: string,
  seen: RegExp,
): Promise<string> {
  const socket = tcpConnect(daemon.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => undefined)
  let answer = ''
  socket.on('data', (chunk) => (answer += chunk.toString('latin1')))
  await once(socket, 'connect')
  socket.write(text, 'latin1')
  await until(String(seen), () => seen.test(answer) || socket.closed)
  return answer
}

onBoth('/publish: the body is the data, of whatever type, and arrives as it came', async (t, start) => {
  const daemon = await start(CHANNELS)
  const client = await connect(t, daemon)
  const frames: string[] = []
  client.socket.on('message', (bytes: Buffer) => frames.push(bytes.toString()))
  await client.subscribe('chat:a')
  const bodies: [string, string?][] = [
    ['{"n":12345678901234567890,"f":1.10,"e":1e-7}'],
    ['null'],
    ['0'],
    ['""'],
    ['[]'],
    [' {"a" : 1} '],
    ['"ü😀 \\u2028 \u2028"'],
    [
      '{\r\n  "text": "a\\nb",\n\n  "n": 12345678901234567890\r\n}',
      '{   "text": "a\\nb",   "n": 12345678901234567890 }',
    ],
  ]
  for (const [body, expected] of bodies) {
    const { status, body: answer } = await post(daemon, '/publish?channel=chat:a', body)
    t.equal(status, 200)
    const message = await client.next({ type: 'message' })
    t.equal(message['id'], answer.id)
    const frame = frames.at(-1)!
    t.equal(frame.slice(frame.indexOf('"data":') + 7, frame.indexOf(',"time":')), expected ?? body)
    t.notMatch(frame, /[\r\n]/)
  }
  t.match(await post(daemon, '/publish?channel=live%3Aa', '1'), { status: 200, body: { id: null } })
  t.match(await post(daemon, '/publish?x=1&channel=chat:a', '1', { 'Content-Type': 'text/plain' }), {
    status: 200,
  })
})

onBoth('/publish: what is wrong with a request is told, and nothing is delivered', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { publicationBytes: 1000 } })
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  const cases: [string, string | Buffer | null, number, string][] = [
    ['/publish', '1', 400, 'invalid_input'],
    ['/publish?channel=', '1', 404, 'unknown_channel'],
    ['/publish?channel=chat', '1', 404, 'unknown_channel'],
    ['/publish?channel=chat:a%0a', '1', 404, 'unknown_channel'],
    ['/publish?channel=none:a', '1', 404, 'unknown_channel'],
    ['/publish?channel=__proto__:a', '1', 404, 'unknown_channel'],
    ['/publish?channel=constructor:a', '1', 404, 'unknown_channel'],
    ['/publish?channel=chat:a&channel=chat:b', '1', 400, 'invalid_input'],
    ['/publish?channel=chat:a', null, 400, 'invalid_input'],
    ['/publish?channel=chat:a', '', 400, 'invalid_input'],
    ['/publish?channel=chat:a', ' ', 400, 'invalid_input'],
    ['/publish?channel=chat:a', 'hello', 400, 'invalid_input'],
    ['/publish?channel=chat:a', '{"a":1', 400, 'invalid_input'],
    ['/publish?channel=chat:a', '1 2', 400, 'invalid_input'],
    ['/publish?channel=chat:a', '\ufeff1', 400, 'invalid_input'],
    ['/publish?channel=chat:a', Buffer.from([0x22, 0xff, 0x22]), 400, 'invalid_input'],
    ['/publish?channel=chat:a', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 400, 'invalid_input'],
    ['/publish?channel=chat:a', `"${'x'.repeat(999)}"`, 413, 'too_large'],
    ['/publish?channel=chat:a', `"${'ü'.repeat(500)}"`, 413, 'too_large'],
    ['/publish?channel=chat:a', 'x'.repeat(300_000), 413, 'too_large'],
  ]
  for (const [path, body, status, code] of cases) {
    const answer = await post(daemon, path, body)
    t.match(
      answer,
      { status, body: { error: { code, message: String } } },
      `${path} ${String(body).slice(0, 30)}`,
    )
    t.equal(answer.headers.get('content-type'), 'application/json')
  }
  t.equal((await post(daemon, '/publish?channel=chat:a', `"${'x'.repeat(998)}"`)).status, 200)
  await client.next({ type: 'message' })
  await client.ask({ type: 'ping' })
  t.same(client.rest('message'), [])
})

onBoth(
  '/publish: a body that is cut off is nothing; one larger than it says is not taken',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    const head = 'POST /publish?channel=chat:a HTTP/1.1\r\nHost: localhost\r\nContent-Length: '
    const socket = tcpConnect(daemon.port, '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(`${head}100\r\n\r\n{"cut":`)
    socket.destroy()
    const chunked =
      'POST /publish?channel=chat:a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'
    t.match(await raw(t, daemon, `${chunked}4\r\n[1,2\r\n3\r\n,3]\r\n0\r\n\r\n`, /"id"/), /200 OK/)
    await raw(t, daemon, `${chunked}zz\r\n[1]\r\n0\r\n\r\n`, /HTTP\/1\.1 4/)
    await raw(t, daemon, `${head}-5\r\n\r\n[1]`, /HTTP\/1\.1 4/)
    const both = `${head}3\r\nTransfer-Encoding: chunked\r\n\r\n[1]`
    t.notMatch(await raw(t, daemon, both, /HTTP\/1\.1 4/), /200 OK/, 'two lengths: request smuggling')
    const client = await connect(t, daemon)
    t.match((await client.subscribe('chat:a', { last: 10 }))['messages'], [{ data: [1, 2, 3] }])
    t.equal(((await client.subscribe('chat:a', { last: 10 }))['messages'] as unknown[]).length, 1)
  },
)

onBoth('/api/publish: channel, data, exclude and key in the body', async (t, start) => {
  const daemon = await start(CHANNELS)
  const [one, two] = [await connect(t, daemon), await connect(t, daemon)]
  for (const client of [one, two]) await client.subscribe('chat:a')
  const frames: string[] = []
  two.socket.on('message', (bytes: Buffer) => frames.push(bytes.toString()))
  const exclude = one.welcome!['session']
  const body = `{"data":\n{"n":12345678901234567890},"channel":"chat:a","exclude":"${exclude as string}","key":"k"}`
  const answer = await post(daemon, '/api/publish', body, JSON_TYPE)
  t.match(answer, { status: 200, body: { id: /^\w+-1$/ } })
  await two.next({ type: 'message' })
  t.match(frames[0], '"data":{"n":12345678901234567890}')
  t.same((await post(daemon, '/api/publish', body, JSON_TYPE)).body, answer.body, 'the same key again')
  await post(daemon, '/api/publish', '{"channel":"chat:a","data":"end"}', {
    'Content-Type': 'Application/JSON; charset=utf-8',
  })
  t.match(await one.next({ type: 'message' }), { data: 'end' })
  t.match(await two.next({ type: 'message' }), { data: 'end' })
  // A name with escapes: the text can't be cut out, the value counts.
  await post(daemon, '/api/publish', '{"channel":"chat:a","d\\u0061ta":"escaped"}', JSON_TYPE)
  t.match(await one.next({ type: 'message' }), { data: 'escaped' })
})

onBoth('/api/publish: the header exclude counts where the body names nobody', async (t, start) => {
  const daemon = await start(CHANNELS)
  const [one, two] = [await connect(t, daemon), await connect(t, daemon)]
  for (const client of [one, two]) await client.subscribe('live:a')
  const [first, second] = [one.welcome!['session'], two.welcome!['session']] as [string, string]
  const say = (data: string, more: object, exclude: string): Promise<Answer> =>
    post(daemon, '/api/publish', JSON.stringify({ channel: 'live:a', data, ...more }), {
      ...JSON_TYPE,
      Exclude: exclude,
    })
  await say('by header', {}, first)
  await say('by field', { exclude: second }, first)
  await say('end', {}, 'nobody')
  t.match(await one.next({ type: 'message' }), { data: 'by field' })
  t.match(await one.next({ type: 'message' }), { data: 'end' })
  t.match(await two.next({ type: 'message' }), { data: 'by header' })
  t.match(await two.next({ type: 'message' }), { data: 'end' })
})

onBoth('/api/publish: what is wrong with a request is told', async (t, start) => {
  const daemon = await start(CHANNELS)
  const deep = '['.repeat(30_000) + ']'.repeat(30_000)
  const cases: [string, number, string, RegExp?][] = [
    ['', 400, 'invalid_input'],
    ['null', 400, 'invalid_input'],
    ['[]', 400, 'invalid_input'],
    ['"chat:a"', 400, 'invalid_input'],
    ['{}', 400, 'invalid_input', /channel/],
    ['{"channel":5,"data":1}', 400, 'invalid_input', /channel/],
    ['{"channel":["chat:a"],"data":1}', 400, 'invalid_input', /channel/],
    ['{"channel":"chat:a"}', 400, 'invalid_input', /data/],
    ['{"channel":"chat","data":1}', 404, 'unknown_channel'],
    ['{"channel":"none:a","data":1}', 404, 'unknown_channel'],
    ['{"channel":"chat:a","data":1,"exclude":5}', 400, 'invalid_input', /exclude/],
    ['{"channel":"chat:a","data":1,"key":{}}', 400, 'invalid_input', /key/],
    [`{"channel":"chat:a","data":1,"key":"${'x'.repeat(257)}"}`, 400, 'invalid_input', /Key/],
    [`{"channel":"chat:a","d\\u0061ta":${deep}}`, 400, 'invalid_input', /nested/],
    [`{"channel":"chat:a","data":"${'x'.repeat(65_536)}"}`, 413, 'too_large'],
    [`{"channel":"chat:a","data":"${'x'.repeat(100_000)}"}`, 413, 'too_large'],
    ['{"__proto__":{"channel":"chat:a","data":1}}', 400, 'invalid_input', /channel/],
  ]
  for (const [body, status, code, message] of cases) {
    const answer = await post(daemon, '/api/publish', body, JSON_TYPE)
    t.match(answer, { status, body: { error: { code, message: message ?? String } } }, body.slice(0, 80))
  }
  for (const type of ['', 'text/plain', 'application/jsonp', 'application/x-www-form-urlencoded']) {
    const answer = await post(
      daemon,
      '/api/publish',
      Buffer.from('{"channel":"chat:a","data":1}'),
      type === '' ? {} : { 'Content-Type': type },
    )
    t.match(
      answer,
      { status: 400, body: { error: { code: 'invalid_input', message: /Content-Type/ } } },
      type,
    )
  }
  t.equal(daemon.daemon.hub!.size, 0)
  t.equal(daemon.daemon.counts.publications.get('http'), undefined)
})

onBoth(
  'an idempotency key: again is answered alike and delivered once; another body is a conflict',
  async (t, start) => {
    const daemon = await start({
      ...CHANNELS,
      api: { keys: ['key-one', 'key-two'] },
      hooks: {
        start: (context: BaseContext) =>
          context.publish('chat:b', 'start', { key: 'loopback k' }).then(() => undefined),
      },
    })
    const client = await connect(t, daemon)
    await client.subscribe('chat:a')
    const publish = (body: string, key: string, headers: Record<string, string> = {}, channel = 'chat:a') =>
      post(daemon, `/publish?channel=${channel}`, body, { 'Idempotency-Key': key, ...headers })
    const first = await publish('1', 'k')
    t.same((await publish('1', 'k')).body, first.body)
    t.match(await publish('2', 'k'), { status: 409, body: { error: { code: 'conflict' } } })
    // Whose key it is, for which channel: each its own.
    const others = [
      await publish('3', 'k', { Authorization: 'Bearer key-one' }),
      await publish('4', 'k', { Authorization: 'Bearer key-two' }),
      await publish('5', 'k', {}, 'chat:b'),
      await publish('6', 'another'),
    ]
    for (const { status, body } of others) {
      t.equal(status, 200)
      t.not(body.id, first.body.id)
    }
    const parallel = await Promise.all(Array.from({ length: 10 }, () => publish('7', 'parallel')))
    t.equal(new Set(parallel.map(({ body }) => body.id)).size, 1)
    t.match(await publish('8', 'x'.repeat(257)), { status: 400 })
    t.match(await publish('nonsense', 'failed'), { status: 400 })
    t.match(await publish('9', 'failed'), { status: 200 }, 'a refused one has not used its key up')
    await client.next({ type: 'message', data: 9 })
    t.same(
      client.frames.filter(({ type }) => type === 'message').map(({ data }) => data),
      [1, 3, 4, 6, 7, 9],
    )
    t.equal(daemon.daemon.counts.duplicates, 1 + 9)
    t.match((await post(daemon, '/publish?channel=live:a', '1', { 'Idempotency-Key': 't' })).body, {
      id: null,
    })
    t.match((await post(daemon, '/publish?channel=live:a', '1', { 'Idempotency-Key': 't' })).body, {
      id: null,
    })
  },
)

onBoth('the header exclude leaves one session out', async (t, start) => {
  const daemon = await start(CHANNELS)
  const [one, two] = [await connect(t, daemon), await connect(t, daemon)]
  for (const client of [one, two]) await client.subscribe('live:a')
  await daemon.publish('live:a', 1, { exclude: one.welcome!['session'] as string })
  await daemon.publish('live:a', 2, { exclude: 'nobody' })
  t.match(await one.next({ type: 'message' }), { data: 2 })
  t.match(await two.next({ type: 'message' }), { data: 1 })
  t.match(await two.next({ type: 'message' }), { data: 2 })
})

onBoth('publishing: by key from anywhere, without one only programs on this machine', async (t, start) => {
  const open = await start(CHANNELS)
  const keyed = await start({ ...CHANNELS, api: { keys: ['a-key'], loopback: false } })
  const proxied = await start({ ...CHANNELS, trustedProxies: ['10.0.0.1'] })
  const foreign: Record<string, string>[] = [
    { Origin: 'http://127.0.0.1:1' },
    { 'Sec-Fetch-Site': 'same-origin' },
    { Forwarded: 'for=127.0.0.1' },
    { 'X-Forwarded-For': '127.0.0.1' },
    { 'X-Forwarded-Proto': 'https' },
    { 'X-Real-IP': '127.0.0.1' },
    { Via: '1.1 proxy' },
    { Authorization: 'Bearer something' },
  ]
  for (const path of ['/publish?channel=chat:a', '/api/publish']) {
    const body = path === '/api/publish' ? '{"channel":"chat:a","data":1}' : '1'
    t.equal((await post(open, path, body, JSON_TYPE)).status, 200)
    for (const headers of foreign) {
      const answer = await post(open, path, body, { ...JSON_TYPE, ...headers })
      t.match(answer, { status: 403, body: { error: { code: 'forbidden' } } }, Object.keys(headers).join(' '))
    }
    t.match(await post(keyed, path, body, JSON_TYPE), { status: 401 })
    t.match(await post(keyed, path, body, { ...JSON_TYPE, Authorization: 'Bearer wrong' }), { status: 401 })
    t.match(await post(keyed, path, body, { ...JSON_TYPE, Authorization: 'Bearer a-key' }), { status: 200 })
    const away = { ...JSON_TYPE, Authorization: 'Bearer a-key', Origin: 'https://evil.example', Via: '1.1 x' }
    t.match(await post(keyed, path, body, away), { status: 200 }, 'a key is enough')
    t.match(await post(proxied, path, body, JSON_TYPE), { status: 403 })
  }
  const length = 'Content-Length: 1\r\n\r\n1'
  const rebound = `POST /publish?channel=chat:a HTTP/1.1\r\nHost: evil.example\r\n${length}`
  t.match(await raw(t, open, rebound, /}$/), /403 Forbidden/, 'DNS rebinding')
})

onBoth(
  'what a proxy of this machine passes on that adds nothing is not from this machine',
  async (t, start) => {
    const daemon = await start({ ...CHANNELS, dev: true, auth: { jwt: { secret: SECRET } } })
    const through = (request: string, connection: string): Promise<string> =>
      raw(
        t,
        daemon,
        `${request} HTTP/1.1\r\nHost: 127.0.0.1:${daemon.port}\r\nConnection: ${connection}\r\n` +
          'Content-Type: application/json\r\nSec-Fetch-Dest: empty\r\n' +
          (request.startsWith('POST') ? 'Content-Length: 1\r\n\r\n1' : '\r\n'),
        /[}\n]$/,
      )
    // As nginx does with nothing but proxy_pass, and with the usual lines for WebSockets.
    for (const connection of ['close', 'upgrade']) {
      for (const request of ['POST /publish?channel=chat:a', 'POST /api/publish', 'GET /metrics']) {
        const answer = await through(request, connection)
        t.match(answer, /^HTTP\/1\.1 403 /, `${request}, ${connection}`)
        t.match(answer, 'api.keys')
      }
    }
    t.match(await through('POST /publish?channel=chat:a', 'keep-alive'), /^HTTP\/1\.1 200 /)
    const page = (connection: string): Promise<string> =>
      raw(
        t,
        daemon,
        `GET /demo/setup?user=ann HTTP/1.1\r\nHost: 127.0.0.1:${daemon.port}\r\nConnection: ${connection}\r\n` +
          'Sec-Fetch-Site: same-origin\r\n\r\n',
        /}$/,
      )
    t.match(await page('keep-alive'), /^HTTP\/1\.1 200 [^]*"token":"ey/)
    for (const connection of ['close', 'upgrade']) {
      const answer = await page(connection)
      t.match(answer, /^HTTP\/1\.1 403 /, `the demo, ${connection}`)
      t.notMatch(answer, '"token"')
    }
  },
)

onBoth('unknown paths are 404 and wrong methods 405 with Allow, both as JSON', async (t, start) => {
  const daemon = await start(CHANNELS)
  for (const path of [
    '/nothing',
    '/publish/',
    '/PUBLISH',
    '/constructor',
    '/__proto__',
    '//',
    '/api',
    '/%',
    '/..%2f',
  ]) {
    const answer = await post(daemon, path, '1')
    t.match(answer, { status: 404, body: { error: { code: 'not_found' } } }, path)
  }
  for (const [method, path, allow] of [
    ['GET', '/publish?channel=chat:a', 'POST, OPTIONS'],
    ['PUT', '/api/publish', 'POST'],
    ['OPTIONS', '/api/publish', 'POST'],
    ['POST', '/healthz', 'GET, HEAD'],
    ['DELETE', '/metrics', 'GET, HEAD'],
  ] as const) {
    const response = await fetch(daemon.url + path, { method })
    t.equal(response.status, 405, `${method} ${path}`)
    t.equal(response.headers.get('allow'), allow)
    t.match(await response.json(), { error: { code: 'method_not_allowed' } })
  }
  t.match(await (await fetch(`${daemon.url}/ws`)).json(), { error: { code: 'invalid_input' } })
  await t.rejects(connect(t, `ws://127.0.0.1:${daemon.port}/other`), { message: /404/ })
})

onBoth(
  'HEAD is answered like GET, without the body, and the connection can be used again',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    const request = (method: string, more = ''): string =>
      `${method} /healthz HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`
    const answer = await raw(t, daemon, request('HEAD') + request('GET', 'Connection: close\r\n'), /}$/)
    t.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
    const [head, ...rest] = answer.split('\r\n\r\n')
    t.notMatch(head, /ok/)
    t.match(rest[0], /^HTTP\/1\.1 200 OK/, 'the next answer follows the head at once')
    t.equal(rest[1], '{"ok":true}')
  },
)

onBoth('healthz, readyz and metrics tell how it is', async (t, start) => {
  const daemon = await start({ ...CHANNELS, api: { keys: ['a-key'] } })
  await daemon.publish('chat:a', 1)
  t.same(await (await fetch(`${daemon.url}/healthz`)).json(), { ok: true })
  const ready = await fetch(`${daemon.url}/readyz`)
  t.equal(ready.status, 200)
  t.match(await ready.json(), { ready: true, parts: Array })
  const metrics = await fetch(`${daemon.url}/metrics`)
  t.match(metrics.headers.get('content-type'), /^text\/plain/)
  t.match(await metrics.text(), /^livemessages_publications_total\{source="http"\} 1$/m)
  const foreign = await fetch(`${daemon.url}/metrics`, { headers: { 'X-Forwarded-For': '203.0.113.1' } })
  t.equal(foreign.status, 403)
  const byKey = await fetch(`${daemon.url}/metrics`, { headers: { Authorization: 'Bearer a-key' } })
  t.equal(byKey.status, 200)
})

onBoth('metrics tell by what connections came, and how many requests', async (t, start) => {
  const daemon = await start(CHANNELS)
  await connect(t, daemon)
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const feed = await fetch(`${daemon.url}/sse?channel=chat:a`, { signal: abort.signal })
  t.equal(feed.status, 200)
  const metrics = async (): Promise<string> => (await fetch(`${daemon.url}/metrics`)).text()
  const text = await metrics()
  t.match(text, /^livemessages_transport_connections\{transport="websocket"\} 1$/m)
  t.match(text, /^livemessages_transport_connections\{transport="sse"\} 1$/m)
  t.match(text, /^livemessages_requests_total 2$/m)
  abort.abort()
  await until('it is told that one has gone', async () =>
    /^livemessages_transport_connections\{transport="sse"\} 0$/m.test(await metrics()),
  )
})

onBoth('many requests over one connection, pipelined, are answered in their order', async (t, start) => {
  const daemon = await start(CHANNELS)
  const one = (n: number): string =>
    `POST /publish?channel=chat:a HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${String(n).length}\r\n\r\n${n}`
  const answer = await raw(t, daemon, Array.from({ length: 50 }, (_value, n) => one(n)).join(''), /-50"}$/)
  t.same(
    [...answer.matchAll(/"id":"\w+-(\d+)"/g)].map((match) => Number(match[1])),
    Array.from({ length: 50 }, (_value, n) => n + 1),
  )
})
