import t from 'tap'
import type { Connection } from '../../src/registry/define.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { distinct, of, type Receiver, SECRET, startReceiver } from './receiver.ts'

function told(receiver: Receiver, more: object = {}): TestConfig {
  return {
    channels: { chat: { access: 'public' }, news: { access: 'public' } },
    signals: { webhooks: [{ url: receiver.url, secret: SECRET, name: 'app', ...more }] },
  }
}

void t.test('a webhook is told who comes, subscribes and goes, in order, signed', async (t) => {
  const receiver = await startReceiver(t)
  const daemon = await startDaemon(t, told(receiver))
  const client = await connect(t, daemon)
  const session = String(client.welcome!['session'])
  await client.subscribe('chat:a')
  await client.ask({ type: 'unsubscribe', channel: 'chat:a' })
  await client.subscribe('news:b')
  await client.close(1000)
  const signals = await receiver.took('the end', (all) => all.some(({ name }) => name === 'disconnect'))
  t.same(of(signals, session), [
    'connect',
    'subscribe',
    'unsubscribe',
    'subscribe',
    'unsubscribe',
    'disconnect',
  ])
  t.same(
    receiver.names().filter((name) => name === 'start'),
    ['start'],
  )
  t.same(
    signals
      .filter(({ name }) => name === 'occupied' || name === 'vacated')
      .map(({ name, channel }) => [name, channel]),
    [
      ['occupied', 'chat:a'],
      ['vacated', 'chat:a'],
      ['occupied', 'news:b'],
      ['vacated', 'news:b'],
    ],
  )
  t.match(
    signals.find(({ name }) => name === 'connect'),
    { user: null, transport: 'websocket', address: '127.0.0.1' },
  )
  t.match(
    signals.filter(({ name }) => name === 'unsubscribe').map(({ reason }) => reason),
    ['unsubscribed', 'disconnected'],
  )
  const end = signals.find(({ name }) => name === 'disconnect')!
  t.match(end, { code: 1000, reason: 'left' })
  t.ok(end.durationMs! >= 0 && end.durationMs! < 20_000)
  t.equal(distinct(signals).length, signals.length)
})

void t.test(
  'a target hears only of what it asked for; calls and frames only where they are named',
  async (t) => {
    const receiver = await startReceiver(t)
    const config = told(receiver, { events: ['call', 'message', 'subscribe'], subsystems: ['news', 'math'] })
    const daemon = await startDaemon(t, {
      ...config,
      ACTIONS: { math: { add: (data: { a: number; b: number }) => data.a + data.b } },
      channels: { ...config.channels, math: { access: 'public' } },
    })
    const client = await connect(t, daemon)
    await client.subscribe('chat:a')
    await client.subscribe('news:a')
    t.equal(await client.call('math.add', { a: 1, b: 2 }), 3)
    await client.ask({ type: 'authenticate', token: 'a token that nobody may see' })
    await receiver.took('the last frame', (all) =>
      all.some(({ frame }) => JSON.stringify(frame) === '{"type":"authenticate"}'),
    )
    const { signals } = receiver
    t.match(
      signals.filter(({ name }) => name === 'subscribe'),
      [{ channel: 'news:a' }],
    )
    t.match(
      signals.find(({ name }) => name === 'call'),
      { action: 'math.add', data: { a: 1, b: 2 }, user: null },
    )
    t.notMatch(JSON.stringify(signals), /nobody may see/)
    t.notOk(signals.some(({ name }) => name === 'connect'))
  },
)

void t.test(
  'a target that fails, hangs, redirects or answers rubbish is told all of it later, in order',
  async (t) => {
    const receiver = await startReceiver(t)
    const other = await startReceiver(t)
    const config = told(receiver, { timeout: '300ms' })
    config.signals!.webhooks!.push({ url: other.url, secret: SECRET, name: 'other' })
    let attempt = 0
    const elsewhere: string[] = []
    receiver.behave((request, response) => {
      switch (attempt++) {
        case 0:
          return void response.writeHead(500).end('x'.repeat(300_000))
        case 1:
          return undefined // it hangs
        case 2:
          elsewhere.push(request.url ?? '')
          return void response.writeHead(302, { location: '/elsewhere' }).end()
        case 3:
          return void response.socket?.end('rubbish\r\n\r\n')
        default:
          receiver.behave(null)
          return void response.writeHead(410).end()
      }
    })
    const daemon = await startDaemon(t, config)
    const client = await connect(t, daemon)
    for (let n = 0; n < 20; n++) await client.subscribe(`chat:${n}`)
    await other.took('all', (all) => all.filter(({ name }) => name === 'subscribe').length === 20)
    await receiver.took('all', (all) => all.filter(({ name }) => name === 'subscribe').length >= 20, 60_000)
    t.same(
      receiver.signals.filter(({ name }) => name === 'subscribe').map(({ channel }) => channel),
      Array.from({ length: 20 }, (_, n) => `chat:${n}`),
    )
    t.same(elsewhere, ['/live'], 'a redirect is not followed')
    t.equal(receiver.atOnce, 1)
    const failures = daemon.lines.filter(({ msg }) => msg === 'signals are not taken, trying on')
    t.match(failures, [{ target: 'app', reason: 'status 500' }], 'told once')
    await daemon.logged({ msg: 'signals are taken again', target: 'app' })
    const metrics = await (await fetch(`${daemon.url}/metrics`)).text()
    t.match(metrics, /livemessages_signals_failed_attempts_total\{target="app"\} 5/)
    t.match(metrics, /livemessages_signals_taken_total\{target="other"\} [1-9]/)
  },
)

void t.test(
  'without a database a target that is down costs no more than max; the oldest are given up',
  async (t) => {
    const receiver = await startReceiver(t)
    await receiver.close()
    const daemon = await startDaemon(t, {
      ...told(receiver, { events: ['subscribe'] }),
      limits: { subscriptions: 1000, framesPerSecond: 10_000 },
      signals: {
        max: 50,
        webhooks: [{ url: receiver.url, secret: SECRET, name: 'app', events: ['subscribe'] }],
      },
    })
    const client = await connect(t, daemon)
    for (let n = 0; n < 300; n++) await client.subscribe(`chat:${n}`)
    t.equal(daemon.daemon.signals?.tally.waiting.get('app'), 50)
    await receiver.open()
    const signals = await receiver.took('the last', (all) => all.at(-1)?.channel === 'chat:299', 90_000)
    t.equal(signals.length, 50)
    t.equal(signals[0]!.channel, 'chat:250')
    t.ok(
      Math.max(...receiver.batches) <= 40 && receiver.batches[0]! <= 10,
      'it is not flooded when it is back',
    )
    t.equal(daemon.lines.filter(({ msg }) => msg === 'signals are given up').length, 1)
  },
)

void t.test('what is still to be told at a graceful stop is told, as far as the time goes', async (t) => {
  const receiver = await startReceiver(t)
  const daemon = await startDaemon(t, told(receiver))
  const clients = await Promise.all(Array.from({ length: 10 }, () => connect(t, daemon)))
  await daemon.stop()
  const ended = receiver.signals.filter(({ name }) => name === 'disconnect').map(({ session }) => session!)
  const came = clients.map(({ welcome }) => String(welcome!['session']))
  t.same(ended.toSorted(), came.toSorted())

  const deaf = await startReceiver(t)
  deaf.behave(() => undefined)
  const second = await startDaemon(t, told(deaf))
  await connect(t, second)
  await second.stop()
  t.match(
    second.lines.find(({ msg }) => msg === 'stopped before all signals were told'),
    { target: 'app', signals: 3 },
  )
})

void t.test('modules: unsubscribe, occupied and vacated are told without any target', async (t) => {
  const seen: string[] = []
  const daemon = await startDaemon(t, {
    ACTIONS: {
      chat: {
        unsubscribe: ({ channel, reason }: { channel: string; reason: string }, { user }: { user: null }) =>
          void seen.push(`${reason} ${channel} ${user}`),
        occupied: ({ rest }: { rest: string }) => void seen.push(`occupied ${rest}`),
        vacated: ({ channel, time }: { channel: string; time: number }) => {
          if (channel === 'chat:b') throw new Error('a hook that fails')
          seen.push(`vacated ${channel} ${typeof time}`)
        },
      },
    },
    channels: { chat: { access: 'public' } },
  })
  const [one, two] = await Promise.all([connect(t, daemon), connect(t, daemon)])
  await one.subscribe('chat:a')
  await two.subscribe('chat:a')
  await one.ask({ type: 'unsubscribe', channel: 'chat:a' })
  await two.subscribe('chat:b')
  await two.close()
  await until('all is told', () => seen.some((what) => what.startsWith('vacated')) && seen.length === 6)
  t.same(
    seen.filter((what) => what.startsWith('occupied')),
    ['occupied a', 'occupied b'],
  )
  t.same(
    seen.filter((what) => what.includes('chat:') && !what.startsWith('vacated')),
    ['unsubscribed chat:a null', 'disconnected chat:a null', 'disconnected chat:b null'],
  )
  t.same(
    seen.filter((what) => what.startsWith('vacated')),
    ['vacated chat:a number'],
  )
  await daemon.logged({ msg: 'hook failed', hook: 'chat.vacated' })
})

void t.test('a publish hook is asked after the policy, and nothing but true opens', async (t) => {
  const asked: unknown[] = []
  const daemon = await startDaemon(t, {
    ACTIONS: {
      chat: {
        publish: ({ rest, data }: { rest: string; data: unknown }) => {
          asked.push(data)
          return rest === 'open' ? true : rest === 'later' ? Promise.resolve(true) : 1
        },
      },
      closed: { publish: () => true },
    },
    channels: { chat: { access: 'public', publish: 'public' }, closed: { access: 'public' } },
  })
  const client = await connect(t, daemon)
  t.match(await client.ask({ type: 'publish', channel: 'chat:open', data: { n: 1 } }), { type: 'reply' })
  t.match(await client.ask({ type: 'publish', channel: 'chat:later', data: 2 }), { type: 'reply' })
  t.match(await client.ask({ type: 'publish', channel: 'chat:truthy', data: 3 }), { code: 'forbidden' })
  t.match(await client.ask({ type: 'publish', channel: 'closed:a', data: 4 }), { code: 'forbidden' })
  t.same(asked, [{ n: 1 }, 2, 3])
})

void t.test(
  'who is refused by the connect hook was never there; what it subscribed before neither',
  async (t) => {
    const receiver = await startReceiver(t)
    const daemon = await startDaemon(t, {
      ...told(receiver, { events: ['connect', 'subscribe', 'unsubscribe', 'disconnect'] }),
      hooks: {
        connect: async (connection: Connection) => {
          await connection.subscribe('chat:all')
          if (connection.address === '127.0.0.9') connection.disconnect()
          if (connection.address === '127.0.0.9') throw new Error('no')
        },
      },
    })
    const refused = await connect(t, daemon, { localAddress: '127.0.0.9' })
    await refused.closed
    const client = await connect(t, daemon)
    const session = String(client.welcome!['session'])
    await client.next({ type: 'subscribed' })
    await client.close()
    await receiver.took('the end', (all) => all.some(({ name }) => name === 'disconnect'))
    t.same(of(receiver.signals, session), ['connect', 'subscribe', 'unsubscribe', 'disconnect'])
    t.same(of(receiver.signals, String(refused.welcome!['session'])), [])
  },
)

void t.test(
  'who goes while a module lets it in is not told to be on channels that it has left',
  async (t) => {
    const receiver = await startReceiver(t)
    let letIn!: () => void
    const gate = new Promise<void>((resolve) => (letIn = resolve))
    const greeted: string[] = []
    const daemon = await startDaemon(t, {
      ...told(receiver),
      hooks: {
        connect: async (connection: Connection) => {
          await connection.subscribe('chat:a')
          greeted.push(connection.session)
          await gate
        },
      },
    })
    const client = await connect(t, daemon)
    await until('it is on the channel', () => greeted.length === 1)
    await client.close(1000)
    await until('it has gone', () => daemon.daemon.hub!.size === 0)
    letIn()
    const signals = await receiver.took('the end', (all) => all.some(({ name }) => name === 'disconnect'))
    t.same(of(signals, greeted[0]!), ['connect', 'disconnect'])
  },
)
