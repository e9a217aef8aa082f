import { setTimeout as sleep } from 'node:timers/promises'
import { defineAction } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth, positionOf } from './both.ts'

onBoth('the first frame welcomes: session, no user, ping, version', async (t, start) => {
  const daemon = await start({ ...CHANNELS, ping: 12_345 })
  const { welcome } = await connect(t, daemon)
  t.match(welcome, { type: 'welcome', session: /^[\w-]{16}$/, user: null, ping: 12_345, version: /^\d+\./ })
})

onBoth('a subprotocol is chosen when it is offered', async (t, start) => {
  const daemon = await start(CHANNELS)
  const client = await connect(t, daemon, { protocols: ['other', 'livemessage.v1'] })
  t.equal(client.socket.protocol, 'livemessage.v1')
})

onBoth('what carries an id is answered with it, be it a number or a text', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: { chat: { echo: (input: unknown) => input }, live: {} },
  })
  const client = await connect(t, daemon)
  for (const id of [0, 7, -1.5, 9007199254740991, '', 'a"\\\n', 'x'.repeat(128), '\ud800']) {
    client.send({ type: 'subscribe', id, channel: 'chat:a' })
    t.match(await client.next(), {
      type: 'subscribed',
      id,
      channel: 'chat:a',
      recovered: false,
      messages: [],
    })
    client.send({ type: 'publish', id, channel: 'chat:a', data: 1 })
    t.match(await client.next({ type: 'message' }), { channel: 'chat:a', data: 1 })
    t.match(await client.next(), { type: 'reply', id, data: { id: /^\w+-\d+$/ } })
    client.send({ type: 'history', id, channel: 'chat:a', last: 1 })
    t.match(await client.next(), { type: 'reply', id, data: { messages: [{ data: 1 }], complete: true } })
    client.send({ type: 'call', id, action: 'chat.echo', data: { id } })
    t.same(await client.next(), { type: 'reply', id, data: { id } })
    client.send({ type: 'unsubscribe', id, channel: 'chat:a' })
    t.match(await client.next(), { type: 'reply', id, data: null })
    client.send({ type: 'ping', id })
    t.same(await client.next(), { type: 'pong', id })
    client.send({ type: 'nonsense', id })
    t.match(await client.next(), { type: 'error', id, code: 'unknown_type' })
  }
})

onBoth(
  'a frame without an id gets no reply; what goes wrong with it is told all the same',
  async (t, start) => {
    const daemon = await start({
      ...CHANNELS,
      ACTIONS: { chat: { echo: (input: unknown) => input }, live: {} },
    })
    const client = await connect(t, daemon)
    client.send({ type: 'call', action: 'chat.echo', data: 1 })
    client.send({ type: 'publish', channel: 'chat:a', data: 1 })
    client.send({ type: 'history', channel: 'chat:a' })
    client.send({ type: 'unsubscribe', channel: 'chat:a' })
    client.send({ type: 'call', action: 'chat.none' })
    client.send({ type: 'subscribe', channel: 'chat:a' })
    client.send({ type: 'ping' })
    t.match(await client.next(), { type: 'error', id: undefined, code: 'unknown_action' })
    t.match(await client.next(), { type: 'subscribed', id: undefined, channel: 'chat:a' })
    t.same(await client.next(), { type: 'pong' })
    t.same(client.rest(), [])
  },
)

onBoth('an ack is told without its id: that is an event’s, not a frame’s', async (t, start) => {
  const client = await connect(t, await start(CHANNELS))
  client.send({ type: 'presence', id: 1, channel: 'chat:a' })
  t.match(await client.next(), { type: 'error', id: 1, code: 'forbidden', message: /presence/ })
  client.send({ type: 'ack', id: 'the id of an event', args: [] })
  t.match(await client.next(), { type: 'error', id: undefined, code: 'invalid_input', message: /ack/ })
})

onBoth('frames are answered in their order, calls when their actions are done', async (t, start) => {
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: { chat: { slow: async () => held.then(() => 'slow'), quick: async () => 'quick' }, live: {} },
  })
  const client = await connect(t, daemon)
  client.send({ type: 'call', id: 'slow', action: 'chat.slow' })
  client.send({ type: 'call', id: 'quick', action: 'chat.quick' })
  client.send({ type: 'subscribe', id: 1, channel: 'chat:a' })
  client.send({ type: 'history', id: 2, channel: 'chat:a' })
  client.send({ type: 'subscribe', id: 3, channel: 'chat:b' })
  client.send({ type: 'publish', id: 4, channel: 'chat:x', data: 0 })
  client.send({ type: 'unsubscribe', id: 5, channel: 'chat:a' })
  await client.next({ id: 5 })
  const ids = client.frames.slice(1).map((frame) => frame['id'])
  t.same(
    ids.filter((id) => id !== 'quick'),
    [1, 2, 3, 4, 5],
  )
  t.match(await client.next({ id: 'quick' }), { data: 'quick' })
  release()
  t.match(await client.next({ id: 'slow' }), { data: 'slow' })
})

onBoth(
  'a subscribe hook that takes its time holds back later frames of its client, not of others',
  async (t, start) => {
    let release = (): void => undefined
    const held = new Promise<boolean>((resolve) => {
      release = () => resolve(true)
    })
    const daemon = await start({ ...CHANNELS, ACTIONS: { chat: { subscribe: async () => held }, live: {} } })
    const [waiting, other] = [await connect(t, daemon), await connect(t, daemon)]
    waiting.send({ type: 'subscribe', id: 1, channel: 'chat:a' })
    waiting.send({ type: 'ping', id: 2 })
    waiting.send({ type: 'publish', id: 3, channel: 'chat:a', data: 'mine' })
    t.match(await other.ask({ type: 'publish', channel: 'chat:a', data: 'before' }), { type: 'reply' })
    t.same(waiting.rest(), [])
    release()
    t.match(await waiting.next(), { type: 'subscribed', id: 1 })
    t.match(await waiting.next(), { type: 'pong', id: 2 })
    t.match(await waiting.next(), { type: 'message', data: 'mine' })
    t.match(await waiting.next(), { type: 'reply', id: 3 })
  },
)

onBoth(
  'history: the newest, what came since, no more than the limit, and whether that is all',
  async (t, start) => {
    const client = await connect(t, await start(CHANNELS))
    const ids: unknown[] = []
    for (let data = 0; data < 5; data++) {
      const answer = await client.ask({ type: 'publish', channel: 'chat:a', data })
      ids.push((answer['data'] as { id: unknown }).id)
    }
    const ask = async (range: object): Promise<unknown> => {
      const { data } = await client.ask({ type: 'history', channel: 'chat:a', ...range })
      const { messages, complete } = data as { messages: { data: unknown }[]; complete: boolean }
      return [messages.map((message) => message.data), complete]
    }
    t.same(await ask({}), [[0, 1, 2, 3, 4], true])
    t.same(await ask({ last: 2 }), [[3, 4], true])
    t.same(await ask({ last: 0 }), [[], true])
    t.same(await ask({ since: ids[2] }), [[3, 4], true])
    t.same(await ask({ since: ids[0], limit: 2 }), [[1, 2], false])
    t.same(await ask({ since: ids[4], limit: 1 }), [[], true])
    t.same(await ask({ since: `other-${positionOf(ids[2])}` }), [[], false])
    t.match(await client.ask({ type: 'history', channel: 'chat:a', limit: 0 }), { code: 'invalid_input' })
    t.match(await client.ask({ type: 'history', channel: 'chat:a', since: 'x' }), { code: 'invalid_input' })
  },
)

onBoth('history of a transient channel is empty, and no proof of anything', async (t, start) => {
  const client = await connect(t, await start(CHANNELS))
  await client.ask({ type: 'publish', channel: 'live:a', data: 1 })
  const cursor = (await client.subscribe('chat:a'))['cursor']
  const nothing = { data: { messages: [], complete: false } }
  t.match(await client.ask({ type: 'history', channel: 'live:a' }), nothing)
  t.match(await client.ask({ type: 'history', channel: 'live:a', since: cursor }), nothing)
})

onBoth(
  'publish: only where the policy lets clients; transient ones are answered with a null id',
  async (t, start) => {
    const channels = { ...CHANNELS.channels, shut: { access: 'public' as const } }
    const daemon = await start({ ...CHANNELS, channels, ACTIONS: { chat: {}, live: {}, shut: {} } })
    const client = await connect(t, daemon)
    await client.subscribe('live:a')
    t.match(await client.ask({ type: 'publish', channel: 'shut:a', data: 1 }), { code: 'forbidden' })
    t.match(await client.ask({ type: 'publish', channel: 'none:a', data: 1 }), { code: 'unknown_channel' })
    t.match(await client.ask({ type: 'publish', channel: 'live:a' }), {
      code: 'invalid_input',
      message: /data/,
    })
    t.match(await client.ask({ type: 'publish', channel: 'live:a', data: null }), { data: { id: null } })
    const message = await client.next({ type: 'message' })
    t.match(message, { channel: 'live:a', data: null, time: Number })
    t.notOk('id' in message)
    t.match(await client.ask({ type: 'publish', channel: 'chat:a', data: 1 }), { data: { id: /^\w+-\d+$/ } })
  },
)

onBoth(
  'published data arrives as it was written: large numbers, and line breaks on one line',
  async (t, start) => {
    const client = await connect(t, await start(CHANNELS))
    await client.subscribe('chat:a')
    const raw: string[] = []
    client.socket.on('message', (bytes: Buffer) => raw.push(bytes.toString()))
    const data = '{"n":12345678901234567890, "f":1.00,"e":1E400,\r\n"s":"a\\nb"}'
    client.send(`{"type":"publish",\n"id":1,"channel":"chat:a","data":${data}}`)
    await client.next({ id: 1 })
    const message = raw.find((text) => text.includes('"type":"message"'))!
    t.match(message, '"data":{"n":12345678901234567890, "f":1.00,"e":1E400, "s":"a\\nb"}')
    t.notMatch(message, /[\r\n]/)
  },
)

onBoth(
  'data that is nested as deeply as a frame allows goes through, or is refused by name',
  async (t, start) => {
    const client = await connect(t, await start(CHANNELS))
    const deep = '['.repeat(30_000) + ']'.repeat(30_000)
    await client.subscribe('chat:a')
    client.send(`{"type":"publish","id":1,"channel":"chat:a","data":${deep}}`)
    t.match(await client.next({ id: 1 }), { type: 'reply' })
    await client.next({ type: 'message' })
    client.send(`{"type":"publish","id":2,"channel":"chat:a","d\\u0061ta":${deep}}`)
    t.match(await client.next({ id: 2 }), { type: 'error', code: 'invalid_input', message: /nested/ })
  },
)

onBoth('actions emit, subscribe and unsubscribe through the connection', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: {
      chat: {
        greet: defineAction({
          async handle(_input, { connection }) {
            connection!.emit('notice', 1, 2, '!!!')
            await connection!.subscribe('live:server')
            connection!.unsubscribe('chat:a')
            connection!.unsubscribe('chat:never')
          },
        }),
      },
      live: {},
    },
  })
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  client.send({ type: 'call', id: 1, action: 'chat.greet' })
  t.same(await client.next(), { type: 'event', event: 'notice', args: [1, 2, '!!!'] })
  t.match(await client.next(), { type: 'subscribed', channel: 'live:server', cursor: null })
  t.match(await client.next(), { type: 'unsubscribed', channel: 'chat:a', code: 'forbidden' })
  t.match(await client.next(), { type: 'reply', id: 1, data: null })
  await daemon.publish('live:server', 'x')
  t.match(await client.next(), { type: 'message', channel: 'live:server', data: 'x' })
})

onBoth('on a stop clients are told when to come back, and closed with the reason', async (t, start) => {
  for (const [reason, code] of [
    ['restart', 1012],
    ['shutdown', 1001],
  ] as const) {
    const daemon = await start(CHANNELS)
    const clients = [await connect(t, daemon), await connect(t, daemon)]
    const stopping = daemon.stop(reason)
    for (const client of clients) {
      t.match(await client.next(), { type: 'reconnect', reason, after: Number })
      t.match(await client.closed, { code, reason })
    }
    await stopping
  }
})

onBoth('a stop waits for calls that are running, those that begin meanwhile too', async (t, start) => {
  let calls = 0
  const action = async (): Promise<number> => {
    await sleep(30)
    return ++calls
  }
  const daemon = await start({ ...CHANNELS, ACTIONS: { chat: { slow: action }, live: {} } })
  const client = await connect(t, daemon)
  client.send({ type: 'call', id: 1, action: 'chat.slow' })
  await until('the call', () => daemon.daemon.counts.calls === 1)
  const stopping = daemon.stop()
  client.send({ type: 'call', id: 2, action: 'chat.slow' })
  t.match(await client.next({ id: 1 }), { data: 1 })
  t.match(await client.next({ id: 2 }), { data: 2 })
  await stopping
})
