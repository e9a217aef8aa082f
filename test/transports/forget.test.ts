import { connect } from '../support/client.ts'
import type { TestConfig, TestDaemon } from '../support/daemon.ts'
import type { ForgetRequest } from '../../src/index.ts'
import { onBoth } from './both.ts'

const CONFIG: TestConfig = {
  channels: {
    chat: { access: 'public', history: { count: 100, maxAge: '1h' } },
    own: { access: 'user', history: { count: 100, maxAge: '1h' } },
    quotes: { access: 'public', delivery: 'transient', conflate: 'symbol' },
    live: { access: 'public', delivery: 'transient' },
  },
}

async function forget(daemon: TestDaemon, body: unknown): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${daemon.url}/api/forget`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() }
}

async function history(daemon: TestDaemon, channel: string): Promise<unknown[]> {
  const response = await fetch(`${daemon.url}/api/history?channel=${channel}`)
  return ((await response.json()) as { messages: { data: unknown }[] }).messages.map(({ data }) => data)
}

async function publish(daemon: TestDaemon, channel: string, data: unknown): Promise<string> {
  return ((await daemon.publish(channel, data)).body as { id: string }).id
}

onBoth(
  '/api/forget takes a publication away: from history, from who comes back, from who watches',
  async (t, start) => {
    const daemon = await start(CONFIG)
    const client = await connect(t, daemon)
    await client.subscribe('chat:a')
    const ids = []
    for (const data of [1, 2, 3]) ids.push(await publish(daemon, 'chat:a', data))
    t.same(await forget(daemon, { channel: 'chat:a', ids: [ids[1]] }), {
      status: 200,
      body: { forgotten: 1, letters: 0, missing: [] },
    })
    t.match(await client.next({ type: 'forgotten' }), { channel: 'chat:a', ids: [ids[1]] })
    t.same(await history(daemon, 'chat:a'), [1, 3])
    const back = await connect(t, daemon)
    const subscribed = await back.subscribe('chat:a', { since: ids[0]! })
    t.match(subscribed, { recovered: true, messages: [{ data: 3 }] })
    t.equal((subscribed['messages'] as unknown[]).length, 1)
    const last = await (await connect(t, daemon)).subscribe('chat:a', { last: 2 })
    t.match(last, { messages: [{ data: 1 }, { data: 3 }] })
    t.match(await forget(daemon, { channel: 'chat:a', ids }), { body: { forgotten: 2 } })
    t.match(await forget(daemon, { channel: 'chat:a', ids }), { body: { forgotten: 0 } })
    t.same(await history(daemon, 'chat:a'), [])
  },
)

onBoth('/api/forget empties a channel, and it goes on', async (t, start) => {
  const daemon = await start(CONFIG)
  const client = await connect(t, daemon)
  const { cursor } = await client.subscribe('chat:a')
  for (const data of [1, 2, 3]) await publish(daemon, 'chat:a', data)
  await publish(daemon, 'chat:b', 'b')
  t.match(await forget(daemon, { channel: 'chat:a' }), { status: 200, body: { forgotten: 3 } })
  const told = await client.next({ type: 'forgotten' })
  t.same(told, { type: 'forgotten', channel: 'chat:a' })
  await publish(daemon, 'chat:a', 4)
  t.match(await client.next({ type: 'message', data: 4 }), { data: 4 })
  t.same([await history(daemon, 'chat:a'), await history(daemon, 'chat:b')], [[4], ['b']])
  const back = await connect(t, daemon)
  t.match(await back.subscribe('chat:a', { since: String(cursor) }), {
    recovered: true,
    messages: [{ data: 4 }],
  })
})

onBoth('/api/forget takes values of a conflated channel', async (t, start) => {
  const daemon = await start(CONFIG)
  for (const symbol of ['A', 'B', 'C']) await daemon.publish('quotes:x', { symbol, price: 1 })
  t.match(await forget(daemon, { channel: 'quotes:x', key: 'B' }), { body: { forgotten: 1 } })
  const client = await connect(t, daemon)
  const subscribed = await client.subscribe('quotes:x')
  t.match(subscribed, { messages: [{ data: { symbol: 'A' } }, { data: { symbol: 'C' } }] })
  t.match(await forget(daemon, { channel: 'quotes:x' }), { status: 200 })
  t.same(await client.next({ type: 'forgotten' }), { type: 'forgotten', channel: 'quotes:x' })
  await daemon.publish('quotes:x', { symbol: 'C', price: 2 })
  t.match(await client.next({ type: 'message' }), { data: { symbol: 'C', price: 2 } })
  t.match((await (await connect(t, daemon)).subscribe('quotes:x'))['messages'], [{ data: { price: 2 } }])
})

onBoth(
  '/api/forget takes a user from every subsystem with channels of users, and asks the hooks',
  async (t, start) => {
    const asked: unknown[] = []
    const daemon = await start({
      ...CONFIG,
      ACTIONS: {
        own: {
          forget: (request: ForgetRequest, { subsystem }: { subsystem: string }) => {
            asked.push({ ...request, subsystem })
            return 7
          },
        },
      },
    })
    for (const channel of ['own:42', 'own:421', 'chat:42']) await publish(daemon, channel, channel)
    t.same(await forget(daemon, { user: '42' }), {
      status: 200,
      body: { forgotten: 1, letters: 0, records: 7, mailboxes: 0, missing: [] },
    })
    t.match(asked, [{ user: '42', database: null, subsystem: 'own' }])
    t.same(await history(daemon, 'own:42'), [])
    t.same(await history(daemon, 'own:421'), ['own:421'])
    t.same(await history(daemon, 'chat:42'), ['chat:42'])
  },
)

onBoth(
  '/api/forget: a hook that fails is told, and nothing of the user is said to be forgotten',
  async (t, start) => {
    let fail = true
    const hook = () => {
      if (fail) throw new Error('the table is locked')
    }
    const daemon = await start({ ...CONFIG, ACTIONS: { own: { forget: hook } } })
    await publish(daemon, 'own:42', 1)
    t.match(await forget(daemon, { user: '42' }), { status: 500, body: { error: { code: 'internal' } } })
    t.same(await history(daemon, 'own:42'), [1])
    fail = false
    t.match(await forget(daemon, { user: '42' }), { status: 200, body: { forgotten: 1 } })
  },
)

onBoth('/api/forget refuses what is no forgetting, by its name', async (t, start) => {
  const daemon = await start(CONFIG)
  const id = await publish(daemon, 'chat:a', 1)
  const cases: [unknown, number, string, RegExp][] = [
    ['', 400, 'invalid_input', /object/],
    ['[]', 400, 'invalid_input', /object/],
    [{}, 400, 'invalid_input', /channel, user/],
    [{ channel: 'chat:a', user: '42' }, 400, 'invalid_input', /channel, user/],
    [{ channel: 'chat:a', all: true }, 400, 'invalid_input', /all/],
    [{ channel: 'chat' }, 404, 'unknown_channel', /chat/],
    [{ channel: 'chat:a', ids: [] }, 400, 'invalid_input', /ids/],
    [{ channel: 'chat:a', ids: id }, 400, 'invalid_input', /ids/],
    [{ channel: 'chat:a', ids: [id, 17] }, 400, 'invalid_input', /ids\[1\]/],
    [{ channel: 'chat:a', ids: ['0123456789ab-1'] }, 400, 'invalid_input', /epoch/],
    [{ channel: 'chat:a', ids: Array.from({ length: 1001 }, () => id) }, 400, 'invalid_input', /1000/],
    [{ channel: 'chat:a', ids: [id], key: 'A' }, 400, 'invalid_input', /ids, key/],
    [{ channel: 'chat:a', key: 'A' }, 400, 'invalid_input', /key/],
    [{ channel: 'quotes:x', key: {} }, 400, 'invalid_input', /key/],
    [{ channel: 'live:x', ids: [id] }, 400, 'invalid_input', /transient/],
    [{ channel: 'chat:a', database: 'b' }, 400, 'invalid_input', /database/],
    [{ user: '42', database: 'nowhere' }, 400, 'invalid_input', /database/],
    [{ user: '42', ids: [id] }, 400, 'invalid_input', /ids/],
    [{ user: 'b\u001f42' }, 400, 'invalid_input', /user/],
    [{ user: '' }, 400, 'invalid_input', /user/],
    [{ user: 'x'.repeat(2000) }, 400, 'invalid_input', /user/],
  ]
  for (const [body, status, code, message] of cases) {
    t.match(await forget(daemon, body), { status, body: { error: { code, message } } }, JSON.stringify(body))
  }
  t.same(await history(daemon, 'chat:a'), [1])
  t.match(await forget(daemon, { channel: 'chat:a', ids: [id] }), { status: 200, body: { forgotten: 1 } })
  t.match(await forget(daemon, { channel: 'live:x' }), { status: 200, body: { forgotten: 0 } })
  const asPage = await fetch(`${daemon.url}/api/forget`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Origin: 'http://evil.example' },
    body: '{"channel":"chat:a"}',
  })
  t.equal(asPage.status, 403)
})

onBoth('event streams and lines are told what is forgotten, as a WebSocket is', async (t, start) => {
  const daemon = await start(CONFIG)
  const id = await publish(daemon, 'chat:a', 1)
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const streams = ['/sse', '/stream'].map(async (path) => {
    const { body } = await fetch(`${daemon.url}${path}?channel=chat:a&last=1`, { signal: abort.signal })
    const reader = body!.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    return async (wanted: string) => {
      while (!text.includes(wanted)) {
        const { value, done } = await reader.read()
        if (done) throw new Error(`ended after ${text}`)
        text += value
      }
    }
  })
  const [sse, lines] = await Promise.all(streams)
  await Promise.all([sse!(id), lines!(id)])
  await forget(daemon, { channel: 'chat:a', ids: [id] })
  await sse!(`event: forgotten\ndata: {"channel":"chat:a","ids":["${id}"]}\n\n`)
  await lines!(`{"type":"forgotten","channel":"chat:a","ids":["${id}"]}\n`)
  const poll = await fetch(`${daemon.url}/poll?channel=chat:a&last=5&wait=0`)
  t.match(await poll.json(), { messages: [] })
})
