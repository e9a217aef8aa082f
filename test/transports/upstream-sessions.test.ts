import type { ActionContext, Connection } from '../../src/index.ts'
import { ClientError } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { onBoth, SECRET, token } from './both.ts'
import { post, receive } from './upstream.ts'

const CONFIG: TestConfig = {
  ACTIONS: {
    chat: {
      who: (_data: unknown, { user, session, connection }: ActionContext) => ({
        user,
        session,
        transport: connection?.transport,
      }),
      greet: (data: unknown, { connection }: ActionContext) => connection?.emit('greeting', data) ?? false,
      keep: (data: unknown, { connection }: ActionContext) => {
        const before = connection?.bag.get('kept') ?? null
        connection?.bag.set('kept', data)
        return before
      },
      ask: (_data: unknown, { connection }: ActionContext) => connection?.emitWithAck('really'),
      slow: () => new Promise((resolve) => setTimeout(resolve, 200)),
    },
    live: {},
    quotes: {},
    own: {},
  },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 5000 } },
    live: { access: 'public', publish: 'authenticated' },
    quotes: { access: 'public', publish: 'public', conflate: 'symbol' },
    own: { access: 'user', publish: 'user' },
  },
  auth: { jwt: { secret: SECRET } },
}

onBoth('a POST with session and secret acts as the connection that receives', async (t, start) => {
  const daemon = await start(CONFIG)
  const page = await receive(t, daemon, '', { Authorization: `Bearer ${await token('42')}` })
  t.match(page.session, /^[\w-]{16}$/)
  t.match(page.secret, /^[a-z0-9]{12}\.[\w-]{24}$/)
  const who = await page.post('/call/chat/who', {})
  t.same(who.body, { data: { user: '42', session: page.session, transport: 'sse' } })
  t.same((await page.post('/call/chat/keep', { a: 1 })).body, { data: null })
  t.same((await page.post('/call/chat/keep', 2)).body, { data: { a: 1 } }, 'its bag spans requests')
  t.same((await page.post('/call/chat/greet', '"hello"')).body, { data: true })
  t.match(await page.next('event'), { data: { event: 'greeting', args: ['hello'] } })
})

onBoth(
  'subscribe by /command: what was missed and what is live come by the stream, in order',
  async (t, start) => {
    const daemon = await start(CONFIG)
    const ids: string[] = []
    for (let n = 1; n <= 5; n++) {
      const { body } = await daemon.publish('chat:a', n)
      ids.push((body as { id: string }).id)
    }
    const page = await receive(t, daemon)
    const since = await page.post('/command', {
      type: 'subscribe',
      id: 'x',
      channel: 'chat:a',
      since: ids[1],
    })
    t.equal(since.status, 200)
    t.same(since.body, {
      type: 'subscribed',
      id: 'x',
      channel: 'chat:a',
      cursor: ids[1],
      recovered: true,
      messages: [],
    })
    await daemon.publish('chat:a', 6)
    await page.next('message', '"data":6')
    t.same(page.messages, [3, 4, 5, 6])
    t.ok(
      page.blocks.filter(({ event }) => event === 'message').every(({ id, data }) => id === data['id']),
      'each id is a cursor of the stream',
    )

    const other = await receive(t, daemon)
    const last = await other.post('/command', { type: 'subscribe', channel: 'chat:a', last: 2 })
    t.match(last.body, { type: 'subscribed', cursor: ids[3], recovered: false, messages: [] })
    t.notOk('id' in last.body, 'a frame without an id is answered without one')
    await daemon.publish('chat:a', 7)
    await other.next('message', '"data":7')
    t.same(other.messages, [5, 6, 7])

    t.match((await other.post('/command', { type: 'unsubscribe', id: 9, channel: 'chat:a' })).body, {
      type: 'reply',
      id: 9,
      data: null,
    })
    await daemon.publish('chat:a', 8)
    await page.next('message', '"data":8')
    t.same(other.messages, [5, 6, 7])
  },
)

onBoth('a conflated channel: the newest of each key comes by the stream', async (t, start) => {
  const daemon = await start(CONFIG)
  for (const [symbol, price] of [
    ['A', 1],
    ['B', 1],
    ['A', 2],
  ])
    await daemon.publish('quotes:x', { symbol, price })
  const page = await receive(t, daemon)
  t.match((await page.post('/command', { type: 'subscribe', id: 1, channel: 'quotes:x' })).body, {
    messages: [],
  })
  await daemon.publish('quotes:x', { symbol: 'C', price: 1 })
  await page.next('message', '"C"')
  t.same(page.messages, [
    { symbol: 'B', price: 1 },
    { symbol: 'A', price: 2 },
    { symbol: 'C', price: 1 },
  ])
})

onBoth('every frame has its answer, with the status of its code', async (t, start) => {
  const daemon = await start(CONFIG)
  const page = await receive(t, daemon, 'channel=chat:a')
  const command = async (frame: unknown): Promise<unknown[]> => {
    const { status, body } = await page.post('/command', frame)
    return [status, body['type'], body['id'], body['code'] ?? body['data']]
  }
  t.same(await command({ type: 'ping', id: 1 }), [200, 'pong', 1, undefined])
  t.same(await command({ type: 'call', id: 2, action: 'chat.keep', data: 1 }), [200, 'reply', 2, null])
  t.same(await command({ type: 'call', action: 'chat.keep', data: 1 }), [200, 'reply', undefined, 1])
  t.match(await command({ type: 'publish', id: 3, channel: 'chat:a', data: 1 }), [
    200,
    'reply',
    3,
    { id: String },
  ])
  t.match(await command({ type: 'history', id: 4, channel: 'chat:a', last: 5 }), [
    200,
    'reply',
    4,
    { complete: true },
  ])
  t.same(await command({ type: 'call', id: 5, action: 'chat.none' }), [404, 'error', 5, 'unknown_action'])
  t.same(await command({ type: 'subscribe', id: 6, channel: 'own:7' }), [401, 'error', 6, 'unauthenticated'])
  t.same(await command({ type: 'subscribe', id: 7, channel: 'nowhere:7' }), [
    404,
    'error',
    7,
    'unknown_channel',
  ])
  t.same(await command({ type: 'subscribe', id: 8, channel: 'chat:b', since: '?' }), [
    400,
    'error',
    8,
    'invalid_input',
  ])
  t.same(await command({ type: 'confirm', id: 9, channel: 'chat:a', cursor: 'x-1' }), [
    400,
    'error',
    9,
    'invalid_input',
  ])
  t.same(await command({ type: 'ack', id: 'e1', args: [] }), [400, 'error', undefined, 'invalid_input'])
  const asked = page.post('/call/chat/ask', {})
  const { data } = await page.next('event')
  t.same(await command({ type: 'ack', id: data['id'], args: ['yes'] }), [200, 'reply', undefined, null])
  t.same((await asked).body, { data: ['yes'] })
  t.notOk(
    daemon.daemon.counts.errors.has('client.unknown_session'),
    'what was answered is not refused as well',
  )
  const jwt = await token('7')
  t.match(await command({ type: 'authenticate', id: 10, token: jwt }), [200, 'reply', 10, { user: '7' }])
  t.match(await command({ type: 'subscribe', id: 11, channel: 'own:7' }), [200, 'subscribed', 11, undefined])
  for (const bad of ['', '[]', '{', '{"type":"nothing"}', '{"type":"call"}', '{"type":"ping","id":{}}']) {
    t.equal((await page.post('/command', bad)).status, 400, bad)
  }
})

onBoth('/publish of a client: the policy decides, and its own session can be left out', async (t, start) => {
  const daemon = await start({ ...CONFIG, api: { keys: ['a-key-of-32-characters-or-so-....'] } })
  const page = await receive(t, daemon, 'channel=chat:a')
  const other = await receive(t, daemon, 'channel=chat:a')
  t.match(await page.post('/publish?channel=chat:a', { n: 1 }, { Exclude: page.session }), {
    status: 200,
    body: { id: String },
  })
  t.match(await page.post('/publish?channel=chat:a', '{"n":12345678901234567890}'), { status: 200 })
  await page.next('message', '12345678901234567890')
  await other.next('message', '12345678901234567890')
  t.same([page.messages.length, other.messages.length], [1, 2])
  t.match(await page.post('/publish?channel=chat:a', 1, { Exclude: other.session }), { status: 403 })
  t.match(await page.post('/publish?channel=live:a', 1), {
    status: 401,
    body: { error: { code: 'unauthenticated' } },
  })
  const key = { Authorization: 'Bearer a-key-of-32-characters-or-so-....' }
  t.match(
    await post(daemon, '/publish?channel=live:a', 1, key),
    { status: 200 },
    'with a key there is no policy',
  )

  const Authorization = `Bearer ${await token('42')}`
  t.match(await post(daemon, '/publish?channel=live:a', 1, { Authorization }), {
    status: 200,
    body: { id: null },
  })
  t.match(await post(daemon, '/publish?channel=own:42', 1, { Authorization }), { status: 200 })
  t.match(await post(daemon, '/publish?channel=own:43', 1, { Authorization }), { status: 403 })
  t.match(await post(daemon, '/publish?channel=live:a', 1), { status: 200 }, 'from this machine, as before')
  t.match(await post(daemon, '/publish?channel=live:a', 1, { Authorization: 'Bearer nonsense' }), {
    status: 401,
  })

  const twice = { Authorization, 'Idempotency-Key': 'k' }
  const first = await post(daemon, '/publish?channel=chat:a', '"once"', twice)
  t.same((await post(daemon, '/publish?channel=chat:a', '"once"', twice)).body, first.body)
  t.match(await post(daemon, '/publish?channel=chat:a', '"other"', twice), { status: 409 })
  t.match(await page.post('/publish?channel=chat:a', '"other"', { 'Idempotency-Key': 'k' }), { status: 200 })
})

onBoth('a wrong secret, half a pass and a session that is over are told apart', async (t, start) => {
  const daemon = await start(CONFIG)
  const page = await receive(t, daemon)
  const other = await receive(t, daemon)
  const call = async (session: string, secret: string): Promise<unknown[]> => {
    const headers = { 'Livemessage-Session': session, 'Livemessage-Secret': secret }
    const { status, body } = await post(daemon, '/call/chat/who', {}, headers)
    return [status, (body['error'] as { code?: string } | undefined)?.code]
  }
  const { session, secret } = page
  t.same(await call(session, other.secret), [403, 'forbidden'])
  t.same(await call(session, `${secret}x`), [403, 'forbidden'])
  t.same(await call(session, secret.slice(0, -1)), [403, 'forbidden'])
  t.same(await call(session, 'nonsense'), [403, 'forbidden'])
  t.same(await call(`${session}x`, secret), [403, 'forbidden'])
  t.same(await call(session, ''), [403, 'forbidden'])
  t.same(await call('', secret), [403, 'forbidden'])
  t.same(
    await call(session, `aaaaaaaaaaaa.${secret.slice(13)}`),
    [404, 'unknown_session'],
    'of no node that is here',
  )
  t.same(await call(session, secret), [200, undefined])
  page.close()
  await until('the end of the stream', () => daemon.daemon.hub?.size === 1)
  t.same(await call(session, secret), [404, 'unknown_session'])
  t.equal((await post(daemon, '/command', { type: 'ping' })).status, 401)
  t.equal((await post(daemon, '/command', { type: 'ping' }, { Authorization: 'Bearer x' })).status, 401)
})

onBoth('limits are those of the connection', async (t, start) => {
  const limits = { callsPerSecond: 2, callBurst: 4, pendingCalls: 2, subscriptions: 3 }
  const daemon = await start({ ...CONFIG, limits })
  const page = await receive(t, daemon)
  const statuses = (await Promise.all([1, 2, 3].map(() => page.post('/call/chat/slow', {})))).map(
    ({ status }) => status,
  )
  t.same(
    statuses.toSorted((one, other) => one - other),
    [200, 200, 429],
    'calls under way',
  )
  const many = await Promise.all([1, 2, 3, 4, 5].map(() => page.post('/call/chat/who', {})))
  const refused = many.find(({ status }) => status === 429)
  t.match(refused?.body, { error: { code: 'rate_limited' } })
  t.equal(refused?.headers.get('retry-after'), '1')
  const other = await receive(t, daemon)
  t.equal((await other.post('/call/chat/who', {})).status, 200, "another's are its own")
  for (const rest of ['a', 'b', 'c']) {
    t.equal((await other.post('/command', { type: 'subscribe', channel: `live:${rest}` })).status, 200)
  }
  t.equal((await other.post('/command', { type: 'subscribe', channel: 'live:d' })).status, 429)
})

onBoth('without a connection they are those of the user', async (t, start) => {
  const daemon = await start({ ...CONFIG, limits: { callsPerSecond: 1, callBurst: 2 } })
  const Authorization = `Bearer ${await token('42')}`
  const call = async (headers: Record<string, string>): Promise<number> =>
    (await post(daemon, '/call/chat/who', {}, headers)).status
  t.same(
    [await call({ Authorization }), await call({ Authorization }), await call({ Authorization })],
    [200, 200, 429],
  )
  t.equal(await call({ Authorization: `Bearer ${await token('43')}` }), 200)
  t.same(
    [await call({}), await call({}), await call({})],
    [200, 200, 200],
    'loopback is spared: it may be a proxy',
  )
})

onBoth('behind a trusted proxy they are those of the address', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    trustedProxies: ['127.0.0.1'],
    limits: { callsPerSecond: 1, callBurst: 2 },
  })
  const from = async (address: string): Promise<number> =>
    (await post(daemon, '/call/chat/who', {}, { 'X-Forwarded-For': address })).status
  t.same([await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.1')], [200, 200, 429])
  t.equal(await from('192.0.2.2'), 200)
})

onBoth('nobody sees a secret but its client', async (t, start) => {
  const daemon = await start({
    ...CONFIG,
    hooks: {
      connect: (connection: Connection) => {
        if (JSON.stringify(connection.bag).length > 1000) throw new ClientError('forbidden', 'no')
      },
    },
  })
  const page = await receive(t, daemon, 'channel=chat:a')
  await page.post('/call/chat/who', {})
  await page.post('/call/chat/none', {})
  await post(
    daemon,
    '/call/chat/who',
    {},
    { ...page.pass, 'Livemessage-Secret': `${page.secret.slice(0, -1)}!` },
  )
  const mac = page.secret.slice(13)
  t.notOk(JSON.stringify(daemon.lines).includes(mac), 'not in the log')
  for (const path of ['/api/connections', '/api/presence?channel=chat:a', '/api/stats']) {
    const response = await fetch(daemon.url + path)
    t.notOk((await response.text()).includes(mac), path)
  }
  const socket = await connect(t, daemon)
  t.notOk('secret' in (socket.welcome ?? {}), 'a WebSocket needs none')
})

onBoth('a call that outlives its stream is answered all the same', async (t, start) => {
  const daemon = await start(CONFIG)
  const page = await receive(t, daemon)
  const answer = page.post('/call/chat/slow', {})
  await until('the call', () => daemon.daemon.counts.calls === 1)
  page.close()
  t.equal((await answer).status, 200)
})
