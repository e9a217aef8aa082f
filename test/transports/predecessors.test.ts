import t from 'tap'
import { resolveConfig } from '../../src/config/resolve.ts'
import type { Credentials } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth } from './both.ts'
import { ask, type Message } from './polling.ts'

const ON: TestConfig = { ...CHANNELS, predecessors: { subsystem: 'chat' } }

function list(text: string): unknown[] {
  return (JSON.parse(text) as Message[]).map((message) => message.data)
}

onBoth('predecessors: their addresses are not there unless the config says so', async (t, start) => {
  const daemon = await start(CHANNELS)
  for (const path of ['/listen/?cid=5', '/get_messages/?channel_id=5', '/messages/?cid=5']) {
    t.match(await ask(daemon, path), { status: 404 }, path)
  }
  t.equal((await ask(daemon, '/publish/?cid=5', { method: 'POST', body: '1' })).status, 404)
})

onBoth('predecessors: /publish/?cid= takes JSON and raw bodies', async (t, start) => {
  const daemon = await start(ON)
  const post = (body: string | Buffer, query = 'cid=5') =>
    ask(daemon, `/publish/?${query}`, { method: 'POST', body })
  t.match(await post('nobody'), { status: 202, text: 'active subscribers: 0\n' })
  const client = await connect(t, daemon)
  await client.subscribe('chat:5')
  for (const [body, data] of [
    ['{"message":"hi"}', { message: 'hi' }],
    ['hello, <b>world</b>', 'hello, <b>world</b>'],
    ['msg=a%20b&uid=5', 'msg=a%20b&uid=5'],
    ['{"broken"', '{"broken"'],
    ['"text"', 'text'],
    ['12', 12],
    ['ü\n2', 'ü\n2'],
  ] as const) {
    const answer = await post(body)
    t.match(answer, { status: 201, text: 'active subscribers: 1\n' })
    const message = await client.next({ type: 'message' })
    t.strictSame(message['data'], data)
    t.equal(answer.headers['etag'], `"${String(message['id'])}"`)
  }
  for (const [query, status] of [
    ['', 400],
    ['cid=', 400],
    ['cid=a%20b', 400],
    ['cid=a%0d%0aX:1', 400],
    ['cid=1&cid=2', 400],
    [`cid=${'x'.repeat(201)}`, 400],
  ] as const) {
    t.match(await post('1', query), { status, body: { error: { code: 'invalid_input' } } }, query)
  }
  t.equal((await post(Buffer.from([0xff, 0xfe]))).status, 400)
  t.equal((await post('')).status, 400)
  t.equal((await post('x'.repeat(100_000))).status, 413)
  const proxied = { method: 'POST', body: '1', headers: { 'X-Forwarded-For': '203.0.113.5' } }
  const refused = await ask(daemon, '/publish/?cid=5', proxied)
  t.ok([401, 403].includes(refused.status), 'no key, and not from here')
})

onBoth(
  'predecessors: /listen/?cid= is held until the next message, and loses none between two',
  async (t, start) => {
    const daemon = await start(ON)
    const hub = daemon.daemon.hub!
    await daemon.publish('chat:5', 'before')
    const first = ask(daemon, '/listen/?cid=5')
    await until('it waits', () => hub.channels.has('chat:5'))
    await daemon.publish('chat:5', { n: 1 })
    const answer = await first
    t.match(answer, {
      status: 200,
      text: '{"n":1}',
      headers: { 'content-type': 'application/json', 'last-modified': /GMT$/, 'cache-control': 'no-store' },
    })
    await ask(daemon, '/publish/?cid=5', { method: 'POST', body: 'a raw text' })
    await daemon.publish('chat:5', [12345678901234, 2])
    let etag = String(answer.headers['etag'])
    const bodies: string[] = []
    for (let round = 0; round < 2; round++) {
      const next = await ask(daemon, '/listen?cid=5', { headers: { 'If-None-Match': etag } })
      t.equal(next.status, 200)
      bodies.push(next.text)
      etag = String(next.headers['etag'])
      if (round === 0) t.match(next.headers['content-type'], /^text\/plain/)
    }
    t.strictSame(bodies, ['a raw text', '[12345678901234,2]'])
    const since = encodeURIComponent(etag.replaceAll('"', ''))
    const late = await ask(daemon, `/listen/?cid=5&wait=0.2&since=${since}`)
    t.match(late, { status: 304, text: '', headers: { etag: /^"[a-z0-9]+-\d+"$/ } })
    const all = await ask(daemon, '/listen/?cid=5&since=0')
    t.equal(all.text, 'before', 'from the first that is kept')
    const lost = await ask(daemon, '/listen/?cid=5&since=abc-1')
    t.match(lost, { status: 304, headers: { 'livemessage-lost': 'true' } }, 'a gap is not silent')
    t.equal((await ask(daemon, '/listen/?cid=5&since=x')).status, 400)
    t.equal((await ask(daemon, '/listen/?cid=5&wait=99')).status, 400)
    t.equal((await ask(daemon, '/listen/')).status, 400)
    t.match(await ask(daemon, '/listen/?cid=5', { method: 'POST' }), { status: 405 })
    t.equal(hub.size, 0)
  },
)

onBoth('predecessors: /get_messages/ lists the newest first', async (t, start) => {
  const daemon = await start(ON)
  for (const n of [1, 2, 3]) await daemon.publish('chat:5', n)
  const all = await ask(daemon, '/get_messages/?channel_id=5&since=0')
  t.strictSame(list(all.text), [3, 2, 1])
  t.match(JSON.parse(all.text), [{ channel: 'chat:5', id: String, data: 3, time: Number }])
  t.strictSame(list((await ask(daemon, '/get_messages?cid=5')).text), [3, 2, 1])
  const second = (JSON.parse(all.text) as Message[])[1]!
  t.strictSame(list((await ask(daemon, `/get_messages/?channel_id=5&since=${second.id}`)).text), [3])
  const at = Date.now()
  await until('the clock went on', () => Date.now() > at + 5)
  await daemon.publish('chat:5', 4)
  t.strictSame(list((await ask(daemon, `/get_messages/?channel_id=5&since=${at}`)).text), [4], 'milliseconds')
  const seconds = `/get_messages/?channel_id=5&since=${at / 1000}`
  t.strictSame(list((await ask(daemon, seconds)).text), [4], 'seconds')
  const same = await ask(daemon, seconds)
  const headers = { 'If-None-Match': String(same.headers['etag']) }
  t.match(await ask(daemon, seconds, { headers }), { status: 304, text: '' })
  t.strictSame(list((await ask(daemon, '/get_messages/?channel_id=none&since=0')).text), [])
  for (const since of ['x', '-1', '1e3', '1.2.3']) {
    t.equal((await ask(daemon, `/get_messages/?channel_id=5&since=${since}`)).status, 400, since)
  }
  t.equal((await ask(daemon, '/get_messages/')).status, 400)
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth('predecessors: /messages/?cid= calls a function of the page around the iframe', async (t, start) => {
  const daemon = await start(ON)
  const response = await fetch(`${daemon.url}/messages/?cid=5`)
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/html/)
  await until('it listens', () => daemon.daemon.hub!.channels.has('chat:5'))
  await daemon.publish('chat:5', { text: '</script>' })
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body!) {
    text += decoder.decode(chunk as Uint8Array, { stream: true })
    if (text.includes('parent.handle(')) break
  }
  t.match(text, /<script>parent\.handle\(\{"channel":"chat:5"/)
  t.notMatch(text, /"<\/script>"/)
  t.equal((await ask(daemon, '/messages/?cid=')).status, 400)
  await until('nobody is left', () => daemon.daemon.hub!.size === 0)
})

onBoth('predecessors: the policy of the subsystem holds there too', async (t, start) => {
  const daemon = await start({
    ...ON,
    channels: { ...ON.channels, chat: { access: 'authenticated', history: {} } },
  })
  for (const path of ['/listen/?cid=5', '/get_messages/?channel_id=5', '/messages/?cid=5']) {
    t.match(await ask(daemon, path), { status: 401, body: { error: { code: 'unauthenticated' } } }, path)
  }
  const headers = { Origin: 'https://evil.example' }
  t.equal((await ask(daemon, '/listen/?cid=5', { headers })).status, 403)
})

t.test('predecessors: the subsystem must be there, with a history', async (t) => {
  const place = { root: process.cwd(), file: null }
  const refused = (predecessors: unknown, aliases = {}): string => {
    const channels = { chat: { history: {} }, live: {}, mail: { access: 'user', delivery: 'mailbox' } }
    const config = {
      ACTIONS: { chat: { say: './say.ts' }, live: {}, mail: {} },
      channels,
      predecessors,
      calls: { aliases },
      postgres: 'embedded',
    }
    try {
      resolveConfig({ config }, place)
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  t.equal(refused({ subsystem: 'chat' }), '')
  t.equal(refused(false), '')
  const taken = { '/messages': 'chat.say' }
  t.equal(refused(false, taken), '')
  t.match(refused({ subsystem: 'chat' }, taken), /calls\.aliases.*\/messages.*the address is theirs/)
  t.match(refused({ subsystem: 'chta' }), /predecessors\.subsystem: .*got 'chta'.*did you mean 'chat'/)
  t.match(refused({ subsystem: 'live' }), /predecessors\.subsystem: .*a history.*channels\.live\.history/)
  t.match(refused({ subsystem: 'mail' }), /predecessors\.subsystem: .*mailboxes of 'mail'/)
  t.match(refused({}), /predecessors\.subsystem/)
  t.match(refused(true), /predecessors/)
})

onBoth('predecessors: an authenticate hook sees what their pages put into the query', async (t, start) => {
  const authenticate = ({ query }: Credentials): { id: string } | null =>
    query['sid'] === 'right' ? { id: `of ${query['cid']}` } : null
  const daemon = await start({
    ...ON,
    channels: {
      ...CHANNELS.channels,
      chat: { access: 'authenticated', history: { count: 10, maxAge: '1d' } },
    },
    hooks: { authenticate },
  })
  t.match(
    await ask(daemon, '/get_messages/?channel_id=5&since=0&cid=5&sid=right'),
    { status: 400 },
    'one name only',
  )
  t.match(await ask(daemon, '/get_messages/?cid=5&since=0&sid=right'), { status: 200 })
  t.match(await ask(daemon, '/get_messages/?cid=5&since=0&sid=wrong'), { status: 401 })
  t.match(await ask(daemon, '/get_messages/?cid=5&since=0&sid=right&channel=chat:6&last=5'), { status: 200 })
})

onBoth(
  'predecessors: /get_messages/ from a place that is lost gives all that is kept, and says so',
  async (t, start) => {
    const daemon = await start({ ...ON, origins: ['https://app.example'] })
    await daemon.publish('chat:5', 1)
    const url = `${daemon.url}/get_messages/?channel_id=5&since=000000000000-7`
    const response = await fetch(url, { headers: { Origin: 'https://app.example' } })
    t.equal(response.status, 200)
    t.equal(response.headers.get('livemessage-lost'), 'true')
    t.match(
      response.headers.get('access-control-expose-headers'),
      /Livemessage-Lost/,
      'for pages elsewhere too',
    )
    const [message] = (await response.json()) as { id: string; data: unknown }[]
    t.equal(message?.data, 1)
    await daemon.publish('chat:5', 2)
    const next = await ask(daemon, `/get_messages/?channel_id=5&since=${message?.id}`)
    t.strictSame(list(next.text), [2], 'it goes on from there')
  },
)
