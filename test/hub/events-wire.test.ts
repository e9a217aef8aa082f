import { defineAction } from '../../src/index.ts'
import { connect, type TestClient } from '../support/client.ts'
import type { TestConfig, TestDaemon } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { onBoth, SECRET, token } from '../transports/both.ts'

const config: TestConfig = {
  ACTIONS: {
    chat: {
      ask: defineAction({
        access: 'public',
        handle: (_input, { connection }) => connection!.emitWithAck('question', ['why?'], { timeoutMs: 500 }),
      }),
      flood: defineAction({
        access: 'public',
        handle: (_input, { connection }) => {
          const asked = Array.from({ length: 10 }, () => connection!.emitWithAck('q', [], { timeoutMs: 300 }))
          return Promise.allSettled(asked).then((all) => all.map(({ status }) => status))
        },
      }),
      rename: defineAction({
        access: 'public',
        handle: (_input, { emit }) => emit({ channel: 'chat:a' }, 'renamed', ['x'], { exclude: 'me' }),
      }),
      poll: defineAction({
        access: 'public',
        handle: (_input, { emit }) => emit({ channel: 'chat:a' }, 'poll', [], { ack: { timeoutMs: 500 } }),
      }),
      shout: defineAction({
        access: 'public',
        handle: (_input, { connection }) => connection!.broadcast('shout', 1),
      }),
      text: defineAction({ access: 'public', handle: (_input, { connection }) => connection!.send('hello') }),
      who: defineAction({ access: 'public', handle: (_input, { presence }) => presence('chat:a') }),
      others: defineAction({ access: 'public', handle: (_input, { presence }) => presence('plain:a') }),
    },
    plain: {},
    mine: {},
  },
  channels: {
    chat: { access: 'public', presence: true },
    plain: { access: 'public' },
    mine: { access: 'user', presence: true },
  },
  auth: { jwt: { secret: SECRET } },
}

async function post(daemon: TestDaemon, body: object): Promise<{ status: number; body: unknown }> {
  const headers = { 'Content-Type': 'application/json' }
  const response = await fetch(`${daemon.url}/api/emit`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() }
}

/** Answers the next event of this name. */
async function answer(client: TestClient, event: string, ...args: unknown[]): Promise<void> {
  const frame = await client.next({ type: 'event', event })
  client.send({ type: 'ack', id: frame['id'], args })
}

onBoth('an event that asks is answered by an ack, exactly once', async (t, start) => {
  const daemon = await start(config)
  const client = await connect(t, daemon)
  const asked = client.call('chat.ask')
  const frame = await client.next({ type: 'event' })
  t.match(frame, { type: 'event', event: 'question', args: ['why?'], id: 1 })
  client.send({ type: 'ack', id: 1, args: ['because', { of: 'it' }] })
  t.same(await asked, ['because', { of: 'it' }])
  for (const id of [1, 2, 'x']) {
    client.send({ type: 'ack', id, args: [] })
    t.match(await client.next({ type: 'error' }), { code: 'invalid_input', id: undefined })
  }
  for (const bad of [
    { type: 'ack', args: [] },
    { type: 'ack', id: 1, args: 'x' },
    { type: 'ack', id: [] },
  ]) {
    client.send(bad)
    t.match(await client.next({ type: 'error' }), { code: /invalid_input|bad_frame/, id: undefined })
  }
  t.equal(daemon.daemon.counts.errors.get('client.invalid_input'), 5)
  const late = client.ask({ type: 'call', action: 'chat.ask' })
  t.match(await late, { type: 'error', code: 'timeout' })
})

onBoth('a flood of answers harms nobody, and a client that goes leaves nothing', async (t, start) => {
  const daemon = await start({ ...config, limits: { pendingAcks: 4 } })
  const client = await connect(t, daemon)
  const flood = client.call('chat.flood')
  for (let id = 0; id < 500; id++) client.send({ type: 'ack', id, args: [id] })
  t.same(await flood, [
    ...Array.from({ length: 4 }, () => 'fulfilled'),
    ...Array.from({ length: 6 }, () => 'rejected'),
  ])
  await until(
    'the others were refused',
    () => daemon.daemon.counts.errors.get('client.invalid_input') === 496,
  )
  const goer = await connect(t, daemon)
  const before = daemon.daemon.counts.acksWanted
  goer.send({ type: 'call', id: 1, action: 'chat.ask' })
  await goer.next({ type: 'event' })
  await goer.close()
  t.equal(daemon.daemon.counts.acksWanted, before + 1)
  t.equal((await client.ask({ type: 'ping' })).type, 'pong')
})

onBoth('modules reach a channel, all but the sender, and everybody else', async (t, start) => {
  const daemon = await start(config)
  const [sender, other, outside] = [
    await connect(t, daemon),
    await connect(t, daemon),
    await connect(t, daemon),
  ]
  await sender.subscribe('chat:a')
  await other.subscribe('chat:a')
  t.match(await sender.call('chat.rename'), { count: 1, answered: 0, missing: [] })
  t.match(await other.next({ type: 'event' }), { event: 'renamed', args: ['x'] })
  const polled = sender.call('chat.poll')
  await Promise.all([answer(sender, 'poll', 1), answer(other, 'poll', 2)])
  t.match(await polled, { count: 2, answered: 2, missing: [] })
  await sender.call('chat.shout')
  for (const client of [other, outside]) t.match(await client.next({ type: 'event' }), { event: 'shout' })
  t.equal(await sender.call('chat.text'), true)
  t.match(await sender.next({ type: 'event' }), { event: 'message', args: ['hello'] })
  t.same([sender.rest('event'), other.rest('event'), outside.rest('event')], [[], [], []])
})

onBoth('the server API can wait for the answers too', async (t, start) => {
  const daemon = await start(config)
  const client = await connect(t, daemon, { token: await token('alice') })
  const asked = post(daemon, { user: 'alice', event: 'q', args: [1], ack: true, timeout: '2s' })
  await answer(client, 'q', 'yes')
  t.same(await asked, {
    status: 200,
    body: {
      count: 1,
      answered: 1,
      acks: [{ session: client.welcome?.['session'], user: 'alice', args: ['yes'] }],
      missing: [],
    },
  })
  const unanswered = await post(daemon, { all: true, event: 'q', ack: true, timeout: 20 })
  t.match(unanswered.body, { count: 1, answered: 0, acks: [] })
  t.same((await post(daemon, { user: 'alice', event: 'e', ack: false })).body, { count: 1, missing: [] })
  const bad = [{ ack: 1 }, { ack: true, timeout: 0 }, { ack: true, timeout: '2h' }, { timeout: '1s' }]
  for (const part of bad) {
    const { status, body } = await post(daemon, { all: true, event: 'q', ...part })
    t.match([status, body], [400, { error: { code: 'invalid_input', message: /^(ack|timeout): / } }])
  }
})

onBoth('clients ask who is there, and are told who comes and leaves', async (t, start) => {
  const daemon = await start(config)
  const alice = await connect(t, daemon, { token: await token('alice', 60, { info: { name: 'A' } }) })
  await alice.subscribe('chat:a')
  const entry = { session: alice.welcome?.['session'], user: 'alice', info: { name: 'A' } }
  const asked = await alice.ask({ type: 'presence', channel: 'chat:a' })
  t.same(asked['data'], { clients: [entry], count: 1 })
  const guest = await connect(t, daemon)
  await guest.subscribe('chat:a')
  const session = guest.welcome?.['session']
  t.match(await alice.next({ type: 'presence' }), {
    channel: 'chat:a',
    event: 'join',
    client: { session, user: null, info: null },
    count: 2,
  })
  t.match(await guest.call('chat.who'), { clients: [entry, { session }], count: 2 })
  t.same(guest.rest('presence'), [])
  const api = await fetch(`${daemon.url}/api/presence?channel=chat:a&limit=1`)
  t.same(await api.json(), { clients: [entry], count: 2, missing: [] })
  await guest.close()
  t.match(await alice.next({ type: 'presence' }), { event: 'leave', client: { session }, count: 1 })
  t.match(await alice.call('chat.others'), { clients: [], count: 0 })

  // Who may subscribe may ask; where it is not kept nobody may.
  const stranger = await connect(t, daemon)
  for (const [channel, code] of [
    ['plain:a', 'forbidden'],
    ['mine:alice', 'unauthenticated'],
    ['none:a', 'unknown_channel'],
    ['chat', 'unknown_channel'],
  ]) {
    t.match(await stranger.ask({ type: 'presence', channel }), { type: 'error', code })
  }
})

onBoth('a reload turns presence off and on again: who was there all the time is known', async (t, start) => {
  const daemon = await start(config)
  const [one, two] = [await connect(t, daemon), await connect(t, daemon)]
  await one.subscribe('chat:a')
  await two.subscribe('chat:a')
  await one.next({ type: 'presence', event: 'join' })
  await daemon.reload({ ...config, channels: { ...config.channels, chat: { access: 'public' } } })
  t.match(await one.ask({ type: 'presence', channel: 'chat:a' }), { type: 'error', code: 'forbidden' })
  await daemon.reload({
    ...config,
    channels: { ...config.channels, chat: { access: 'public', presence: { by: 'user', leaveAfter: 1 } } },
  })
  t.match(await one.ask({ type: 'presence', channel: 'chat:a' }), { data: { count: 2 } })
  t.same([one.rest('presence'), two.rest('presence')], [[], []], 'nobody came or left')
  await two.close()
  t.match(await one.next({ type: 'presence' }), { event: 'leave', count: 1 })
})
