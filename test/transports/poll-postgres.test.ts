import t from 'tap'
import { until } from '../support/wait.ts'
import { positionOf, token } from './both.ts'
import { startMail } from './mail.ts'
import { data, follow, poll } from './polling.ts'

void t.test('poll: nothing of 1,000 publications is lost on a journal in PostgreSQL', async (t) => {
  const { daemon } = await startMail(t)
  const channels = ['chat:a', 'chat:b']
  const { cursor } = (await poll(daemon, channels)).body
  const clients = Array.from({ length: 4 }, () => follow(daemon, channels, cursor, 1000))
  for (let n = 0; n < 1000; n += 25) {
    await Promise.all(
      Array.from({ length: 25 }, (_, index) => daemon.publish(channels[index % 2]!, n + index)),
    )
  }
  const [one, ...others] = await Promise.all(clients)
  t.equal(new Set(data(one!.messages)).size, 1000)
  for (const { messages, lost } of others) {
    t.strictSame(lost, [])
    t.strictSame(
      messages.map(({ id }) => id),
      one!.messages.map(({ id }) => id),
    )
  }
})

void t.test('poll: mailboxes begin at what was not confirmed, one cursor for all of them', async (t) => {
  const { daemon, put } = await startMail(t)
  const mine = { headers: { Authorization: `Bearer ${await token('1')}` } }
  await put('inbox:1', 1, 2)
  await put('short:x', 3)
  await put('chat:a', 4)
  const channels = ['inbox:1', 'short:x', 'chat:a']
  const first = await poll(daemon, channels, {}, mine)
  t.strictSame(new Set(data(first.body.messages)), new Set([1, 2, 3]))
  const { cursor } = first.body
  await put('inbox:1', 5)
  t.strictSame(data((await poll(daemon, channels, { since: cursor }, mine)).body.messages), [5])
  const waiting = poll(daemon, channels, { since: `${cursor.split('-')[0]}-${positionOf(cursor) + 1}` }, mine)
  await until('it waits', () => daemon.daemon.hub!.channels.has('inbox:1'))
  await put('chat:a', 6)
  t.strictSame(data((await waiting).body.messages), [6])
})

void t.test(
  'poll: mailboxes of which one answer can not hold all are refused, in a session too',
  async (t) => {
    const limits = { bufferBytes: '64kb', recoveryBytes: '4kb' } as const
    const { daemon, put } = await startMail(t, { limits })
    const mine = { headers: { Authorization: `Bearer ${await token('1')}` } }
    const large = Array.from({ length: 100 }, (_, n) => `${n} ${'x'.repeat(1000)}`)
    await put('inbox:1', ...large)
    await put('open:x', ...large)
    const refused = { status: 429, body: { error: { code: 'limit_exceeded' } } }
    t.match(await poll(daemon, ['inbox:1', 'open:x'], {}, mine), refused)
    t.match(await poll(daemon, ['inbox:1', 'open:x'], { session: 'new' }, mine), refused)
    t.equal(daemon.daemon.hub!.size, 0)
  },
)

void t.test('poll: a mailbox that is larger than one answer comes in pages', async (t) => {
  const { daemon, put } = await startMail(t, { limits: { recoveryMessages: 20, recoveryBytes: '4kb' } })
  const mine = { headers: { Authorization: `Bearer ${await token('1')}` } }
  await put('inbox:1', ...Array.from({ length: 100 }, (_, n) => n))
  const got: unknown[] = []
  let { body } = await poll(daemon, 'inbox:1', {}, mine)
  let requests = 1
  got.push(...data(body.messages))
  while (got.length < 100 && requests < 30) {
    body = (await poll(daemon, 'inbox:1', { since: body.cursor, wait: 1 }, mine)).body
    got.push(...data(body.messages))
    requests++
  }
  t.strictSame(
    got,
    Array.from({ length: 100 }, (_, n) => n),
  )
  t.ok(requests > 2, `in ${requests} requests`)
})
