import { connect } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth } from './both.ts'
import { ask, poll } from './polling.ts'

const SOCIABLE = {
  ...CHANNELS,
  channels: { chat: { access: 'public', history: { count: 100 }, presence: true } },
  predecessors: { subsystem: 'chat' },
} as const

onBoth('poll: those who wait without a session do not wake one another', async (t, start) => {
  const daemon = await start(SOCIABLE)
  const hub = daemon.daemon.hub!
  const { cursor } = (await poll(daemon, 'chat:a')).body
  const waiting = [1, 2].map(() => poll(daemon, 'chat:a', { since: cursor }))
  const comet = ask(daemon, '/listen/?cid=a')
  await until('they wait', () => hub.channels.get('chat:a') === 3)
  const gone = new AbortController()
  const going = poll(daemon, 'chat:a', { since: cursor }, { signal: gone.signal })
  await until('one more waits', () => hub.channels.get('chat:a') === 4)
  gone.abort()
  await t.rejects(going)
  await until('it has gone', () => hub.channels.get('chat:a') === 3)
  const session = (await poll(daemon, 'chat:a', { session: 'new' })).body
  t.equal(hub.channels.get('chat:a'), 4, 'all the others wait')
  const told = await poll(daemon, [], {
    session: session.session!,
    secret: session.secret!,
    since: cursor,
    wait: 0,
  })
  t.equal(told.status, 200)
  await daemon.publish('chat:a', 'now')
  for (const { body } of await Promise.all(waiting)) {
    t.match(body, { messages: [{ data: 'now' }] })
    t.notOk('presence' in body)
  }
  t.match(await comet, { status: 200, text: 'now' })
})

onBoth('session: what waits of its events is bounded in bytes, and the rest counted', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { bufferBytes: 100_000 } })
  const { body } = await poll(daemon, 'live:a', { session: 'new', wait: 0 })
  const client = daemon.daemon.hub!.get(body.session!)!
  for (let n = 0; n < 100; n++) client.emit('big', 'x'.repeat(10_000))
  const parameters = { session: body.session!, secret: body.secret!, wait: 0 }
  const next = await poll(daemon, [], parameters)
  const { events, dropped } = next.body as typeof next.body & { dropped: number }
  t.equal(events!.length + dropped, 100)
  t.ok(next.text.length < 101_000, `${next.text.length} bytes`)
  client.emit('small')
  t.match((await poll(daemon, [], parameters)).body, { events: [{ event: 'small' }], dropped: undefined })
})

onBoth('session: what is lost of a transient channel between two requests is told', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { bufferBytes: 100_000 } })
  const { body } = await poll(daemon, ['live:a', 'live:b'], { session: 'new', wait: 0 })
  await daemon.publish('live:b', 'here')
  for (let n = 0; n < 20; n++) await daemon.publish('live:a', 'x'.repeat(10_000))
  const parameters = { session: body.session!, secret: body.secret!, wait: 0 }
  const { lost, messages, recovered } = (await poll(daemon, [], parameters)).body
  t.strictSame(lost, ['live:a'])
  t.equal(recovered, false)
  t.ok(messages.length > 1 && messages.length < 12)
  t.strictSame((await poll(daemon, [], parameters)).body.lost, [])
})

onBoth(
  'poll: who waits without a session is not counted as present, nor told to those who are',
  async (t, start) => {
    const daemon = await start(SOCIABLE)
    const watcher = await connect(t, daemon)
    await watcher.subscribe('chat:a')
    let { cursor } = (await poll(daemon, 'chat:a')).body
    for (let round = 0; round < 3; round++) {
      const waiting = poll(daemon, 'chat:a', { since: cursor })
      await until('it waits', () => daemon.daemon.hub!.channels.get('chat:a') === 2)
      await daemon.publish('chat:a', round)
      cursor = (await waiting).body.cursor
      await until('it has gone', () => daemon.daemon.hub!.channels.get('chat:a') === 1)
    }
    const present = await watcher.ask({ type: 'presence', channel: 'chat:a' })
    t.match(present, { data: { count: 1 } })
    t.same(watcher.rest('presence'), [])
  },
)
