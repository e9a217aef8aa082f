import t, { type Test } from 'tap'
import { createListener } from '../../src/listeners/create.ts'
import { Counts } from '../../src/ops/counts.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { ClientError } from '../../src/protocol/codes.ts'
import { HttpRouter } from '../../src/transports/http.ts'
import { createPoll } from '../../src/transports/poll/poll.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth, positionOf, startParts } from './both.ts'
import { ask, type Answer, type AskOptions, data, poll } from './polling.ts'

/** The next request of a session. */
function next(
  daemon: { readonly port: number },
  { session, secret }: { session?: string; secret?: string },
  parameters: Record<string, string | number> = {},
  options: AskOptions = {},
): Promise<Answer> {
  const query = { session: session ?? '', ...parameters }
  const headers = { 'Livemessage-Secret': secret ?? '', ...options.headers }
  return poll(daemon, [], query, { ...options, headers })
}

onBoth('session: it pollers between two requests, with its channels and its events', async (t, start) => {
  const seen: string[] = []
  const daemon = await start({
    ...CHANNELS,
    hooks: {
      connect: () => void seen.push('came'),
      disconnect: (_client, { code }) => void seen.push(`left ${code}`),
    },
  })
  const hub = daemon.daemon.hub!
  const { body } = await poll(daemon, ['chat:a', 'live:a'], { session: 'new' })
  t.match(body, { session: /^[\w-]{16}$/, secret: String, recovered: false, messages: [] })
  t.equal(hub.size, 1)
  t.equal(hub.channels.get('live:a'), 1)
  const client = hub.get(body.session!)!
  await daemon.publish('live:a', 'between')
  await daemon.publish('chat:a', 1)
  client.emit('notice', 'you')
  const second = await next(daemon, body, { since: body.cursor })
  t.match(second.body, { recovered: true, lost: [], events: [{ event: 'notice', args: ['you'] }] })
  t.strictSame(data(second.body.messages), ['between', 1])
  t.notOk('secret' in second.body)
  const waiting = next(daemon, body, { since: second.body.cursor })
  await until('it waits', () => client.open)
  await daemon.publish('live:a', 'later')
  const third = (await waiting).body
  t.strictSame(data(third.messages), ['later'])
  // Without a place it goes on where it is.
  await daemon.publish('chat:a', 2)
  t.strictSame(data((await next(daemon, body)).body.messages), [2])
  t.equal(hub.get(body.session!), client)
  t.strictSame(seen, ['came'])
  await daemon.stop()
  t.strictSame(seen, ['came', 'left 1001'])
})

onBoth('session: an answer that was lost on the way is given again', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { body } = await poll(daemon, 'chat:a', { session: 'new' })
  for (const n of [1, 2, 3]) await daemon.publish('chat:a', n)
  const lost = await next(daemon, body, { since: body.cursor })
  t.strictSame(data(lost.body.messages), [1, 2, 3])
  await daemon.publish('chat:a', 4)
  const again = await next(daemon, body, { since: body.cursor })
  t.match(again.body, { recovered: true })
  t.strictSame(data(again.body.messages), [1, 2, 3, 4])
  await daemon.publish('chat:a', 5)
  t.strictSame(data((await next(daemon, body, { since: again.body.cursor })).body.messages), [5])
})

onBoth('session: channels that a later request names are added', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { session, secret, cursor } = (await poll(daemon, 'chat:a', { session: 'new' })).body
  await daemon.publish('chat:b', 1)
  const headers = { 'Livemessage-Secret': secret! }
  const added = await poll(daemon, 'chat:b', { session: session!, since: cursor }, { headers })
  t.strictSame(data(added.body.messages), [1])
  await daemon.publish('chat:a', 2)
  await daemon.publish('chat:b', 3)
  const both = await next(daemon, { session: session!, secret: secret! }, { since: added.body.cursor })
  t.strictSame(data(both.body.messages), [2, 3])
})

onBoth('session: more than may be kept is had from the journal, each once', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { bufferBytes: '32kb', publicationBytes: '8kb' } })
  const { body } = await poll(daemon, 'chat:a', { session: 'new' })
  for (let n = 0; n < 100; n++) await daemon.publish('chat:a', { n, text: 'x'.repeat(1000) })
  const got: unknown[] = []
  let { cursor } = body
  let requests = 0
  while (got.length < 100 && requests < 50) {
    const answer = await next(daemon, body, { since: cursor })
    if (answer.status !== 200) t.fail(answer.text)
    t.strictSame(answer.body.lost, [])
    got.push(...answer.body.messages.map(({ data }) => (data as { n: number }).n))
    cursor = answer.body.cursor
    requests++
  }
  t.strictSame(
    got,
    Array.from({ length: 100 }, (_, n) => n),
  )
  t.ok(requests > 2, `in ${requests} requests`)
})

onBoth('session: without its secret, and after its end, the client gets a new one', async (t, start) => {
  const daemon = await start(CHANNELS)
  const hub = daemon.daemon.hub!
  const { body } = await poll(daemon, ['chat:a', 'live:a'], { session: 'new' })
  await daemon.publish('chat:a', 1)
  const again = (secret: string): Promise<Answer> =>
    poll(daemon, ['chat:a', 'live:a'], { session: body.session!, since: body.cursor, secret, wait: 5 })
  for (const secret of ['', 'wrong', `${body.secret!.split('.')[0]}.${'x'.repeat(24)}`]) {
    const other = await again(secret)
    t.equal(other.status, 200)
    t.match(other.body, { session: String, secret: String, recovered: false, lost: ['live:a'] })
    t.strictSame(data(other.body.messages), [1], 'what is journaled is recovered')
    t.not(other.body.session, body.session)
  }
  hub.get(body.session!)!.disconnect()
  const after = await again(body.secret!)
  t.match(after.body, { recovered: false, lost: ['live:a'], messages: [{ data: 1 }] })
  t.not(after.body.session, body.session)
  t.equal(positionOf(after.body.cursor), 1)
})

onBoth('session: a second request of it takes the place of the first', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { body } = await poll(daemon, 'chat:a', { session: 'new' })
  const first = next(daemon, body, { since: body.cursor })
  await new Promise((resolve) => setTimeout(resolve, 100))
  const second = next(daemon, body, { since: body.cursor })
  t.match(await first, { status: 409, body: { error: { code: 'conflict' } } })
  await daemon.publish('chat:a', 1)
  t.strictSame(data((await second).body.messages), [1])
})

onBoth('session: a request that is cut leaves it as it is', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { body } = await poll(daemon, 'live:a', { session: 'new' })
  const cut = new AbortController()
  const first = next(daemon, body, {}, { signal: cut.signal }).catch((error: Error) => error.name)
  await new Promise((resolve) => setTimeout(resolve, 100))
  cut.abort()
  t.equal(await first, 'AbortError')
  await new Promise((resolve) => setTimeout(resolve, 50))
  await daemon.publish('live:a', 'kept')
  t.strictSame(data((await next(daemon, body)).body.messages), ['kept'])
})

onBoth('session: a channel that is closed to it is told as ended', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { body } = await poll(daemon, ['chat:a', 'live:a'], { session: 'new' })
  const waiting = next(daemon, body, { since: body.cursor })
  await new Promise((resolve) => setTimeout(resolve, 50))
  await daemon.reload({
    ...CHANNELS,
    channels: { ...CHANNELS.channels, live: { access: 'none' } },
  })
  const { status, text } = await waiting
  t.equal(status, 200)
  t.match(JSON.parse(text), { ended: [{ channel: 'live:a', code: 'forbidden' }], lost: ['live:a'] })
  await daemon.publish('chat:a', 1)
  const { cursor } = JSON.parse(text) as { cursor: string }
  t.strictSame(data((await next(daemon, body, { since: cursor })).body.messages), [1])
})

onBoth('session: commands come by their own way, and what they bring by this', async (t, start) => {
  const daemon = await start(CHANNELS)
  const { body } = await poll(daemon, 'chat:a', { session: 'new' })
  const answer = await ask(daemon, '/command', {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      'Livemessage-Session': body.session!,
      'Livemessage-Secret': body.secret!,
    },
    body: JSON.stringify({ type: 'subscribe', id: 1, channel: 'chat:b' }),
  })
  t.equal(answer.status, 200, answer.text)
  await daemon.publish('chat:b', 1)
  t.strictSame(data((await next(daemon, body, { since: body.cursor })).body.messages), [1])
})

onBoth('session: a wrong request is refused, and the session goes on', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: { ...CHANNELS.ACTIONS, closed: {} },
    channels: { ...CHANNELS.channels, closed: { access: 'none' } },
  })
  const { session, secret, cursor } = (await poll(daemon, 'chat:a', { session: 'new' })).body
  const headers = { 'Livemessage-Secret': secret! }
  await daemon.publish('chat:a', 1)
  for (const [channel, since, status] of [
    ['chat:a', 'rubbish', 400],
    ['closed:a', cursor, 403],
    ['none:a', cursor, 404],
    ['chat:a%0d', cursor, 404],
    ['chat', cursor, 404],
  ] as const) {
    const path = `/poll?channel=${channel}&since=${since}&session=${session}`
    t.equal((await ask(daemon, path, { headers })).status, status, `${channel} ${since}`)
  }
  const after = await next(daemon, { session: session!, secret: secret! }, { since: cursor })
  t.match(after.body, { recovered: true, lost: [] })
  t.strictSame(data(after.body.messages), [1])
  await daemon.publish('chat:a', 2)
  const last = await next(daemon, { session: session!, secret: secret! }, { since: after.body.cursor })
  t.strictSame(data(last.body.messages), [2])
})

onBoth('session: its secret is in no cache, and no other page asks for it', async (t, start) => {
  const daemon = await start({ ...CHANNELS, origins: ['https://app.example'] })
  const first = await poll(daemon, 'chat:a', { session: 'new', wait: 0 })
  t.equal(first.headers['cache-control'], 'no-store')
  t.notOk('etag' in first.headers)
  const headers = { Origin: 'https://evil.example', 'Livemessage-Secret': first.body.secret! }
  const foreign = await poll(daemon, [], { session: first.body.session! }, { headers })
  t.equal(foreign.status, 403)
  const own = await poll(
    daemon,
    [],
    { session: first.body.session!, wait: 0 },
    { headers: { Origin: 'https://app.example', 'Livemessage-Secret': first.body.secret! } },
  )
  t.match(own, { status: 200, headers: { 'access-control-allow-origin': 'https://app.example' } })
  t.notOk('session' in own.body)
})

void t.test('session: who does not come back in time has left', async (t) => {
  const parts = await startParts(t, CHANNELS)
  const { hub, subscriber, live } = parts
  const { reception } = parts.transports
  const router: HttpRouter = new HttpRouter(
    createPoll({
      live,
      hub,
      subscriber,
      reception,
      journal: parts.backbone.journal,
      fanout: parts.transports.poll.fanout,
      sessions: {
        issue: () => 'secret',
        find: ({ session }) => {
          const client = hub.get(session)
          if (client === undefined) throw new ClientError('unknown_session', 'it is over')
          return client
        },
      },
      graceMs: 1500,
      refuse: (response, error, headers) => router.refuse(response, error, headers),
    }).routes,
    new Counts(),
    parts.services.log,
  )
  const server = await listening(t, router)
  const { body } = await poll(server, 'chat:a', { session: 'new' })
  t.equal(hub.size, 1)
  for (let round = 0; round < 4; round++) {
    t.equal((await next(server, body, { wait: '0.1' })).status, 200)
    t.equal(hub.get(body.session!)?.open, true, 'each request begins the time anew')
  }
  await until('it has left', () => hub.size === 0)
  t.equal(hub.channels.size, 0)
  const late = await poll(server, 'chat:a', {
    session: body.session!,
    secret: body.secret!,
    since: body.cursor,
    wait: 1,
  })
  t.not(late.body.session, body.session)
  t.match(late.body, { recovered: true, secret: String })
})

/** Another listener, for routes of the test's own. */
async function listening(t: Test, router: HttpRouter): Promise<{ port: number }> {
  const log = createLogger({ level: 'silent' })
  const listener = await createListener<never>(
    'node',
    {
      websocketPath: '/ws',
      maxFrameBytes: 1000,
      hardBufferBytes: 1000,
      pingMs: 1000,
      pongMs: 1000,
      compression: false,
    },
    log,
  )
  const nothing = (): void => undefined
  const address = await listener.listen(
    { host: '127.0.0.1', port: 0 },
    {
      onRequest: (request, response) => router.handle(request, response),
      onUpgrade: () => ({ accept: false, status: 400, body: '' }),
      onOpen: nothing,
      onMessage: nothing,
      onDropped: nothing,
      onDrain: nothing,
      onClose: nothing,
    },
  )
  t.teardown(() => listener.close())
  return { port: 'port' in address ? address.port : 0 }
}
