import type { TestClient } from '../support/client.ts'
import { connect } from '../support/client.ts'
import type { TestConfig, TestDaemon } from '../support/daemon.ts'
import { CHANNELS, onBoth, SECRET, token } from './both.ts'

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Readonly<Record<string, unknown>>
}

const WITH_USERS: TestConfig = { ...CHANNELS, auth: { jwt: { secret: SECRET } } }

async function ask(
  daemon: TestDaemon,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(daemon.url + path, {
    ...(body === undefined
      ? {}
      : { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) }),
    headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: JSON.parse(text) as Answer['body'],
  }
}

function sessionOf(client: TestClient): string {
  return String(client.welcome?.['session'])
}

onBoth('/api/broadcast publishes to all channels or to none, with an id for each', async (t, start) => {
  const daemon = await start(CHANNELS)
  const client = await connect(t, daemon)
  for (const channel of ['chat:a', 'chat:b', 'live:x']) await client.subscribe(channel)
  const sent = '{"channels":["chat:a","live:x","chat:b","chat:a"],"data":{"n":12345678901234567890}}'
  const { status, body } = await ask(daemon, '/api/broadcast', sent)
  t.equal(status, 200)
  t.match(body, {
    published: [
      { channel: 'chat:a', id: String },
      { channel: 'live:x', id: null },
      { channel: 'chat:b', id: String },
    ],
  })
  const messages = [await client.next({ type: 'message' }), await client.next({ type: 'message' })]
  messages.push(await client.next({ type: 'message' }))
  t.same(new Set(messages.map(({ channel }) => channel)), new Set(['chat:a', 'live:x', 'chat:b']))

  const bad = await ask(daemon, '/api/broadcast', { channels: ['chat:a', 'nowhere:b'], data: 1 })
  t.match([bad.status, bad.body], [404, { error: { code: 'unknown_channel' } }])
  await ask(daemon, '/api/publish', { channel: 'chat:a', data: 'next' })
  t.match(await client.next({ type: 'message' }), { channel: 'chat:a', data: 'next' })
})

onBoth('/api/broadcast: an idempotency key and an excluded session count', async (t, start) => {
  const daemon = await start(CHANNELS)
  const [client, other] = [await connect(t, daemon), await connect(t, daemon)]
  await client.subscribe('chat:a')
  await other.subscribe('chat:a')
  const order = { channels: ['chat:a', 'chat:b'], data: 1, key: 'k', exclude: sessionOf(client) }
  const first = await ask(daemon, '/api/broadcast', order)
  const again = await ask(daemon, '/api/broadcast', order)
  const { key: _, ...keyless } = order
  const byHeader = await ask(daemon, '/api/broadcast', keyless, { 'Idempotency-Key': 'k' })
  t.same([again.body, byHeader.body], [first.body, first.body])
  const changed = await ask(daemon, '/api/broadcast', { ...order, data: 2 })
  t.match([changed.status, changed.body], [409, { error: { code: 'conflict' } }])
  await ask(daemon, '/api/publish', { channel: 'chat:a', data: 'end' })
  t.match(await client.next({ type: 'message' }), { data: 'end' })
  t.match(await other.next({ type: 'message' }), { data: 1 })
  t.match(await other.next({ type: 'message' }), { data: 'end' })
})

onBoth('/api/emit reaches whom it names, and tells how many', async (t, start) => {
  const daemon = await start(WITH_USERS)
  const alice = await connect(t, daemon, { token: await token('alice') })
  const tab = await connect(t, daemon, { token: await token('alice') })
  const guest = await connect(t, daemon)
  await guest.subscribe('chat:a')

  const both = await ask(daemon, '/api/emit', {
    user: 'alice',
    event: 'notice',
    args: [1, 2, '!!!'],
  })
  t.same([both.status, both.body], [200, { count: 2, missing: [] }])
  for (const client of [alice, tab]) {
    t.match(await client.next({ type: 'event' }), { event: 'notice', args: [1, 2, '!!!'] })
  }
  const one = await ask(daemon, '/api/emit', { session: sessionOf(guest), event: 'you' })
  t.same(one.body, { count: 1, missing: [] })
  t.match(await guest.next({ type: 'event' }), { event: 'you', args: [] })
  const room = await ask(daemon, '/api/emit', { channel: 'chat:a', event: 'room' })
  t.same(room.body, { count: 1, missing: [] })
  const all = await ask(daemon, '/api/emit', { all: true, event: 'all', exclude: sessionOf(tab) })
  t.same(all.body, { count: 2, missing: [] })
  t.same((await ask(daemon, '/api/emit', { user: 'nobody', event: 'x' })).body, { count: 0, missing: [] })
  t.match(await alice.next({ event: 'all' }), { args: [] })
  t.same(tab.rest('event'), [])
})

onBoth('/api/disconnect closes with 4405, or as it is told', async (t, start) => {
  const daemon = await start(WITH_USERS)
  const alice = await connect(t, daemon, { token: await token('alice') })
  const guest = await connect(t, daemon)
  t.same((await ask(daemon, '/api/disconnect', { user: 'alice' })).body, { count: 1, missing: [] })
  t.same(await alice.closed, { code: 4405, reason: 'disconnected' })
  const order = { session: sessionOf(guest), reason: 'ünder maintenance', code: 4999 }
  t.same((await ask(daemon, '/api/disconnect', order)).body, { count: 1, missing: [] })
  t.same(await guest.closed, { code: 4999, reason: 'ünder maintenance' })
  t.same((await ask(daemon, '/api/disconnect', order)).body, { count: 0, missing: [] })
})

onBoth('/api/connections, /api/channels and /api/presence tell who is there', async (t, start) => {
  const daemon = await start(WITH_USERS)
  const alice = await connect(t, daemon, { token: await token('alice', 60, { info: { name: 'A' } }) })
  const guest = await connect(t, daemon)
  await alice.subscribe('chat:a')
  await guest.subscribe('chat:a')
  await guest.subscribe('live:x')

  const { body: all } = await ask(daemon, '/api/connections')
  t.match(all, { count: 2, missing: [] })
  t.equal((all['connections'] as unknown[]).length, 2)
  const { body: one } = await ask(daemon, '/api/connections?user=alice&channel=chat:a')
  t.match(one, {
    count: 1,
    connections: [
      {
        session: sessionOf(alice),
        user: 'alice',
        info: { name: 'A' },
        transport: 'websocket',
        channels: ['chat:a'],
        channelCount: 1,
      },
    ],
  })
  t.match((await ask(daemon, `/api/connections?session=${sessionOf(guest)}`)).body, { count: 1 })
  const { body: limited } = await ask(daemon, '/api/connections?limit=1')
  t.match(limited, { count: 2, connections: { length: 1 } })

  t.same((await ask(daemon, '/api/channels')).body, {
    channels: [
      { channel: 'chat:a', subscribers: 2 },
      { channel: 'live:x', subscribers: 1 },
    ],
    more: false,
    missing: [],
  })
  t.same((await ask(daemon, '/api/channels?prefix=live:')).body['channels'], [
    { channel: 'live:x', subscribers: 1 },
  ])
  t.match((await ask(daemon, '/api/channels?limit=1')).body, { channels: { length: 1 }, more: true })

  const { body: present } = await ask(daemon, '/api/presence?channel=chat:a')
  t.match(present, { count: 2, missing: [] })
  t.same(
    new Set((present['clients'] as { user: string | null }[]).map(({ user }) => user)),
    new Set(['alice', null]),
  )
})

onBoth('/api/history and /api/stats', async (t, start) => {
  const daemon = await start(CHANNELS)
  const ids: string[] = []
  for (const data of [1, 2, 3]) {
    ids.push(String((await ask(daemon, '/api/publish', { channel: 'chat:a', data })).body['id']))
  }
  const dataOf = async (query: string): Promise<unknown[]> => {
    const { body } = await ask(daemon, `/api/history?channel=chat:a${query}`)
    return [...(body['messages'] as { data: unknown }[]).map(({ data }) => data), body['complete']]
  }
  t.same(await dataOf(''), [1, 2, 3, true])
  t.same(await dataOf('&last=2'), [2, 3, true])
  t.same(await dataOf(`&since=${ids[0]!}`), [2, 3, true])
  t.same(await dataOf(`&since=${ids[0]!}&limit=1`), [2, false])
  t.same((await ask(daemon, '/api/history?channel=live:x')).body, { messages: [], complete: false })

  t.match((await ask(daemon, '/api/stats')).body, {
    missing: [],
    nodes: [{ node: /^[a-z0-9]{12}$/, version: String, connections: 0, publications: 3, bus: { peers: 0 } }],
  })
})

onBoth('the server API tells clearly what is wrong with a request', async (t, start) => {
  const daemon = await start(CHANNELS)
  const wrong: [string, unknown, number, RegExp][] = [
    ['/api/emit', 'no json', 400, /must be an object/],
    ['/api/emit', [], 400, /must be an object/],
    ['/api/emit', { event: 'x' }, 400, /one of session, user, channel, all/],
    ['/api/emit', { user: 'a', session: 'b', event: 'x' }, 400, /one of/],
    ['/api/emit', { user: 'a', all: true, event: 'x' }, 400, /one of/],
    ['/api/emit', { all: false, event: 'x' }, 400, /one of/],
    ['/api/emit', { all: 'yes', event: 'x' }, 400, /all: expected true/],
    ['/api/emit', { user: 7, event: 'x' }, 400, /user: expected a text/],
    ['/api/emit', { user: '', event: 'x' }, 400, /user: is empty/],
    ['/api/emit', { user: 'a' }, 400, /event: is missing/],
    ['/api/emit', { user: 'a', event: 'x'.repeat(129) }, 400, /event: at most 128/],
    ['/api/emit', { user: 'a', event: 'x', args: 'y' }, 400, /args: expected a list/],
    ['/api/emit', { user: 'a', event: 'x', argz: [] }, 400, /'argz' is not known here/],
    ['/api/emit', { channel: 'nowhere:a', event: 'x' }, 404, /no subsystem 'nowhere'/],
    ['/api/emit', { channel: '<b>', event: 'x' }, 404, /is no channel/],
    ['/api/emit', '{"__proto__":{"event":"x"},"user":"a"}', 400, /'__proto__' is not known/],
    ['/api/disconnect', { user: 'a', code: 1005 }, 400, /code: expected a close code/],
    ['/api/disconnect', { user: 'a', code: '4405' }, 400, /code: expected/],
    ['/api/disconnect', {}, 400, /one of session, user/],
    ['/api/disconnect', { user: 'a', reason: 'x'.repeat(124) }, 400, /reason: at most 123/],
    ['/api/broadcast', { channels: [], data: 1 }, 400, /channels: expected a list/],
    ['/api/broadcast', { channels: 'chat:a', data: 1 }, 400, /channels: expected a list/],
    ['/api/broadcast', { channels: [1], data: 1 }, 400, /channels: expected texts/],
    ['/api/broadcast', { channels: Array(1_001).fill('chat:a'), data: 1 }, 400, /at most 1000/],
    ['/api/broadcast', { channels: ['chat:a'] }, 400, /data: is missing/],
    ['/api/broadcast', { channels: ['chat:a'], data: 'x'.repeat(70_000) }, 413, /over 65536 bytes/],
    ['/api/broadcast', { channels: ['chat:a'], data: 'x'.repeat(500_000) }, 413, /too large/],
    ['/api/connections?limit=0', undefined, 400, /limit: expected a number of 1 to 1000/],
    ['/api/connections?limit=1e3', undefined, 400, /limit: expected/],
    ['/api/connections?usr=a', undefined, 400, /'usr' is not known here/],
    ['/api/connections?user=a&user=b', undefined, 400, /user: only one/],
    ['/api/connections?channel=x', undefined, 404, /is no channel/],
    ['/api/presence', undefined, 400, /channel: is missing/],
    ['/api/history?channel=chat:a&since=x', undefined, 400, /since: expected a cursor/],
    ['/api/history?channel=chat:a&since=x-1&last=1', undefined, 400, /only one of them/],
    ['/api/stats?all', undefined, 400, /'all' is not known here; there are: none/],
    ['/api/nothing', undefined, 404, /nothing is here/],
  ]
  for (const [path, body, status, message] of wrong) {
    const answer = await ask(daemon, path, body)
    t.match(
      [answer.status, answer.body],
      [status, { error: { message } }],
      `${path} ${JSON.stringify(body)}`.slice(0, 90),
    )
    t.match(answer.headers.get('content-type'), 'application/json')
  }
  t.equal(({} as Record<string, unknown>)['event'], undefined)
})

onBoth(
  'the server API: wrong methods are 405 with Allow, other types of body are refused',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    for (const path of ['broadcast', 'emit', 'disconnect']) {
      const answer = await ask(daemon, `/api/${path}`)
      t.match([answer.status, answer.headers.get('allow')], [405, 'POST'])
    }
    for (const path of ['connections', 'channels', 'presence', 'history', 'stats']) {
      const answer = await ask(daemon, `/api/${path}`, {})
      t.match([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD'])
    }
    const typed = await ask(daemon, '/api/emit', { all: true, event: 'x' }, { 'Content-Type': 'text/plain' })
    t.match([typed.status, typed.body], [400, { error: { message: /Content-Type/ } }])
  },
)

onBoth('the server API is for those who may publish', async (t, start) => {
  const daemon = await start({ ...CHANNELS, api: { keys: ['a-key-of-the-test'], loopback: false } })
  const paths: [string, unknown][] = [
    ['/api/broadcast', { channels: ['chat:a'], data: 1 }],
    ['/api/emit', { all: true, event: 'x' }],
    ['/api/disconnect', { user: 'a' }],
    ['/api/connections', undefined],
    ['/api/channels', undefined],
    ['/api/presence?channel=chat:a', undefined],
    ['/api/history?channel=chat:a', undefined],
    ['/api/stats', undefined],
  ]
  for (const [path, body] of paths) {
    t.equal((await ask(daemon, path, body)).status, 401, path)
    const key = { Authorization: 'Bearer a-key-of-the-test' }
    t.equal((await ask(daemon, path, body, key)).status, 200, `${path} with a key`)
  }
  const open = await start(CHANNELS)
  const page = await ask(open, '/api/stats', undefined, { Origin: 'http://evil.example' })
  t.match([page.status, page.body], [403, { error: { code: 'forbidden' } }])
})
