import t from 'tap'
import {
  type CallHook,
  ClientError,
  type ConnectHook,
  type DisconnectHook,
  defineAction,
} from '../../src/index.ts'
import type { MessageHook } from '../../src/index.ts'
import { startTestDaemon, type TestDaemon } from '../../src/testing/index.ts'

// What modules of the Socket.IO servers before this one could do with their sockets, in the rows' order
// (PREDECESSORS.md, S3).

const channels = { room: { access: 'public' } } as const
// On a machine with much to do.
const PATIENT = { deadlineMs: 20_000 }

t.test('S3-09: connections can be iterated over, each with its session', async (t) => {
  const who = defineAction({
    access: 'public',
    handle: (_input, { connections }) => ({
      size: connections.size,
      sessions: [...connections].map(({ session }) => session),
      here: connections.on('room:a').map(({ session }) => session),
      ann: connections.of('ann').length,
    }),
  })
  await using daemon = await startTestDaemon({ ACTIONS: { room: { who } }, channels }, PATIENT)
  const [first, second] = [await daemon.connect({ user: 'ann' }), await daemon.connect()]
  await second.subscribe('room:a')
  const { size, sessions, here, ann } = await first.call('room.who')
  t.equal(size, 2)
  t.strictSame(new Set(sessions), new Set([first.session, second.session]))
  t.strictSame(here, [second.session])
  t.equal(ann, 1)
  await second.close()
  t.strictSame((await first.call('room.who')).sessions, [first.session])
})

t.test('S3-10 to 13: send, emit and broadcast, with and without who asks', async (t) => {
  const speak = defineAction({
    access: 'public',
    async handle(_input, { connection, emit }) {
      connection?.send('a text')
      connection?.emit('notice', 1, [2], { three: 3 })
      connection?.broadcast('others', 'all but one')
      await emit({ all: true }, 'everyone', ['all'])
      await emit({ channel: 'room:a' }, 'there', [], { exclude: 'me' })
    },
  })
  await using daemon = await startTestDaemon({ ACTIONS: { room: { speak } }, channels }, PATIENT)
  const [speaker, other] = [await daemon.connect(), await daemon.connect()]
  for (const client of [speaker, other]) await client.subscribe('room:a')
  t.equal(await speaker.call('room.speak'), null)
  const heard = async (client: typeof speaker): Promise<unknown[]> =>
    (await client.rest()).map(({ event, args }) => [event, args])
  t.strictSame(await heard(speaker), [
    ['message', ['a text']],
    ['notice', [1, [2], { three: 3 }]],
    ['everyone', ['all']],
  ])
  t.strictSame(await heard(other), [
    ['others', ['all but one']],
    ['everyone', ['all']],
    ['there', []],
  ])
})

t.test(
  'S3-01, 14: an answer counts once; a second one, one that nobody asked for and a late one change nothing',
  async (t) => {
    const ask = defineAction({
      access: 'public',
      handle: async (_input, { connection }) =>
        connection?.emitWithAck('sure', ['really'], { timeoutMs: 1000 }),
    })
    await using daemon = await startTestDaemon({ ACTIONS: { room: { ask } }, channels }, PATIENT)
    const ann = await daemon.connect()
    const answered = ann.call('room.ask', 10_000)
    const asked = await ann.event('sure')
    t.strictSame(asked.args, ['really'])
    asked.ack('yes', { data: 1 })
    asked.ack('no')
    t.strictSame(await answered, ['yes', { data: 1 }])
    ann.send({ type: 'ack', id: 'never', args: [] })
    const next = ann.call('room.ask', 10_000)
    ;(await ann.event('sure')).ack('again')
    t.strictSame(await next, ['again'], 'and the next question is answered for itself')

    const unanswered = ann.call('room.ask', 50)
    const late = await ann.event('sure')
    await t.rejects(unanswered, { code: 'timeout' })
    late.ack('too late')
    const once = ann.call('room.ask', 10_000)
    ;(await ann.event('sure')).ack('in time')
    t.strictSame(await once, ['in time'])
  },
)

t.test('S3-15 to 20: hooks see who comes and goes, every frame, and every call with its event', async (t) => {
  const seen: unknown[] = []
  const connect: ConnectHook = (connection) => void seen.push(['connect', connection.session])
  const disconnect: DisconnectHook = (connection, { code }) =>
    void seen.push(['disconnect', connection.session, code])
  const message: MessageHook = (frame, { session }) => void seen.push(['message', session, frame['type']])
  const call: CallHook = ({ subsystem, action, data }) => {
    seen.push(['call', `${subsystem}.${action}`, data])
    if (data === 'forbidden') throw new ClientError('forbidden', 'not this')
  }
  const say = defineAction({ access: 'public', handle: (text) => text })
  await using daemon = await startTestDaemon(
    {
      ACTIONS: { room: { say } },
      channels,
      hooks: { connect, disconnect, message, call },
    },
    PATIENT,
  )
  const ann = await daemon.connect()
  t.equal(await ann.call('room.say', 'hello'), 'hello')
  await t.rejects(ann.call('room.say', 'forbidden'), { code: 'forbidden', message: 'not this' })
  await ann.close()
  await daemon.stop()
  t.strictSame(seen, [
    ['connect', ann.session],
    ['message', ann.session, 'call'],
    ['call', 'room.say', 'hello'],
    ['message', ann.session, 'call'],
    ['call', 'room.say', 'forbidden'],
    ['disconnect', ann.session, 1000],
  ])
})

t.test(
  'S3-21 to 23: an event has a name and data, is answered exactly once, with success or with failure',
  async (t) => {
    const work = defineAction({
      access: 'public',
      handle(input, { subsystem, action, connection }) {
        if (input === 'fail') throw new ClientError('conflict', 'it failed', { of: action })
        return { name: `${subsystem}.${action}`, data: input, acknowledgeable: connection !== null }
      },
    })
    await using daemon = await startTestDaemon({ ACTIONS: { room: { work } }, channels }, PATIENT)
    const ann = await daemon.connect()
    t.strictSame(await ann.call('room.work', [1]), { name: 'room.work', data: [1], acknowledgeable: true })
    await t.rejects(ann.call('room.work', 'fail'), {
      code: 'conflict',
      message: 'it failed',
      details: { of: 'work' },
    })
    // Without an id no answer is wanted, and none comes.
    ann.send({ type: 'call', action: 'room.work', data: 1 })
    t.strictSame(await ann.rest(), [])
  },
)

t.test('S4-13: whoever emits learns how many heard it, none where the user is not connected', async (t) => {
  await using daemon = await startTestDaemon({ channels }, PATIENT)
  const emit = (user: string): Promise<unknown> => api(daemon, { user, event: 'notice', args: ['hello'] })
  t.match(await emit('ann'), { count: 0 })
  // S4-12: every tab counts, not the last one.
  const tabs = [await daemon.connect({ user: 'ann' }), await daemon.connect({ user: 'ann' })]
  t.match(await emit('ann'), { count: 2 })
  for (const tab of tabs) t.strictSame((await tab.event('notice')).args, ['hello'])
  t.match(await emit('bob'), { count: 0 })
})

t.test(
  'S5-08, 09: to all who are there, the sender included, once it is kept; one that breaks stops nobody',
  async (t) => {
    const say = defineAction({ access: 'public', handle: (text, { publish }) => publish('room:a', text) })
    await using daemon = await startTestDaemon({
      ACTIONS: { room: { say } },
      channels: { room: { access: 'public', history: { count: 50 } } },
    })
    const clients = [await daemon.connect(), await daemon.connect(), await daemon.connect()] as const
    for (const client of clients) await client.subscribe('room:a')
    await clients[1].drop()
    const reply = await clients[0].call('room.say', 'hello')
    t.type(reply.id, 'string')
    for (const client of [clients[0], clients[2]]) {
      t.match(await client.message(), { data: 'hello', id: reply.id, time: Number })
    }
    const late = await (await daemon.connect()).subscribe('room:a', { last: 50 })
    t.match(late.messages, [{ data: 'hello', id: reply.id }])
  },
)

function api(daemon: TestDaemon, body: object): Promise<unknown> {
  return daemon.api('/api/emit', body)
}
