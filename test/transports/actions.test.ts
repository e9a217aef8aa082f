import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ActionContext,
  type CallHook,
  ClientError,
  type Connection,
  defineAction,
} from '../../src/index.ts'
import { connect } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth, SECRET, token } from './both.ts'

onBoth("a module's publication to no channel is the module's failure", async (t, start) => {
  const caught: unknown[] = []
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: {
      chat: {
        typo: (_input: unknown, { publish }: ActionContext) => publish('caht:a', 1),
        none: (_input: unknown, { publish }: ActionContext) => publish('chat', 1),
        catches: async (_input: unknown, { publish }: ActionContext) => {
          await publish('caht:a', 1).catch((error: unknown) => caught.push(error))
          return 'fine'
        },
        large: (_input: unknown, { publish }: ActionContext) => publish('chat:a', 'x'.repeat(100_000)),
        twice: async (_input: unknown, { publish }: ActionContext) => {
          await publish('chat:a', 1, { key: 'k' })
          return publish('chat:a', 2, { key: 'k' })
        },
      },
      live: {},
    },
    channels: { ...CHANNELS.channels, chat: { access: 'public', history: {} } },
  })
  const client = await connect(t, daemon)
  for (const name of ['chat.typo', 'chat.none']) {
    await t.rejects(client.call(name), { code: 'internal', message: `${name} failed` })
    const line = await daemon.logged({ msg: 'action failed', action: name.slice(5) })
    t.match(line, {
      level: 'error',
      err: { code: 'PUBLISH_REFUSED', message: /^publish to 'c(aht:a|hat)': / },
    })
  }
  t.equal(await client.call('chat.catches'), 'fine')
  t.match(caught, [{ name: 'LivemessageError', code: 'PUBLISH_REFUSED', cause: { code: 'unknown_channel' } }])
  await t.rejects(client.call('chat.large'), { code: 'too_large' }, "the client's data may be the reason")
  await t.rejects(client.call('chat.twice'), { code: 'conflict' })
})

onBoth('a disconnect hook that leaves channels takes nobody else off them', async (t, start) => {
  let left = 0
  const daemon = await start({
    ...CHANNELS,
    hooks: {
      disconnect: (connection: Connection) => {
        for (const channel of connection.channels) connection.unsubscribe(channel)
        left++
      },
    },
  })
  const [goes, stays] = [await connect(t, daemon), await connect(t, daemon)]
  for (const client of [goes, stays]) await client.subscribe('live:a')
  await goes.close()
  await until('the hook has run', () => left === 1)
  t.equal(daemon.daemon.hub!.channels.get('live:a'), 1)
  await daemon.publish('live:a', 'still here')
  t.match(await stays.next({ type: 'message' }), { data: 'still here' })
})

onBoth(
  'an action that fails in whatever way harms nobody else, and tells nothing of itself',
  async (t, start) => {
    const cycle: { self?: unknown } = {}
    cycle.self = cycle
    const secret = 'password=hunter2'
    const foreign = (code: unknown): Error => Object.assign(new Error(secret), { name: 'ClientError', code })
    const never = (): Promise<never> => new Promise(() => undefined)
    const chat: Record<string, unknown> = {
      throws: () => {
        throw new Error(secret)
      },
      rejects: () => Promise.reject(new Error(secret)),
      throwsNothing: () => {
        throw undefined
      },
      rejectsNull: () => Promise.reject(null),
      rejectsText: () => Promise.reject(secret),
      foreign: () => {
        throw foreign('made_up')
      },
      foreignConstructor: () => {
        throw foreign('constructor')
      },
      foreignNumber: () => {
        throw foreign(42)
      },
      bigint: () => 1n,
      cycle: () => cycle,
      lateCycle: async () => cycle,
      badToJson: () => ({
        toJSON() {
          throw new Error(secret)
        },
      }),
      badGetter: () => ({
        get x() {
          throw new Error(secret)
        },
      }),
      badThen: () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- a module may answer anything
        get then() {
          throw new Error(secret)
        },
      }),
    }
    const timeouts: Record<string, unknown> = {
      hangs: defineAction({ timeout: 50, handle: never }),
      throwsLate: defineAction({
        timeout: 50,
        handle: () => sleep(80).then(() => Promise.reject(new Error(secret))),
      }),
      answersLate: defineAction({ timeout: 50, handle: () => sleep(80).then(() => secret) }),
    }
    const daemon = await start({
      ...CHANNELS,
      ACTIONS: { chat: { ...chat, ...timeouts, good: (input: unknown) => input }, live: {} },
    })
    const [client, other] = [await connect(t, daemon), await connect(t, daemon)]
    for (const name of Object.keys(chat)) {
      const answer = await client.ask({ type: 'call', action: `chat.${name}` })
      t.match(answer, { type: 'error', code: 'internal', message: `chat.${name} failed` }, name)
      t.equal(await other.call('chat.good', name), name)
    }
    for (const name of Object.keys(timeouts)) {
      t.match(
        await client.ask({ type: 'call', action: `chat.${name}` }),
        { type: 'error', code: 'timeout' },
        name,
      )
    }
    await daemon.logged({ msg: 'action failed after its deadline' })
    t.notMatch(JSON.stringify(client.frames), /hunter2/)
    t.ok(
      daemon.lines.some((line) => line.msg === 'action failed' && JSON.stringify(line).includes('hunter2')),
      'it is in the log',
    )
    t.same(client.rest(), [], 'nobody is answered twice')
  },
)

onBoth('what an action throws as ClientError is told: code, message, details', async (t, start) => {
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: {
      chat: {
        plain: () => {
          throw new ClientError('not_found', 'no such message')
        },
        details: () => Promise.reject(new ClientError('conflict', 'taken', { by: 'ada' })),
        badDetails: () => {
          throw new ClientError('conflict', 'taken', 1n)
        },
        // Another copy of this package.
        foreign: () => {
          throw Object.assign(new Error('from afar'), { name: 'ClientError', code: 'forbidden' })
        },
      },
      live: {},
    },
  })
  const client = await connect(t, daemon)
  const ask = (action: string) => client.ask({ type: 'call', action })
  t.match(await ask('chat.plain'), {
    type: 'error',
    code: 'not_found',
    message: 'no such message',
    details: undefined,
  })
  t.match(await ask('chat.details'), { code: 'conflict', message: 'taken', details: { by: 'ada' } })
  t.match(await ask('chat.badDetails'), { code: 'conflict', message: 'taken', details: undefined })
  t.match(await ask('chat.foreign'), { code: 'forbidden', message: 'from afar' })
})

onBoth('what JSON makes of a result arrives; what it leaves out is null', async (t, start) => {
  const results: Record<string, [unknown, unknown]> = {
    nothing: [undefined, null],
    aFunction: [() => 1, null],
    symbol: [Symbol('x'), null],
    date: [new Date(0), '1970-01-01T00:00:00.000Z'],
    nan: [NaN, null],
    map: [new Map([[1, 2]]), {}],
    holes: [
      [undefined, () => 1],
      [null, null],
    ],
    toJson: [{ toJSON: () => 'told' }, 'told'],
    surrogate: ['\ud800', '\ud800'],
    breaks: ['a\nb\r\u2028', 'a\nb\r\u2028'],
    large: [2 ** 53, 2 ** 53],
  }
  const actions = Object.fromEntries(Object.entries(results).map(([name, [value]]) => [name, () => value]))
  const late = Object.fromEntries(
    Object.entries(results).map(([name, [value]]) => [`late-${name}`, async () => value]),
  )
  const daemon = await start({ ...CHANNELS, ACTIONS: { chat: { ...actions, ...late }, live: {} } })
  const client = await connect(t, daemon)
  for (const [name, [, expected]] of Object.entries(results)) {
    t.same(await client.call(`chat.${name}`), expected, name)
    t.same(await client.call(`chat.late-${name}`), expected, name)
  }
})

onBoth('past its deadline an action sees its signal aborted; on a stop too', async (t, start) => {
  const aborted: string[] = []
  const wait = (name: string) =>
    defineAction({
      timeout: name === 'short' ? 50 : '10s',
      handle: (_input, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted.push(name)
            reject(signal.reason as Error)
          })
        }),
    })
  const daemon = await start({
    ...CHANNELS,
    stop: 50,
    ACTIONS: { chat: { short: wait('short'), long: wait('long') }, live: {} },
  })
  const client = await connect(t, daemon)
  t.match(await client.ask({ type: 'call', action: 'chat.short' }), { code: 'timeout' })
  t.same(aborted, ['short'])
  client.send({ type: 'call', id: 1, action: 'chat.long' })
  await until('the call', () => daemon.daemon.counts.calls === 2)
  await daemon.stop()
  t.same(aborted, ['short', 'long'])
})

onBoth('an action may answer when its caller is gone: nobody minds', async (t, start) => {
  let late: unknown[] | null = null
  const daemon = await start({
    ...CHANNELS,
    ACTIONS: {
      chat: {
        slow: defineAction({
          async handle(_input, { connection, publish, connections }) {
            await until('it is gone', () => connections.size === 1)
            const emitted = connection!.emit('late')
            await connection!.subscribe('chat:a')
            connection!.unsubscribe('chat:a')
            connection!.disconnect()
            connection!.disconnect('again', 4405)
            connection!.bag.set('a', 1)
            late = [
              emitted,
              (await publish('chat:a', 'from the grave')).id !== null,
              [...connection!.channels],
            ]
            return 'late'
          },
        }),
      },
      live: {},
    },
  })
  const [client, other] = [await connect(t, daemon), await connect(t, daemon)]
  await other.subscribe('chat:a')
  client.send({ type: 'call', id: 1, action: 'chat.slow' })
  await until('the call', () => daemon.daemon.counts.calls === 1)
  client.socket.terminate()
  t.match(await other.next({ type: 'message' }), { data: 'from the grave' })
  await until('it has ended', () => late !== null)
  t.same(late, [false, true, []])
  t.equal(daemon.daemon.hub!.channels.get('chat:a'), 1)
})

onBoth('access: an action is for whom it says, else for whom its subsystem is', async (t, start) => {
  const who = (_input: unknown, { user }: { user: string | null }): unknown => user
  const daemon = await start({
    ...CHANNELS,
    auth: { jwt: { secret: SECRET } },
    ACTIONS: {
      chat: { open: who, shut: defineAction({ access: 'authenticated', handle: who }) },
      none: { shut: who, open: defineAction({ access: 'public', handle: who }) },
      live: {},
    },
  })
  const [anonymous, user] = [await connect(t, daemon), await connect(t, daemon, { token: await token('42') })]
  t.equal(await anonymous.call('chat.open'), null)
  t.equal(await anonymous.call('none.open'), null)
  for (const action of ['chat.shut', 'none.shut']) {
    t.match(await anonymous.ask({ type: 'call', action }), { code: 'unauthenticated' })
    t.equal(await user.call(action), '42')
  }
})

onBoth(
  'connect: subscribes, greets, refuses; who was let in has one disconnect, with its code',
  async (t, start) => {
    const left: unknown[] = []
    let came = 0
    const daemon = await start({
      ...CHANNELS,
      limits: { callMs: 300 },
      hooks: {
        connect: async (connection: Connection) => {
          came++
          if (came === 2) throw new ClientError('forbidden', 'not you', { why: 'just so' })
          if (came === 3) throw new Error('the database password is secret')
          if (came === 4) await new Promise(() => undefined)
          await connection.subscribe('chat:a')
          connection.emit('hello', connection.session)
          connection.bag.set('n', came)
        },
        disconnect: async (connection: Connection, why: { code: number; reason: string }) => {
          left.push([connection.bag.get('n'), why])
          throw new Error('nobody minds')
        },
      },
    })
    const client = await connect(t, daemon)
    t.match(await client.next(), { type: 'subscribed', channel: 'chat:a' })
    t.match(await client.next(), { type: 'event', event: 'hello', args: [client.welcome!['session']] })
    await daemon.publish('chat:a', 1)
    t.match(await client.next(), { type: 'message', data: 1 })
    for (const [code, close] of [
      ['forbidden', 4403],
      ['internal', 1011],
      ['timeout', 1011],
    ] as const) {
      const refused = await connect(t, daemon)
      refused.send({ type: 'ping' })
      const error = await refused.next()
      t.match(error, { type: 'error', code })
      t.notMatch(JSON.stringify(error), /secret/)
      t.match(await refused.closed, { code: close })
    }
    await client.close(4999)
    for (const [code, leave] of [
      [1000, (one: typeof client) => one.close(1000)],
      [1006, async (one: typeof client) => one.socket.terminate()],
      [4400, async (one: typeof client) => one.send('rubbish')],
      [4405, async () => [...daemon.daemon.hub!][0]!.disconnect()],
      [3000, async () => [...daemon.daemon.hub!][0]!.disconnect('x'.repeat(300), 3000)],
    ] as const) {
      const one = await connect(t, daemon)
      await one.next({ type: 'event' })
      await leave(one)
      await until(`the disconnect with ${code}`, () =>
        left.some((entry) => (entry as { code: number }[])[1]!.code === code),
      )
      await until('it is gone', () => daemon.daemon.hub!.size === 0)
    }
    t.same(left, [
      [1, { code: 4999, reason: 'closed' }],
      [5, { code: 1000, reason: 'left' }],
      [6, { code: 1006, reason: 'connection lost' }],
      [7, { code: 4400, reason: 'bad frame' }],
      [8, { code: 4405, reason: 'disconnected' }],
      [9, { code: 3000, reason: 'closed' }],
    ])
  },
)

onBoth('who leaves while its connect hook runs has its disconnect behind that', async (t, start) => {
  const order: string[] = []
  const daemon = await start({
    ...CHANNELS,
    hooks: {
      connect: async () => {
        order.push('connect')
        await sleep(50)
        order.push('connected')
      },
      disconnect: () => {
        order.push('disconnect')
      },
    },
  })
  const client = await connect(t, daemon)
  await until('the hook', () => order.length === 1)
  client.socket.terminate()
  await until('the end', () => order.length === 3)
  t.same(order, ['connect', 'connected', 'disconnect'])
})

onBoth('a stop waits for the disconnect hooks of those who were there', async (t, start) => {
  const left: number[] = []
  const daemon = await start({
    ...CHANNELS,
    hooks: {
      disconnect: async (_connection: Connection, { code }: { code: number }) => {
        await sleep(30)
        left.push(code)
      },
    },
  })
  const clients = [await connect(t, daemon), await connect(t, daemon), await connect(t, daemon)]
  clients[0]!.pause() // never answers the close frame
  await daemon.stop('restart')
  t.equal(left.length, 3)
  t.ok(left.filter((code) => code === 1012).length >= 2)
})

onBoth(
  'a module that closes with an impossible code is told, and the connection goes on',
  async (t, start) => {
    const daemon = await start(CHANNELS)
    const client = await connect(t, daemon)
    const [one] = [...daemon.daemon.hub!]
    for (const code of [
      0,
      999,
      1005,
      1006,
      1015,
      2999,
      5000,
      65_536,
      1.5,
      NaN,
      '4405' as unknown as number,
    ]) {
      t.throws(() => one!.disconnect('x', code), RangeError)
    }
    t.match(await client.ask({ type: 'ping' }), { type: 'pong' })
    one!.disconnect('ü'.repeat(100), 4000)
    t.match(await client.closed, { code: 4000, reason: 'ü'.repeat(61) })
  },
)

onBoth('the message hook sees each frame before it is handled and may refuse it', async (t, start) => {
  const seen: unknown[] = []
  const daemon = await start({
    ...CHANNELS,
    hooks: {
      message: (frame: Record<string, unknown>) => {
        seen.push(frame)
        if (frame['channel'] === 'chat:shut') throw new ClientError('forbidden', 'not there')
        if (frame['channel'] === 'chat:broken') throw new Error('secret')
        return frame['channel'] === 'chat:slow' ? sleep(20) : undefined
      },
    },
  })
  const client = await connect(t, daemon)
  client.send({ type: 'subscribe', id: 1, channel: 'chat:slow' })
  client.send({ type: 'subscribe', id: 2, channel: 'chat:a' })
  client.send({ type: 'subscribe', id: 3, channel: 'chat:shut' })
  client.send({ type: 'publish', id: 4, channel: 'chat:broken', data: 1 })
  t.match(await client.next(), { type: 'subscribed', id: 1 })
  t.match(await client.next(), { type: 'subscribed', id: 2 })
  t.match(await client.next(), { type: 'error', id: 3, code: 'forbidden', message: 'not there' })
  t.match(await client.next(), { type: 'error', id: 4, code: 'internal', message: 'hooks.message failed' })
  t.same(seen[0], { type: 'subscribe', id: 1, channel: 'chat:slow' })
  t.equal(seen.length, 4)
})

onBoth(
  'the call hook sees each call before its action; refused or too slow, the action never runs',
  async (t, start) => {
    let ran = 0
    const daemon = await start({
      ...CHANNELS,
      limits: { callMs: 50 },
      ACTIONS: { chat: { count: () => ++ran }, live: {} },
      hooks: {
        call: async ({ subsystem, action, data }: Parameters<CallHook>[0]) => {
          if (data === 'slow') await sleep(80)
          if (data === 'shut') throw new ClientError('forbidden', `${subsystem} ${action}`)
        },
      },
    })
    const client = await connect(t, daemon)
    const ask = (data: string) => client.ask({ type: 'call', action: 'chat.count', data })
    t.match(await ask('shut'), { code: 'forbidden', message: 'chat count' })
    t.match(await ask('slow'), { code: 'timeout' })
    await sleep(60)
    t.match(await ask('fine'), { type: 'reply', data: 1 })
  },
)

onBoth(
  'a subscribe hook opens with true alone: rubbish, errors and silence keep it shut',
  async (t, start) => {
    const answers: Record<string, () => unknown> = {
      yes: () => true,
      // oxlint-disable-next-line unicorn/no-thenable -- as other promise libraries have
      thenable: () => ({ then: (resolve: (yes: boolean) => void) => setTimeout(resolve, 1, true) }),
      nothing: () => undefined,
      one: () => 1,
      text: () => 'true',
      object: () => ({}),
      lateText: async () => 'true',
      throws: () => {
        throw new Error('secret')
      },
      rejects: () => Promise.reject(new Error('secret')),
      hangs: () => new Promise(() => undefined),
      clientError: () => {
        throw new ClientError('limit_exceeded', 'too many in there')
      },
    }
    const daemon = await start({
      ...CHANNELS,
      limits: { callMs: 50 },
      ACTIONS: { chat: { subscribe: ({ rest }: { rest: string }) => answers[rest]!() }, live: {} },
    })
    const client = await connect(t, daemon)
    const codes: Record<string, unknown> = {}
    for (const rest of Object.keys(answers)) {
      const answer = await client.ask({ type: 'subscribe', channel: `chat:${rest}` })
      codes[rest] = answer.type === 'error' ? answer['code'] : answer.type
      t.notMatch(JSON.stringify(answer), /secret/)
    }
    t.same(codes, {
      yes: 'subscribed',
      thenable: 'subscribed',
      nothing: 'forbidden',
      one: 'forbidden',
      text: 'forbidden',
      object: 'forbidden',
      lateText: 'forbidden',
      throws: 'internal',
      rejects: 'internal',
      hangs: 'timeout',
      clientError: 'limit_exceeded',
    })
    t.same([...daemon.daemon.hub!.channels.keys()], ['chat:yes', 'chat:thenable'])
  },
)

onBoth(
  'a policy that is swapped while a subscribe hook thinks is asked before anyone is let in',
  async (t, start) => {
    let asked = 0
    let release = (): void => undefined
    const held = new Promise<boolean>((resolve) => {
      release = () => resolve(true)
    })
    const open = { ...CHANNELS, ACTIONS: { chat: { subscribe: async () => ++asked > 0 && held }, live: {} } }
    const daemon = await start(open)
    const client = await connect(t, daemon)
    client.send({ type: 'subscribe', id: 1, channel: 'chat:a' })
    await until('the hook', () => asked === 1)
    await daemon.reload({ ...open, channels: { chat: { access: 'none' } } })
    release()
    t.match(await client.next(), { type: 'error', id: 1, code: 'forbidden' })
    t.equal(daemon.daemon.hub!.channels.size, 0)
  },
)
