import path from 'node:path'
import t from 'tap'
import type { Connection } from '../../src/index.ts'
import { connect, type Frame } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { install, project, put } from '../support/installation.ts'
import { until } from '../support/wait.ts'

// A reload swaps what may change in one turn, and drops nobody.

const it = await install(t)

const CONFIG = (more = '') => `
export default {
  postgres: false, port: 0,
  ACTIONS: { chat: { version: './actions/version.ts' } },
  channels: { chat: { access: 'public' }, news: { access: 'public' } },
  ${more}
}`

const DEEP = {
  'livemessages.config.js': CONFIG(),
  'actions/version.ts': `import { version } from '../lib/one.ts'\nexport default () => version`,
  'lib/one.ts': `export { version } from './two.ts'`,
  'lib/two.ts': `export const version: number = 1`,
}

t.test('SIGHUP: what changed two imports deep takes effect, on the sockets that are open', async (t) => {
  const cwd = await project(t, DEEP)
  const daemon = await it.start(t, [], { cwd })
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  t.equal(await client.call('chat.version'), 1)
  await put(path.join(cwd, 'lib/two.ts'), 'export const version: number = 2')
  t.equal(await client.call('chat.version'), 1, 'not before it is asked for')
  daemon.kill('SIGHUP')
  t.match(await daemon.logged({ msg: 'reloaded' }), { modules: 1, endedSubscriptions: 0 })
  t.equal(await client.call('chat.version'), 2)
  await it.run(['publish', 'chat:a', '"still here"', '--url', daemon.url], { cwd })
  t.match(await client.next({ type: 'message' }), { data: 'still here' })
})

t.test('SIGHUP: a broken new version is refused, told once with its problems, and counted', async (t) => {
  const cwd = await project(t, DEEP)
  const daemon = await it.start(t, [], { cwd })
  const client = await connect(t, daemon)
  await put(path.join(cwd, 'livemessages.config.js'), CONFIG('prot: 1, limits: { frameBytes: -1 },'))
  await put(path.join(cwd, 'lib/two.ts'), 'export const version = (')
  daemon.kill('SIGHUP')
  const { reason } = await daemon.logged({ level: 'error', msg: 'reload refused: the old version goes on' })
  for (const text of ['3 problems', 'prot: is no key', 'limits.frameBytes', 'two.ts:1']) t.match(reason, text)
  t.equal(await client.call('chat.version'), 1)
  t.match(await (await fetch(`${daemon.url}/metrics`)).text(), 'livemessages_reload_failures_total 1')
  await put(path.join(cwd, 'livemessages.config.js'), CONFIG())
  await put(path.join(cwd, 'lib/two.ts'), 'export const version = 3')
  daemon.kill('SIGHUP')
  await daemon.logged({ msg: 'reloaded' })
  t.equal(await client.call('chat.version'), 3)
})

t.test('--watch: the same when a file changes, is broken, is repaired, or comes anew', async (t) => {
  const cwd = await project(t, DEEP)
  const daemon = await it.start(t, ['--watch'], { cwd })
  const client = await connect(t, daemon)
  const becomes = (version: unknown) =>
    until(`version ${String(version)}`, async () => (await client.call('chat.version')) === version)
  await put(path.join(cwd, 'lib/two.ts'), 'export const version = 2')
  await becomes(2)
  // Broken, and with a file that the running version knows nothing of.
  await put(path.join(cwd, 'lib/three.ts'), 'export const version = (')
  await put(path.join(cwd, 'lib/two.ts'), `export { version } from './three.ts'`)
  await daemon.logged({ msg: 'reload refused: the old version goes on' })
  t.equal(await client.call('chat.version'), 2)
  await put(path.join(cwd, 'lib/three.ts'), 'export const version = 3')
  await becomes(3)
  await put(path.join(cwd, 'lib/two.ts'), `export { version } from './four.ts'`)
  await until('the second refusal', () => daemon.lines.filter(({ level }) => level === 'error').length === 2)
  await put(path.join(cwd, 'lib/four.ts'), 'export const version = 4')
  await becomes(4)
})

t.test('--watch: what changes while it starts is not missed', async (t) => {
  const cwd = await project(t, {
    ...DEEP,
    'livemessages.config.js': CONFIG(`hooks: { start: './start.ts' }`),
    'start.ts': `import { writeFileSync } from 'node:fs'
      export default () => writeFileSync(new URL('./lib/two.ts', import.meta.url), 'export const version = 2')`,
  })
  const daemon = await it.start(t, ['--watch'], { cwd })
  const client = await connect(t, daemon)
  await until('version 2', async () => (await client.call('chat.version')) === 2)
})

t.test('policies: open subscriptions are asked again, and those that are refused end', async (t) => {
  const daemon = await startDaemon(t, {
    channels: { chat: { access: 'public' }, news: { access: 'public' } },
  })
  const client = await connect(t, daemon)
  for (const channel of ['chat:a', 'news:a', 'news:b']) await client.subscribe(channel)
  await daemon.reload({ channels: { chat: { access: 'public' }, news: { access: 'authenticated' } } })
  for (const channel of ['news:a', 'news:b']) {
    t.match(await client.next({ type: 'unsubscribed', channel }), { code: 'unauthenticated' })
  }
  t.match(await daemon.logged({ msg: 'reloaded' }), { endedSubscriptions: 2 })
  await daemon.publish('news:a', 'secret now')
  await daemon.publish('chat:a', 'for all')
  t.match(await client.next({ type: 'message' }), { channel: 'chat:a' })
  await daemon.reload({ channels: { news: { access: 'public' } } })
  t.match(await client.next({ type: 'unsubscribed' }), { channel: 'chat:a', code: 'unknown_channel' })
  t.equal((await daemon.publish('chat:a', 1)).status, 404)
})

t.test(
  'policies: a hook that hangs or throws closes the channel, for the clients that it keeps waiting',
  async (t) => {
    const open = { ACTIONS: { chat: { subscribe: () => true } }, channels: { chat: {} } }
    const daemon = await startDaemon(t, open)
    const clients = await Promise.all(Array.from({ length: 40 }, () => connect(t, daemon)))
    await Promise.all(clients.map((client) => client.subscribe('chat:a')))
    const began = Date.now()
    const never = (): Promise<boolean> => new Promise(() => undefined)
    await daemon.reload({ ...open, ACTIONS: { chat: { subscribe: never } }, limits: { callMs: 200 } })
    t.ok(Date.now() - began < 2000, 'many at once')
    for (const client of clients) t.match(await client.next({ type: 'unsubscribed' }), { code: 'timeout' })
  },
)

t.test('keys, origins and limits are those of the new version at once', async (t) => {
  const [before, after] = ['key-before-key-before', 'key-after-key-after']
  const bearer = (key: string) => ({ Authorization: `Bearer ${key}` })
  const channels = { chat: { access: 'public' } } as const
  const daemon = await startDaemon(t, { channels, api: { keys: [before] } })
  const origin = { headers: { Origin: 'https://app.example' } }
  await t.rejects(connect(t, daemon, origin), /403/)
  t.equal((await daemon.publish('chat:a', 1, bearer(before))).status, 200)
  await daemon.reload({
    channels,
    api: { keys: [after] },
    origins: ['https://app.example'],
    limits: { subscriptions: 1 },
  })
  t.equal((await daemon.publish('chat:a', 1, bearer(before))).status, 401)
  t.equal((await daemon.publish('chat:a', 1, bearer(after))).status, 200)
  const client = await connect(t, daemon, origin)
  await client.subscribe('chat:a')
  await t.rejects(client.subscribe('chat:b'), { code: 'limit_exceeded' })
})

t.test('rates: connections that are open have the new ones', async (t) => {
  const config = (limits: TestConfig['limits']): TestConfig => ({
    ACTIONS: { chat: { echo: (input: unknown) => input } },
    channels: { chat: { access: 'public' } },
    ...(limits === undefined ? {} : { limits }),
  })
  const daemon = await startDaemon(t, config({ callsPerSecond: 1, callBurst: 2 }))
  const client = await connect(t, daemon)
  const refused = async (count: number): Promise<number> => {
    const answers = Array.from({ length: count }, () => client.ask({ type: 'call', action: 'chat.echo' }))
    return (await Promise.all(answers)).filter(({ code }) => code === 'rate_limited').length
  }
  t.equal(await refused(10), 8)
  await daemon.reload(config({ callsPerSecond: 1000, callBurst: 1000 }))
  t.equal(await refused(100), 0, 'more')
  await daemon.reload(config({ callsPerSecond: 1, callBurst: 1 }))
  t.ok((await refused(100)) >= 98, 'less')
  await daemon.reload(config({ framesPerSecond: 5 }))
  for (let id = 0; id < 20; id++) client.send({ type: 'ping', id })
  t.match(await client.closed, { code: 4451 }, 'frames')
})

t.test('retention: less is kept at once', async (t) => {
  const config = (history: { count: number }) =>
    ({ channels: { chat: { access: 'public', history } } }) as const
  const daemon = await startDaemon(t, config({ count: 100 }))
  for (let n = 1; n <= 10; n++) await daemon.publish('chat:a', n)
  const kept = async (): Promise<unknown[]> => {
    const client = await connect(t, daemon)
    const { messages } = await client.subscribe('chat:a', { last: 50 })
    return (messages as Frame[]).map(({ data }) => data)
  }
  t.strictSame(await kept(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  await daemon.reload(config({ count: 3 }))
  t.strictSame(await kept(), [8, 9, 10])
  await daemon.publish('chat:a', 11)
  t.strictSame(await kept(), [9, 10, 11])
})

t.test('policies: who was put on a channel by a module stays there', async (t) => {
  const config = (access: 'public' | 'none'): TestConfig => ({
    channels: { chat: { access }, news: { access: 'none' } },
    hooks: { connect: (connection: Connection) => connection.subscribe('news:all') },
  })
  const daemon = await startDaemon(t, config('public'))
  const client = await connect(t, daemon)
  t.match(await client.next({ type: 'subscribed' }), { channel: 'news:all' })
  await client.subscribe('chat:a')
  await daemon.reload(config('none'))
  t.match(await client.next({ type: 'unsubscribed' }), { channel: 'chat:a' })
  t.match(await daemon.logged({ msg: 'reloaded' }), { endedSubscriptions: 1 })
  await daemon.publish('news:all', 'to all')
  t.match(await client.next({ type: 'message' }), { channel: 'news:all', data: 'to all' })
  t.same(client.rest('unsubscribed'), [])
})

t.test('what needs a new process is named, each time, and goes on as it was', async (t) => {
  const daemon = await startDaemon(t, {})
  const wish = { ping: '99s', limits: { frameBytes: '1kb', bufferBytes: '2mb', subscriptions: 3 } } as const
  for (let time = 1; time <= 2; time++) {
    await daemon.reload(wish)
    const told = daemon.lines.filter(({ msg }) => msg === 'changes to these keys need a new process')
    t.equal(told.length, time)
    t.strictSame(told.at(-1)?.['keys'], ['pingMs', 'limits.frameBytes', 'limits.bufferBytes'])
  }
  const client = await connect(t, daemon)
  t.equal(client.welcome?.['ping'], 25_000, 'clients are told the ping that is')
  t.equal(daemon.daemon.rules.config.limits.bufferBytes, 2 ** 20)
  t.equal(daemon.daemon.rules.config.limits.subscriptions, 3, 'what can change does')
})

t.test('two at once run one after the other, and the later one wins; a stop in between is one', async (t) => {
  const daemon = await startDaemon(t, {})
  const first = daemon.reload({ limits: { subscriptions: 1 } })
  const second = daemon.reload({ limits: { subscriptions: 2 } })
  await Promise.all([first, second])
  t.equal(daemon.daemon.rules.config.limits.subscriptions, 2)
  const third = daemon.reload({ limits: { subscriptions: 3 } })
  await Promise.all([daemon.stop(), third])
  await daemon.reload({})
  t.equal(daemon.daemon.counts.reloadFailures, 0)
})

t.test(
  'during a recovery: whoever may still have it gets all of it, once; whoever may not, no more',
  async (t) => {
    const history = { history: { count: 5000 } }
    const input = {
      channels: { chat: { access: 'public', ...history } },
      limits: { recoveryMessages: 10 },
    } as const
    const daemon = await startDaemon(t, input)
    const text = 'x'.repeat(60_000)
    for (let n = 0; n < 200; n++) await daemon.publish('chat:a', { n, text })
    const first = cursorOf(await daemon.publish('chat:b', 1), 0)
    const [slow, other] = await Promise.all([connect(t, daemon), connect(t, daemon)])
    for (const client of [slow, other]) {
      client.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
      await client.next({ type: 'subscribed' })
      client.pause()
    }
    const recovering = () => [...daemon.daemon.hub!].filter((client) => client.recovering.length > 0).length
    t.equal(recovering(), 2, 'more than the sockets hold')

    await daemon.reload({ ...input, limits: { ...input.limits, subscriptions: 5 } })
    await daemon.publish('chat:a', { n: 200 })
    t.equal(recovering(), 2)
    slow.resume()
    await slow.next((frame) => numberOf(frame) === 200)
    const came = slow.frames.flatMap((frame) => [frame, ...((frame['messages'] ?? []) as Frame[])])
    const numbers = came.map(numberOf).filter((n) => n !== undefined)
    t.strictSame(
      numbers,
      Array.from({ length: 201 }, (_, n) => n),
    )

    await daemon.reload({ channels: { chat: { access: 'authenticated', ...history } } })
    other.resume()
    t.match(await other.next({ type: 'unsubscribed' }), { channel: 'chat:a', code: 'unauthenticated' })
    t.ok(other.frames.length < 200, `${other.frames.length} frames`)
  },
)

function numberOf({ data }: Frame): number | undefined {
  return (data as { readonly n?: number } | undefined)?.n
}

/** The cursor of another position in the same journal. */
function cursorOf({ body }: { readonly body: unknown }, position: number): string {
  return (body as { id: string }).id.replace(/\d+$/, String(position))
}
