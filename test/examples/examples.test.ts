import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { connect, type TestClient } from '../support/client.ts'
import { holds } from '../support/daemon.ts'
import { EXAMPLES, examples, linesOf } from '../support/examples.ts'
import type { RunningDaemon } from '../support/installation.ts'
import { PSQL, skipWithout } from '../support/packages.ts'

// Each example is started as its README says, and does what its README says.

const MINE = ['chat', 'quotes', 'feed', 'orders', 'override', 'compose', 'tasks', 'packaged-subsystem']
const there = await examples(t)

t.test('each module is under 40 lines; the whole of orders, config included, is too', async (t) => {
  for (const name of MINE) {
    for (const [file, lines] of await linesOf(name)) t.ok(lines < 40, `${name}/${file}: ${lines}`)
  }
  const orders = [...(await linesOf('orders')).values()].reduce((sum, lines) => sum + lines, 0)
  t.ok(orders < 40, `orders: ${orders}`)
})

t.test('examples import nothing but livemessages and one another', async (t) => {
  for (const name of MINE) {
    for (const file of await readdir(path.join(EXAMPLES, name))) {
      if (!/\.[jt]s$/.test(file) || file.endsWith('.d.ts')) continue
      const text = await readFile(path.join(EXAMPLES, name, file), 'utf8')
      const foreign = [...text.matchAll(/from '([^']+)'/g)]
        .map(([, from = '']) => from)
        .filter((from) => !/^(livemessages(\/actions\/.+)?|\.{1,2}\/.+)$/.test(from))
      t.strictSame(foreign, [], `${name}/${file}`)
    }
  }
})

t.test('chat: names, notices of joining, renaming and leaving, and the last 50 for who comes', async (t) => {
  const daemon = await there.start(t, 'chat')
  const [ann, bob] = [await connect(t, daemon), await connect(t, daemon)]
  await bob.subscribe('chat:general', { last: 50 })
  await t.rejects(ann.call('chat.say', { text: 'too soon' }), {
    code: 'forbidden',
    message: 'join general first',
  })
  await ann.call('chat.join', { name: 'Ann' })
  await t.rejects(ann.call('chat.join', { name: 'Ann' }), { code: 'conflict' })
  await ann.call('chat.say', { text: 'hello' })
  await ann.call('chat.rename', { name: 'Anna' })
  await t.rejects(ann.call('chat.rename', { name: '' }), { code: 'invalid_input' })
  await ann.call('chat.say', { room: 'general', text: 'still me' })
  await ann.call('chat.leave', {})
  await ann.call('chat.join', { name: 'Ann' })
  await ann.close()
  const told = [
    { joined: 'Ann' },
    { name: 'Ann', text: 'hello' },
    { renamed: { from: 'Ann', to: 'Anna' } },
    { name: 'Anna', text: 'still me' },
    { left: 'Anna' },
    { joined: 'Ann' },
    { left: 'Ann' },
  ]
  for (const data of told) t.strictSame((await bob.next({ type: 'message' }))['data'], data)

  await bob.call('chat.join', { name: 'Bob' })
  for (let n = 0; n < 60; n++) await bob.call('chat.say', { text: String(n) })
  const late = await (await connect(t, daemon)).subscribe('chat:general', { last: 50 })
  const texts = (late['messages'] as { data: { text: string } }[]).map(({ data }) => data.text)
  t.strictSame([texts.length, texts[0], texts.at(-1)], [50, '10', '59'])
})

t.test('quotes: who comes has the newest of each symbol, and then what changes', async (t) => {
  const daemon = await there.start(t, 'quotes')
  const first = await connect(t, daemon)
  await first.subscribe('quotes:all')
  for (let n = 0; n < 3; n++) await first.next({ type: 'message' })
  const late = await connect(t, daemon)
  const { messages } = await late.subscribe('quotes:all')
  const newest = (messages as { data: { symbol: string; price: number } }[]).map(({ data }) => data)
  t.strictSame(newest.map(({ symbol }) => symbol).sort(), ['ACME', 'EMCA', 'MEAC'])
  for (const { price } of newest) t.type(price, 'number')
  await late.next({ type: 'message' })
  const line = await there.follow('quotes', 'listen quotes:all', `--count 1 --url ${daemon.url}`)
  t.match(JSON.parse(line), { channel: 'quotes:all' })
})

t.test('feed: a row that is inserted is on the page', { skip: skipWithout(PSQL) }, async (t) => {
  const daemon = await there.start(t, 'feed')
  const reader = await connect(t, daemon)
  t.strictSame(await reader.call('feed.latest', { topic: 'news' }), [])
  await reader.subscribe('feed:news')
  await there.follow('feed', 'psql')
  t.match(await reader.next({ type: 'message' }), { data: { id: 1, title: 'It is live' } })
  t.strictSame(await reader.call('feed.latest', { topic: 'news' }), [{ id: 1, title: 'It is live' }])
})

t.test('orders: action, sender, hook and policy of one subsystem', { skip: skipWithout(PSQL) }, async (t) => {
  const daemon = await there.start(t, 'orders')
  const as = asUser(t, daemon, 'orders')
  const [ann, bob, clerk] = [await as('ann'), await as('bob'), await as('clerk')]
  await t.rejects(
    (await connect(t, daemon)).subscribe('orders:ann'),
    { code: 'unauthenticated' },
    'the policy',
  )
  await t.rejects(bob.subscribe('orders:ann'), { code: 'forbidden' }, 'the hook')
  await ann.subscribe('orders:ann')
  await clerk.subscribe('orders:ann')
  await there.follow('orders', 'psql')
  const missing = { code: 'not_found', message: 'you have no such order' }
  await t.rejects(bob.call('orders.cancel', { id: 1 }), missing, "another's")
  await t.rejects(ann.call('orders.cancel', { id: 2 }), missing, "nobody's")
  await t.rejects(ann.call('orders.cancel', { id: 'x' }), { code: 'invalid_input' })
  await ann.call('orders.cancel', { id: 1 })
  for (const watching of [ann, clerk]) {
    t.match(await watching.next({ type: 'message' }), {
      channel: 'orders:ann',
      data: { id: 1, status: 'cancelled' },
    })
  }
})

t.test(
  'override: one built-in action is ours, the others are as they were',
  { skip: skipWithout(PSQL) },
  async (t) => {
    const daemon = await there.start(t, 'override')
    const actions = await there.follow('override', 'actions')
    t.match(actions, /messages\.read +action +\S*examples\/override\/read\.ts/)
    t.match(actions, /messages\.all +action +livemessages\/actions\/messages\/all/)
    const ann = await asUser(t, daemon, 'override')('ann')
    await ann.subscribe('messages:ann')
    t.match(await ann.call('messages.read', { id: 1 }), { success: false })
    t.notOk(daemon.lines.some(({ msg }) => msg === 'message read'))
    await there.follow('override', 'psql')
    t.match(await ann.next({ type: 'message' }), { data: { id: 1, subject: 'one' } })
    t.match(await ann.call('messages.not-read-count'), { count: 1 })
    t.match(await ann.call('messages.read', { id: 1 }), { success: true })
    const audit = { level: 'info', subsystem: 'messages', action: 'read', user: 'ann', message: 1 }
    t.match(await daemon.logged({ msg: 'message read' }), audit)
    t.match(await ann.call('messages.not-read-count'), { count: 0 })
    await t.rejects(
      ann.call('messages.read', { id: -1 }),
      { code: 'invalid_input' },
      'the validator came along',
    )
    const guest = await connect(t, daemon)
    await t.rejects(guest.call('messages.read', { id: 1 }), { code: 'unauthenticated' }, 'the access too')
  },
)

t.test('compose: an action made of two built-in ones', { skip: skipWithout(PSQL) }, async (t) => {
  const daemon = await there.start(t, 'compose')
  const as = asUser(t, daemon, 'compose')
  const [ann, phone] = [await as('ann'), await as('ann')]
  await there.follow('compose', 'psql')
  t.strictSame(await ann.call('inbox.open', { id: 1 }), { unread: 1 })
  t.match(await phone.next({ type: 'event' }), { event: 'unread', args: [1] })
  t.strictSame(await ann.call('inbox.open', { id: 2 }), { unread: 0 })
  await t.rejects(ann.call('inbox.open', { id: 3 }), { code: 'not_found' })
  await t.rejects((await as('bob')).call('inbox.open', { id: 1 }), { code: 'not_found' }, "another's")
  t.strictSame(ann.rest('event'), [], 'the device that opened it knows')
})

t.test('tasks: progress that plain SQL says', { skip: skipWithout(PSQL) }, async (t) => {
  const daemon = await there.start(t, 'tasks')
  const ann = await asUser(t, daemon, 'tasks')('ann')
  await ann.subscribe('tasks:ann')
  await there.follow('tasks', 'psql')
  const last = await ann.next((frame) => holds(frame, { type: 'message', data: { status: 'done' } }))
  t.match(last, {
    data: { id: 1, title: 'Export', progress: 100, text: '40 of 100 rows', result: 'export.csv' },
  })
  t.ok(ann.frames.some((frame) => holds(frame, { data: { status: 'running', progress: 40 } })))
  t.match(await ann.call('tasks.progress-count'), { success: true, count: 0 })
})

function asUser(t: Test, daemon: RunningDaemon, name: string): (user: string) => Promise<TestClient> {
  return async (user) => connect(t, daemon, { token: await there.token(name, user) })
}
