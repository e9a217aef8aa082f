import { Agent, request } from 'node:http'
import t from 'tap'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth, positionOf, SECRET, startParts, token } from './both.ts'
import { ask, data, follow, poll } from './polling.ts'

onBoth('poll: without a place the answer is where the journal is, at once', async (t, start) => {
  const daemon = await start(CHANNELS)
  const first = await poll(daemon, ['chat:a', 'live:a'])
  t.equal(first.status, 200)
  t.match(first.body, { cursor: /^[a-z0-9]+-0$/, recovered: false, lost: [], messages: [] })
  t.equal(first.headers['content-type'], 'application/json')
  for (const n of [1, 2, 3]) await daemon.publish('chat:a', n)
  await daemon.publish('chat:b', 4)
  const newest = await poll(daemon, ['chat:a', 'chat:b'], { last: 2 })
  t.strictSame(data(newest.body.messages), [2, 3, 4])
  t.equal(positionOf(newest.body.cursor), 4)
  t.equal(newest.body.recovered, false)
  t.match((await poll(daemon, 'chat:a', { last: 0 })).body, { messages: [] })
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth('poll: a request waits for what comes, and is answered with it', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const waiting = poll(daemon, ['chat:a', 'chat:b'], { since: cursor })
  await until('it waits', () => daemon.daemon.hub!.channels.get('chat:b'))
  await daemon.publish('chat:elsewhere', 0)
  await daemon.publish('chat:b', { n: 1 })
  const { body, headers } = await waiting
  t.match(body, { recovered: true, lost: [], messages: [{ channel: 'chat:b', data: { n: 1 } }] })
  t.equal(body.cursor, body.messages[0]!.id)
  t.equal(headers['cache-control'], 'no-store')
  t.notOk('etag' in headers)
  t.equal(daemon.daemon.hub!.size, 0)
  const missed = await poll(daemon, ['chat:a', 'chat:b'], { since: cursor })
  t.strictSame(missed.body, body, 'who asks again from there gets the same')
})

onBoth('poll: a wait that is over is answered with nothing but a later cursor', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const waiting = poll(daemon, 'chat:a', { since: cursor, wait: '0.2' })
  await until('it waits', () => daemon.daemon.hub!.size === 1)
  for (const n of [1, 2, 3]) await daemon.publish('chat:other', n)
  const { body } = await waiting
  t.match(body, { recovered: true, lost: [], messages: [] })
  t.equal(positionOf(body.cursor), 3)
})

onBoth('poll: what comes in one turn comes in one answer', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const waiting = poll(daemon, 'chat:a', { since: cursor })
  await until('it waits', () => daemon.daemon.hub!.size === 1)
  const hub = daemon.daemon.hub!
  for (const n of [1, 2, 3]) {
    hub.deliver('chat:a', `{"channel":"chat:a","id":"x-${n}","data":${n},"time":1}`)
  }
  t.strictSame(data((await waiting).body.messages), [1, 2, 3])
})

onBoth(
  'poll: several clients lose nothing of 1,000 publications, and see nothing twice',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    const channels = ['chat:a', 'chat:b', 'chat:c']
    const { cursor } = (await poll(daemon, channels)).body
    const clients = Array.from({ length: 8 }, () => follow(daemon, channels, cursor, 1000))
    const expected = new Map(channels.map((channel) => [channel, [] as number[]]))
    for (let n = 0; n < 1000; n += 20) {
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const channel = channels[(n + index) % 3]!
          expected.get(channel)!.push(n + index)
          await daemon.publish(channel, n + index)
        }),
      )
    }
    const all = await Promise.all(clients)
    const order = all[0]!.messages.map(({ id }) => id)
    for (const { messages, lost } of all) {
      t.strictSame(lost, [])
      t.strictSame(
        messages.map(({ id }) => id),
        order,
        'the same order for all',
      )
      t.equal(new Set(data(messages)).size, 1000)
    }
    t.ok(all[0]!.requests > 10, `in ${all[0]!.requests} requests`)
    t.equal(daemon.daemon.hub!.size, 0)
  },
)

onBoth('poll: many missed messages come in pages, each once', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { recoveryMessages: 100, recoveryBytes: '8kb' } })
  const channels = ['chat:a', 'chat:b']
  const { cursor } = (await poll(daemon, channels)).body
  for (let n = 0; n < 1500; n++) await daemon.publish(channels[n % 2]!, { n, text: 'x'.repeat(n % 50) })
  const { messages, requests, lost } = await follow(daemon, channels, cursor, 1500)
  t.strictSame(
    messages.map(({ data }) => (data as { n: number }).n),
    Array.from({ length: 1500 }, (_, n) => n),
  )
  t.ok(requests > 5 && requests < 100, `in ${requests} requests`)
  t.strictSame(lost, [])
  const one = await follow(daemon, ['chat:b'], cursor, 750)
  t.equal(one.messages.length, 750)
  t.ok(one.requests > 3, `in ${one.requests} requests`)
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth('poll: a gap is told, and the other channels come all the same', async (t, start) => {
  const daemon = await start({
    ACTIONS: { chat: {}, few: {} },
    channels: {
      chat: { access: 'public', history: { count: 1000 } },
      few: { access: 'public', history: { count: 3 } },
    },
  })
  const { cursor } = (await poll(daemon, ['chat:a', 'few:a'])).body
  for (let n = 0; n < 10; n++) {
    await daemon.publish('few:a', n)
    await daemon.publish('chat:a', n)
  }
  const { messages, lost } = await follow(daemon, ['chat:a', 'few:a'], cursor, 10)
  t.strictSame(lost, ['few:a'])
  t.strictSame(data(messages), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  const epoch = cursor.split('-')[0]!
  for (const since of ['0123456789ab-5', `${epoch}-999999`]) {
    const { body } = await poll(daemon, ['chat:a', 'few:a'], { since })
    t.match(body, { recovered: false, messages: [] }, since)
    t.strictSame([...body.lost].sort(), ['chat:a', 'few:a'])
    t.equal(body.cursor, `${epoch}-20`)
  }
})

t.test('poll: positions that start anew are told to who waits, and to who has been paused', async (t) => {
  const parts = await startParts(t, CHANNELS)
  const { journal } = parts.backbone
  const { cursor } = (await poll(parts, ['chat:a', 'chat:b'])).body
  const waiting = poll(parts, ['chat:a', 'chat:b', 'live:a'], { since: cursor })
  await until('it waits', () => parts.hub.channels.get('chat:b'))
  Object.defineProperty(journal, 'epoch', { value: 'another0epoch' })
  parts.subscriber.onEpoch()
  const { body } = await waiting
  t.match(body, { cursor: 'another0epoch-0', recovered: false, messages: [] })
  t.strictSame([...body.lost].sort(), ['chat:a', 'chat:b'])
})

onBoth('poll: a transient channel brings what comes while the request waits', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { cursor } = (await poll(daemon, 'live:a')).body
  await daemon.publish('live:a', 'unheard')
  const waiting = poll(daemon, 'live:a', { since: cursor })
  await until('it waits', () => daemon.daemon.hub!.size === 1)
  await daemon.publish('live:a', 'heard')
  const { body } = await waiting
  t.match(body, { recovered: true, messages: [{ channel: 'live:a', data: 'heard' }] })
  t.notOk('id' in body.messages[0]!)
})

onBoth('poll: of a conflated channel come the newest at first, then what changes', async (t, start) => {
  const daemon = await start({
    ACTIONS: { quotes: {} },
    channels: { quotes: { access: 'public', conflate: 'symbol' } },
  })
  await daemon.publish('quotes:a', { symbol: 'A', price: 1 })
  const first = await poll(daemon, 'quotes:a')
  t.strictSame(data(first.body.messages), [{ symbol: 'A', price: 1 }])
  const waiting = poll(daemon, 'quotes:a', { since: first.body.cursor })
  await until('it waits', () => daemon.daemon.hub!.size === 1)
  await daemon.publish('quotes:a', { symbol: 'A', price: 2 })
  t.strictSame(data((await waiting).body.messages), [{ symbol: 'A', price: 2 }])
  const plain = await poll(daemon, 'quotes:a', { since: first.body.cursor, wait: 0 })
  t.strictSame(data(plain.body.messages), [{ symbol: 'A', price: 2 }], 'plain polling has them each time')
})

onBoth('poll: plain polling has an ETag, and 304 for what the client has', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const at = { since: cursor, wait: 0 }
  const empty = await poll(daemon, 'chat:a', at)
  t.match(empty, { status: 200, body: { messages: [] }, headers: { 'cache-control': 'private, no-cache' } })
  const etag = String(empty.headers['etag'])
  t.match(etag, /^W\/"/)
  await daemon.publish('chat:other', 1)
  const headers = { 'If-None-Match': etag }
  const same = await poll(daemon, 'chat:a', at, { headers })
  t.match(same, { status: 304, text: '', headers: { etag } })
  await daemon.publish('chat:a', 1)
  const more = await poll(daemon, 'chat:a', at, { headers })
  t.match(more, { status: 200, body: { messages: [{ data: 1 }] } })
  t.not(more.headers['etag'], etag)
  const both = { 'If-None-Match': `"other", ${String(more.headers['etag']).replace('W/', '')}` }
  t.equal((await poll(daemon, 'chat:a', at, { headers: both })).status, 304)
  t.equal((await poll(daemon, 'chat:a', at, { headers: { 'If-None-Match': '*' } })).status, 304)
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth('poll: what is wrong with a request is told', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { subscriptions: 100 } })
  const many = (count: number): string =>
    Array.from({ length: count }, (_, n) => `channel=chat:${n}`).join('&')
  const cases: [string, number, string][] = [
    ['', 400, 'invalid_input'],
    ['channel=', 404, 'unknown_channel'],
    ['channel=chat', 404, 'unknown_channel'],
    ['channel=none:a', 404, 'unknown_channel'],
    ['channel=__proto__:a', 404, 'unknown_channel'],
    ['channel=chat:a%0d%0aX-Evil:1', 404, 'unknown_channel'],
    ['channel=chat:a&since=what', 400, 'invalid_input'],
    ['channel=chat:a&since=', 400, 'invalid_input'],
    ['channel=chat:a&since=abc-1e3', 400, 'invalid_input'],
    ['channel=chat:a&since=abc--1', 400, 'invalid_input'],
    ['channel=chat:a&since=abc-1&last=1', 400, 'invalid_input'],
    ['channel=chat:a&last=-1', 400, 'invalid_input'],
    ['channel=chat:a&last=x', 400, 'invalid_input'],
    ['channel=chat:a&wait=-1', 400, 'invalid_input'],
    ['channel=chat:a&wait=61', 400, 'invalid_input'],
    ['channel=chat:a&wait=', 400, 'invalid_input'],
    ['channel=chat:a&wait=1e1', 400, 'invalid_input'],
    ['channel=chat:a&wait=NaN', 400, 'invalid_input'],
    [many(101), 429, 'limit_exceeded'],
  ]
  for (const [query, status, code] of cases) {
    const answer = await ask(daemon, `/poll?${query}`)
    t.match(answer, { status, body: { error: { code, message: String } } }, query.slice(0, 60))
    t.equal(answer.headers['content-type'], 'application/json')
  }
  t.equal((await ask(daemon, `/poll?${many(100)}`)).status, 200, 'a hundred channels')
  const thousand = await ask(daemon, `/poll?${many(1000)}`)
  t.ok([429, 431].includes(thousand.status), `a thousand channels: ${thousand.status}`)
  const posted = await ask(daemon, '/poll?channel=chat:a', { method: 'POST', body: '{}' })
  t.match(posted, { status: 405, headers: { allow: /GET/ } })
  t.equal(daemon.daemon.hub!.size, 0)
  t.match(await ask(daemon, '/healthz'), { status: 200 })
})

onBoth('poll: who may not read a channel is told so, and who may waits', async (t, start) => {
  const daemon = await start({
    ACTIONS: { chat: {}, own: {}, open: {} },
    channels: {
      chat: { access: 'authenticated', history: {} },
      own: { access: 'user', history: {} },
      open: { access: 'public', history: {} },
    },
    auth: { jwt: { secret: SECRET } },
  })
  const bearer = { headers: { Authorization: `Bearer ${await token('42')}` } }
  t.match(await poll(daemon, 'chat:a'), { status: 401, body: { error: { code: 'unauthenticated' } } })
  t.match(await poll(daemon, ['open:a', 'own:7'], {}, bearer), { status: 403 })
  t.match(await poll(daemon, 'open:a', { token: 'rubbish' }), { status: 401 })
  t.equal((await poll(daemon, ['chat:a', 'own:42'], {}, bearer)).status, 200)
  t.equal((await poll(daemon, 'own:42', { token: await token('42') })).status, 200)
  const expired = { headers: { Authorization: `Bearer ${await token('42', 2)}` } }
  const { cursor } = (await poll(daemon, 'chat:a', {}, expired)).body
  const late = await poll(daemon, 'chat:a', { since: cursor }, expired)
  t.match(
    late,
    { status: 401, body: { error: { code: 'unauthenticated' } } },
    'a token that ends while it waits',
  )
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth(
  'poll: each request is a visit, and what the hook subscribes to is recovered too',
  async (t, start) => {
    const seen: string[] = []
    const daemon = await start({
      ...CHANNELS,
      hooks: {
        connect: async (client) => {
          seen.push(`came ${client.transport}`)
          await client.subscribe('chat:served')
        },
        disconnect: (_client, { code }) => {
          seen.push(`left ${code}`)
        },
      },
    })
    const { cursor } = (await poll(daemon, [])).body
    await daemon.publish('chat:served', 1)
    await daemon.publish('chat:a', 2)
    await daemon.publish('chat:served', 3)
    const { body } = await poll(daemon, 'chat:a', { since: cursor })
    t.strictSame(new Set(data(body.messages)), new Set([1, 2, 3]))
    t.equal(positionOf(body.cursor), 3)
    await until('both have left', () => seen.length === 4)
    t.strictSame(seen, ['came poll', 'left 1000', 'came poll', 'left 1000'])
  },
)

onBoth('poll: who vanishes while it waits is gone at once', async (t, start) => {
  const left: number[] = []
  const daemon = await start({
    ...CHANNELS,
    hooks: { disconnect: (_client, { code }) => void left.push(code) },
  })
  const hub = daemon.daemon.hub!
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const cut = new AbortController()
  const waiting = Array.from({ length: 20 }, () =>
    poll(daemon, ['chat:a', 'live:a'], { since: cursor, wait: 60 }, { signal: cut.signal }).catch(
      (error: Error) => error.name,
    ),
  )
  await until('all wait', () => hub.channels.get('live:a') === 20)
  cut.abort()
  t.strictSame(new Set(await Promise.all(waiting)), new Set(['AbortError']))
  await until('nobody is left', () => hub.size === 0 && hub.channels.size === 0)
  await until('the hooks were told', () => left.length === 21)
  t.strictSame(new Set(left), new Set([1000, 1006]))
  t.equal((await daemon.publish('chat:a', 1)).status, 200)
})

void t.test(
  'poll: who vanishes while the hook is asked, or while it waits, leaves nothing behind',
  async (t) => {
    let letIn = (): void => undefined
    const asked = new Promise<void>((resolve) => (letIn = resolve))
    const parts = await startParts(t, {
      ...CHANNELS,
      ACTIONS: { chat: { subscribe: () => asked.then(() => true) }, live: {} },
    })
    const { hub } = parts
    const cut = new AbortController()
    const opening = poll(parts, ['live:a', 'chat:a'], {}, { signal: cut.signal }).catch(
      (error: Error) => error.name,
    )
    await until('it is here', () => hub.size === 1)
    cut.abort()
    t.equal(await opening, 'AbortError')
    await until('it is gone', () => hub.size === 0)
    letIn()
    const { cursor } = (await poll(parts, ['live:a', 'chat:a'])).body
    const second = new AbortController()
    const waiting = poll(parts, ['live:a', 'chat:a'], { since: cursor }, { signal: second.signal }).catch(
      () => 0,
    )
    await until('it waits', () => parts.transports.poll.fanout.size === 2)
    second.abort()
    await waiting
    await until('it is gone', () => hub.size === 0 && parts.transports.poll.size === 0)
    t.equal(parts.transports.poll.fanout.size, 0)
    t.equal(hub.channels.size, 0)
  },
)

onBoth('poll: a node that stops answers all who wait, with the place to go on from', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const waiting = Array.from({ length: 10 }, () => poll(daemon, 'chat:a', { since: cursor, wait: 60 }))
  await until('all wait', () => daemon.daemon.hub!.size === 10)
  await daemon.publish('chat:other', 1)
  const began = Date.now()
  const [answers] = await Promise.all([Promise.all(waiting), daemon.stop('restart')])
  for (const { status, body, headers } of answers) {
    t.equal(status, 200)
    t.match(body, { recovered: true, lost: [], messages: [] })
    t.equal(positionOf(body.cursor), 1)
    t.equal(headers['connection'], 'close')
  }
  t.ok(Date.now() - began < 5000)
})

for (const listener of ['uws', 'node'] as const) {
  t.test(`${listener}: poll: 2,000 who wait are answered with one body`, async (t) => {
    const parts = await startParts(t, { ...CHANNELS, listener })
    const { hub, publisher } = parts
    const { cursor } = (await poll(parts, 'chat:a')).body
    const agent = new Agent({ keepAlive: true, maxSockets: 2500 })
    t.teardown(() => agent.destroy())
    const path = `/poll?channel=chat:a&wait=60&since=${cursor}`
    const one = (): Promise<string> =>
      new Promise((resolve, reject) => {
        request({ host: '127.0.0.1', port: parts.port, path, agent }, (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
          response.on('end', () => resolve(text))
        })
          .on('error', reject)
          .end()
      })
    const waiting = Array.from({ length: 2000 }, one)
    await until('all wait', () => hub.channels.get('chat:a') === 2000)
    const before = parts.transports.poll.written
    await publisher.publish({ channel: 'chat:a', json: '{"n":1}', source: 'test' })
    const bodies = new Set(await Promise.all(waiting))
    t.equal(bodies.size, 1)
    t.equal(parts.transports.poll.written - before, 1)
    t.equal(hub.size, 0)
    t.equal(parts.transports.poll.size, 0)
  })
}

onBoth('poll: events come to who waits', async (t, start) => {
  const daemon = await start({ ...CHANNELS, auth: { jwt: { secret: SECRET } } })
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const waiting = poll(daemon, 'chat:a', { since: cursor, token: await token('42') })
  const client = await until('it waits', () => daemon.daemon.hub!.of('42')[0])
  await until('it is on its channel', () => client.subscriptions.size === 1)
  client.emit('notice', 1, 'two', { three: 3 })
  const { body } = await waiting
  t.strictSame(body.events, [{ event: 'notice', args: [1, 'two', { three: 3 }] }])
  t.match(body, { recovered: true, messages: [] })
})

onBoth('poll: who is disconnected while it waits is told so', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const waiting = poll(daemon, 'chat:a', { since: cursor })
  await until('it waits', () => daemon.daemon.hub!.channels.has('chat:a'))
  for (const client of daemon.daemon.hub!) client.disconnect('enough')
  t.match(await waiting, { status: 403, body: { error: { code: 'forbidden', message: 'enough' } } })
  const again = poll(daemon, 'chat:a', { since: cursor })
  await until('it waits', () => daemon.daemon.hub!.channels.has('chat:a'))
  await daemon.reload({ ...CHANNELS, channels: { chat: { access: 'none', history: {} } } })
  t.match(await again, { status: 403, body: { error: { code: 'forbidden' } } }, 'the policy has changed')
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth('poll: HEAD has the headers of plain polling', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { body } = await poll(daemon, 'chat:a')
  const head = await poll(daemon, 'chat:a', { since: body.cursor }, { method: 'HEAD' })
  t.match(head, { status: 200, text: '', headers: { etag: /^W\//, 'content-type': 'application/json' } })
  t.equal(daemon.daemon.hub!.size, 0)
})

onBoth('poll: pages of the listed origins may read, others are refused', async (t, start) => {
  const daemon = await start({ ...CHANNELS, origins: ['https://app.example'] })
  const from = (Origin: string) => ({ headers: { Origin } })
  const allowed = await poll(daemon, 'chat:a', {}, from('https://app.example'))
  t.match(allowed, {
    status: 200,
    headers: {
      'access-control-allow-origin': 'https://app.example',
      'access-control-allow-credentials': 'true',
      vary: /Origin/,
    },
  })
  const wrong = await poll(daemon, 'none:a', {}, from('https://app.example'))
  t.match(wrong, { status: 404, headers: { 'access-control-allow-origin': 'https://app.example' } })
  const refused = await poll(daemon, 'chat:a', {}, from('https://evil.example'))
  t.match(refused, { status: 403, body: { error: { code: 'forbidden' } } })
  t.notOk('access-control-allow-origin' in refused.headers)
  const preflight = await ask(daemon, '/poll', {
    method: 'OPTIONS',
    headers: { Origin: 'https://app.example', 'Access-Control-Request-Method': 'GET' },
  })
  t.match(preflight, { status: 204, headers: { 'access-control-allow-methods': /GET/ } })
})
