import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { stray } from '../../src/cli/signals.ts'
import type { ActionContext } from '../../src/registry/define.ts'
import { culpritOf } from '../../src/registry/culprit.ts'
import { Hopeless } from '../../src/sources/source.ts'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, startParts } from '../transports/both.ts'

// What modules do wrong stays with them, and names them.

t.test('a result that JSON can not carry, or that is too large, is the action failing', async (t) => {
  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  let asked = 0
  const results: Record<string, () => unknown> = {
    circle: () => circle,
    bigint: () => ({ n: 1n }),
    getter: () => ({
      get secret() {
        throw new Error('secret')
      },
    }),
    string: () => ({
      toJSON() {
        // oxlint-disable-next-line typescript/only-throw-error -- modules do
        throw 'secret'
      },
    }),
    proxy: () =>
      new Proxy(
        {},
        {
          has() {
            throw new Error('secret')
          },
        },
      ),
    thenable: () => ({
      // oxlint-disable-next-line unicorn/no-thenable
      get then() {
        if (asked++ > 0) throw new Error('secret')
        return () => undefined
      },
    }),
    huge: () => 'ä'.repeat(2000),
    fits: () => 'a'.repeat(2998),
    // oxlint-disable-next-line unicorn/no-thenable
    never: () => ({ then: () => undefined }),
    nothing: () => Symbol('nothing'),
  }
  const daemon = await startDaemon(t, {
    ACTIONS: { bad: results },
    channels: { bad: { access: 'public' } },
    limits: { replyBytes: 3000, callMs: 300 },
  })
  const client = await connect(t, daemon)
  for (const name of ['circle', 'bigint', 'getter', 'string', 'proxy', 'thenable']) {
    await t.rejects(client.call(`bad.${name}`), { code: 'internal', message: `bad.${name} failed` })
    const line = await daemon.logged({ msg: 'action failed', action: name })
    t.match(line, { subsystem: 'bad', path: '(inline)', err: { message: String } })
  }
  await t.rejects(client.call('bad.huge'), { code: 'too_large', message: /^the result of bad\.huge/ })
  t.match(await daemon.logged({ msg: 'the result is too large' }), { action: 'huge', bytes: 4002 })
  await t.rejects(client.call('bad.never'), { code: 'timeout' })
  t.equal(await client.call('bad.fits'), 'a'.repeat(2998))
  t.equal(await client.call('bad.nothing'), null)
})

t.test('past its deadline a run can do nothing more; after its answer it can', async (t) => {
  const done: Promise<unknown>[] = []
  const late = async (_: unknown, context: ActionContext): Promise<void> => {
    const { publish, emit, broadcast, presence, call } = context
    await sleep(200)
    done.push(
      ...[
        publish('bad:a', 1),
        emit({ all: true }, 'e'),
        broadcast('e'),
        presence('bad:a'),
        call('bad.fine'),
      ].map((work) => Promise.resolve(work).catch((error: unknown) => error)),
    )
  }
  let after: Promise<unknown> | undefined
  const daemon = await startDaemon(t, {
    ACTIONS: {
      bad: {
        late,
        fine: (_: unknown, { publish, call }: ActionContext) => {
          after = sleep(10).then(async () => [await publish('bad:a', 'after'), await call('bad.one')])
        },
        one: () => 1,
      },
    },
    channels: { bad: { access: 'public' } },
    limits: { callMs: 100 },
  })
  const client = await connect(t, daemon)
  await client.subscribe('bad:a')
  await t.rejects(client.call('bad.late'), { code: 'timeout' })
  await sleep(300)
  t.equal(done.length, 5)
  for (const error of await Promise.all(done)) t.match(error, { code: 'timeout' })
  await client.call('bad.fine')
  t.strictSame(await after, [{ id: null }, 1])
  t.match(await client.next({ type: 'message' }), { data: 'after' })
})

t.test('a bag is its connection’s, and goes with it', async (t) => {
  const daemon = await startDaemon(t, {
    ACTIONS: {
      bad: {
        count: (_: unknown, { bag, connection }: ActionContext) => {
          const count = Number(bag.get('count') ?? 0) + 1
          bag.set('count', count)
          return [count, connection?.bag.get('count') ?? null]
        },
      },
    },
    channels: { bad: { access: 'public' } },
  })
  const [one, other] = await Promise.all([connect(t, daemon), connect(t, daemon)])
  t.strictSame(await one.call('bad.count'), [1, 1])
  t.strictSame(await one.call('bad.count'), [2, 2])
  t.strictSame(await other.call('bad.count'), [1, 1])
  const alone = await fetch(`${daemon.url}/call/bad/count`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{}',
  })
  t.strictSame(await alone.json(), { data: [1, null] })
})

t.test('an error that comes after the answer names the module whose file it comes from', async (t) => {
  const root = t.testdir({ 'late.mjs': `export default () => { throw new Error('late') }` })
  const file = path.join(root, 'late.mjs')
  const { default: fail } = (await import(file)) as { default: () => never }
  const modules = [
    { subsystem: 'a', key: 'other', kind: 'action' as const, path: path.join(root, 'other.mjs') },
    { subsystem: 'a', key: 'late', kind: 'action' as const, path: file },
    { subsystem: 'a', key: 'inline', kind: 'action' as const, path: '(inline)' },
  ]
  let thrown: unknown
  try {
    fail()
  } catch (error) {
    thrown = error
  }
  t.match(culpritOf(thrown, modules), { key: 'late' })
  for (const other of [new Error('here'), 'text', null, { stack: 5 }])
    t.equal(culpritOf(other, modules), null)
  const daemon = await startDaemon(t)
  const rules = { registry: { modules } }
  stray({ log: daemon.daemon.log, counts: daemon.daemon.counts, rules }, 'exception', thrown)
  t.match(await daemon.logged({ level: 'error', kind: 'exception' }), {
    subsystem: 'a',
    action: 'late',
    path: file,
  })
})

t.test('a sender that changes its notification is named, and not asked again', async (t) => {
  const folder = t.testdir({
    'sender.mjs': `export default {
      notify: 'x',
      route(notification) {
        asked.push(notification.data)
        const { how } = notification.data
        if (how === 'set') notification.data.how = 'changed'
        if (how === 'add') notification.data.list.push(1)
        if (how === 'delete') delete notification.data.list
        if (how === 'header') notification.headers.a = 2
        if (how === 'own') throw new TypeError('of its own')
        if (how === 'later') return Promise.resolve().then(() => (notification.data.how = 1))
        if (how === 'bytes') return String(notification.headers.bytes.length === 2 ? 'orders:a' : 'no')
        return 'orders:a'
      },
      format({ data }) { return data.how === 'json' ? { n: 1n } : data }
    }
    export const asked = []`,
  })
  const sender = path.join(folder, 'sender.mjs')
  const { intake } = await startParts(t, { ...CHANNELS, ACTIONS: { orders: { sender } } })
  const take = async (how: string, headers = {}): Promise<unknown> =>
    intake.take({ source: 'test', name: 'x', subsystem: 'orders', data: { how, list: [] }, headers })
  const named = (words: string) => `orders.sender (${sender})${words}`
  for (const how of ['set', 'add', 'delete', 'header', 'later']) {
    const error = await take(how, { a: 1 }).catch((thrown: unknown) => thrown)
    t.ok(error instanceof Hopeless, how)
    t.match(error, {
      code: 'internal',
      message: named(' changed its notification, which is frozen: copy what it is to change'),
    })
  }
  const own = await take('own').catch((thrown: unknown) => thrown)
  t.notOk(own instanceof Hopeless, 'another one may be over by the next time')
  t.match(own, { code: 'internal', message: named(' failed') })
  await t.rejects(take('json'), { message: named(": what format answered can't be JSON") })
  await take('bytes', { bytes: Buffer.from('ab') })
})

t.test(
  'a notification that its sender changed becomes a dead letter at once, with the sender’s name',
  async (t) => {
    const postgres = await startPostgres(t)
    const change = ({ data }: { data: { n: number } }): string => {
      data.n++
      return 'orders:a'
    }
    const daemon = await startDaemon(
      t,
      {
        postgres: { url: postgres.url },
        ACTIONS: { orders: { sender: { notify: 'order', route: change } } },
        channels: { orders: { access: 'public' } },
      },
      { migrate: true },
    )
    await until('the source', () => daemon.daemon.health?.parts().every(({ ready }) => ready))
    await postgres.psql(`SELECT pg_notify('order', '{"n":1}')`)
    const letter = await until('the dead letter', async () => {
      const [row] = await postgres.psql('SELECT code, reason, attempts FROM livemessage.dead')
      return row
    })
    t.match(letter, {
      code: 'internal',
      reason: /^orders\.sender \(inline\) changed its notification/,
      attempts: 1,
    })
  },
)
