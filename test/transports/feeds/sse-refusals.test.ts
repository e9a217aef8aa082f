import { EventSource } from 'eventsource'
import type { TestDaemon } from '../../support/daemon.ts'
import { connect } from '../../support/client.ts'
import { until } from '../../support/wait.ts'
import { CHANNELS, onBoth, SECRET, token } from '../both.ts'
import { listen, read, untilBlock, untilData } from './reader.ts'

function clients(daemon: TestDaemon): number {
  return daemon.daemon.hub!.size
}

onBoth('the connections of an address are counted over all transports', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    trustedProxies: ['127.0.0.1'],
    limits: { connectionsPerAddress: 2 },
  })
  const headers = { 'X-Forwarded-For': '192.0.2.7' }
  const socket = await connect(t, daemon, { headers })
  const feed = await read(t, `${daemon.url}/sse?channel=chat:a`, { headers })
  t.equal(feed.status, 200)
  const ask = async (): Promise<number> => {
    const reader = await read(t, `${daemon.url}/stream?channel=chat:a`, { headers })
    reader.close()
    return reader.status
  }
  t.equal(await ask(), 429)
  // A status other than 200 would stop EventSource for good, and there may be room in a moment.
  const refused = await fetch(`${daemon.url}/sse?channel=chat:a`, { headers })
  t.match(await refused.text(), /^retry: \d+\n.*event: reconnect/s)
  await socket.close()
  await until('there is room again', async () => (await ask()) === 200)
  feed.close()
  await until('nobody is left', () => clients(daemon) === 0)
})

onBoth('a no is an HTTP status with the reason, and stops EventSource', async (t, start) => {
  const daemon = await start({
    ACTIONS: { chat: {}, own: {} },
    channels: { chat: { access: 'public' }, own: { access: 'user' } },
    auth: { jwt: { secret: SECRET } },
  })
  const ask = async (query: string, headers = {}): Promise<unknown> => {
    const response = await fetch(`${daemon.url}/sse?${query}`, { headers })
    const body = (await response.json()) as { error: { code: string } }
    return [response.status, body.error.code]
  }
  t.same(await ask('channel=none:a'), [404, 'unknown_channel'])
  t.same(await ask('channel=chat'), [404, 'unknown_channel'])
  t.same(await ask('channel=own:1'), [401, 'unauthenticated'])
  t.same(await ask(`channel=own:1&token=${await token('2')}`), [403, 'forbidden'])
  t.same(await ask('channel=chat:a&token=rubbish'), [401, 'unauthenticated'])
  t.same(await ask('channel=chat:a&last=many'), [400, 'invalid_input'])
  t.same(await ask('channel=chat:a', { Origin: 'https://elsewhere.example' }), [403, 'forbidden'])
  const source = new EventSource(`${daemon.url}/sse?channel=none:a`)
  await new Promise((resolve) => source.addEventListener('error', resolve))
  t.equal(source.readyState, EventSource.CLOSED)
  await until('nobody is left', () => clients(daemon) === 0)
})

onBoth('wrong methods, heads and names with line breaks are answered', async (t, start) => {
  const daemon = await start(CHANNELS)
  const posted = await fetch(`${daemon.url}/sse?channel=chat:a`, { method: 'POST' })
  t.equal(posted.status, 405)
  t.match(posted.headers.get('allow'), /GET/)
  const head = await fetch(`${daemon.url}/sse?channel=chat:a`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.match(head.headers.get('content-type'), /^text\/event-stream/)
  t.equal(clients(daemon), 0)
  const broken = await fetch(`${daemon.url}/sse?channel=${encodeURIComponent('chat:a\r\nX-Evil: 1\r\n\r\n')}`)
  t.equal(broken.status, 404)
  t.notOk(broken.headers.has('x-evil'))
  const callback = await fetch(
    `${daemon.url}/stream?channel=chat:a&format=html&callback=${encodeURIComponent('parent.handle\r\nX-Evil: 1')}`,
  )
  t.equal(callback.status, 400)
  t.notOk(callback.headers.has('x-evil'))
})

onBoth('a hundred channels are served, a thousand are refused at once', async (t, start) => {
  const daemon = await start({
    ACTIONS: { c: {} },
    channels: { c: { access: 'public', history: { count: 100 } } },
  })
  const query = (count: number): string =>
    Array.from({ length: count }, (_value, index) => `channel=c:${index}`).join('&')
  const some = await read(t, `${daemon.url}/sse?${query(100)}`)
  t.equal(some.status, 200)
  await untilBlock(some, ({ id }) => id !== undefined)
  await daemon.publish('c:99', 'here')
  await untilData(some, 1)
  const response = await fetch(`${daemon.url}/sse?${query(1000)}`)
  t.equal(response.status, 429)
  t.match(await response.json(), { error: { code: 'limit_exceeded', message: /128/ } })
  const { counts } = daemon.daemon
  t.equal(counts.errors.get('http.limit_exceeded'), 1)
  t.equal(counts.connectionsOpened, 1, 'nobody was asked who that is')
})

onBoth(
  'what is to be tried again is told to EventSource by retry, as an answer that ends',
  async (t, start) => {
    const daemon = await start({ ...CHANNELS, limits: { connections: 1 } })
    const first = await read(t, `${daemon.url}/sse?channel=chat:a`)
    t.equal(first.status, 200)
    const second = await read(t, `${daemon.url}/sse?channel=chat:a`)
    await until('its end', () => second.ended)
    t.equal(second.status, 200)
    t.match(second.blocks, [
      { retry: Number },
      { event: 'reconnect', data: { after: Number, reason: 'unavailable' } },
    ])
    const stream = await fetch(`${daemon.url}/stream?channel=chat:a`)
    t.equal(stream.status, 503)
    t.match(stream.headers.get('retry-after'), /^[1-5]$/)
    t.match(await stream.json(), { error: { code: 'unavailable' } })
    // And it does come back, once there is room.
    const { events } = listen(t, `${daemon.url}/sse?channel=chat:a`)
    await until('it is told', () => events.some(({ type }) => type === 'reconnect'))
    first.close()
    await until('it is in', () => events.some(({ type }) => type === 'welcome'))
  },
)

onBoth('the origin list decides over CORS', async (t, start) => {
  const daemon = await start({ ...CHANNELS, origins: ['https://app.example'] })
  const ask = async (origin: string, method = 'GET'): Promise<Response> => {
    const abort = new AbortController()
    t.teardown(() => abort.abort())
    return fetch(`${daemon.url}/sse?channel=chat:a`, {
      method,
      headers: { Origin: origin },
      signal: abort.signal,
    })
  }
  const allowed = await ask('https://app.example')
  t.equal(allowed.status, 200)
  t.equal(allowed.headers.get('access-control-allow-origin'), 'https://app.example')
  t.equal(allowed.headers.get('access-control-allow-credentials'), 'true')
  t.equal(allowed.headers.get('vary'), 'Origin')
  t.equal(allowed.headers.get('cache-control'), 'no-store')
  t.equal(allowed.headers.get('x-accel-buffering'), 'no')
  t.equal(allowed.headers.get('x-content-type-options'), 'nosniff')
  const foreign = await ask('https://other.example')
  t.equal(foreign.status, 403)
  t.notOk(foreign.headers.has('access-control-allow-origin'))
  t.equal(foreign.headers.get('vary'), 'Origin')
  const preflight = await ask('https://app.example', 'OPTIONS')
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), 'https://app.example')
  t.match(preflight.headers.get('access-control-allow-headers'), /Last-Event-ID/)
  t.equal((await ask('https://other.example', 'OPTIONS')).status, 403)
})

onBoth(
  'with origins * every page may read what anybody may; cookies are for those that are named',
  async (t, start) => {
    const daemon = await start({ ...CHANNELS, origins: ['*', 'https://app.example'] })
    const ask = async (origin: string): Promise<unknown[]> => {
      const { headers } = await fetch(`${daemon.url}/sse`, { method: 'OPTIONS', headers: { Origin: origin } })
      return [headers.get('access-control-allow-origin'), headers.get('access-control-allow-credentials')]
    }
    t.same(await ask('https://any.example'), ['*', null])
    t.same(await ask('https://app.example'), ['https://app.example', 'true'])
  },
)

onBoth('the connect hook may refuse, and what it emits comes after the welcome', async (t, start) => {
  const left: unknown[] = []
  const daemon = await start({
    ...CHANNELS,
    auth: { jwt: { secret: SECRET } },
    hooks: {
      connect: (connection: { user: string | null; emit(event: string, ...args: unknown[]): void }) => {
        connection.emit('hello', 1, 'two')
        if (connection.user === 'bad')
          throw Object.assign(new Error('not you'), { name: 'ClientError', code: 'forbidden' })
      },
      disconnect: (connection: { transport: string }, why: object) => {
        left.push({ ...why, transport: connection.transport })
      },
    },
  })
  const refused = await fetch(`${daemon.url}/sse?channel=chat:a&token=${await token('bad')}`)
  t.equal(refused.status, 403)
  const reader = await read(t, `${daemon.url}/sse?channel=chat:a&token=${await token('good')}`)
  await untilBlock(reader, ({ id }) => id !== undefined)
  t.match(reader.blocks, [
    { retry: Number },
    { event: 'welcome', data: { user: 'good' } },
    { event: 'event', data: { event: 'hello', args: [1, 'two'] } },
    { id: /-0$/ },
  ])
  reader.close()
  await until('the hook is told', () => left.length === 1)
  t.match(left, [{ code: 1006, transport: 'sse' }], 'who was refused has no disconnect')
})
