import t from 'tap'
import type { Connection } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { positionOf } from './both.ts'
import { confirm, datas, messages, startMail } from './mail.ts'

void t.test('what was not confirmed comes again, in order, on every device and after restarts', async (t) => {
  const mail = await startMail(t)
  const ids = await mail.put('inbox:1', 1, 2, 3, 4)
  await mail.put('inbox:2', 'of another')
  const first = await mail.device('1')
  const answer = await first.subscribe('inbox:1')
  t.match(answer, { recovered: false, cursor: String })
  t.notOk('since' in answer, 'nothing was confirmed ever')
  t.same(datas(first), [1, 2, 3, 4], 'everything that is kept')
  t.match(await confirm(first, ids[1]), { type: 'reply', data: null })
  await first.close()
  const second = await mail.device('1')
  t.match(await second.subscribe('inbox:1'), { since: ids[1], recovered: true })
  t.same(datas(second), [3, 4])
  const [fifth] = await mail.put('inbox:1', 5)
  await second.next({ type: 'message', data: 5 })
  t.match(await confirm(second, ids[0]), { type: 'reply' }, 'backwards is no fault')
  const other = await mail.device('2')
  await other.subscribe('inbox:2')
  t.same(datas(other), ['of another'])
  const later = await mail.again()
  const third = await later.device('1', 'channel=inbox:1')
  t.match(await third.next({ type: 'subscribed' }), { since: ids[1], recovered: true })
  t.same(datas(third), [3, 4, 5])
  t.match(await confirm(third, fifth), { type: 'reply' })
  const fourth = await later.device('1')
  t.match(await fourth.subscribe('inbox:1'), { since: fifth, recovered: true, messages: [] })
  t.match(await fourth.subscribe('inbox:1', { since: ids[2]! }), { recovered: true }, 'a cursor of its own')
  t.same(datas(fourth), [4, 5])
  t.match(await fourth.subscribe('inbox:1', { last: 1 }), { recovered: false })
  t.equal(later.daemon.daemon.counts.confirms, 1)
})

void t.test('what a confirm must be', async (t) => {
  const mail = await startMail(t)
  const [id] = await mail.put('inbox:1', 1)
  const [chat] = await mail.put('chat:a', 1)
  const client = await mail.device('1')
  t.match(await confirm(client, id), { type: 'error', code: 'invalid_input', message: /not subscribed/ })
  await client.subscribe('inbox:1')
  await client.subscribe('chat:a')
  const ahead = String(id).replace(/\d+$/, (position) => String(Number(position) + 1_000_000))
  for (const [channel, cursor, code] of [
    ['inbox:1', 'nonsense', 'invalid_input'],
    ['inbox:1', undefined, 'invalid_input'],
    ['inbox:1', `abcdef123456-${positionOf(id)}`, 'invalid_input'],
    ['inbox:1', ahead, 'invalid_input'],
    ['inbox:2', id, 'invalid_input'],
    ['chat:a', chat, 'invalid_input'],
    ['none:a', id, 'unknown_channel'],
    ['nonsense', id, 'unknown_channel'],
  ] as const) {
    t.match(await confirm(client, cursor, channel), { type: 'error', code }, `${channel} ${cursor}`)
  }
  client.send({ type: 'confirm', channel: 'inbox:1', cursor: ahead })
  t.match(
    await client.next({ type: 'error' }),
    { id: undefined, code: 'invalid_input' },
    'told without an id',
  )
  const before = client.frames.length
  client.send({ type: 'confirm', channel: 'inbox:1', cursor: id })
  t.match(await confirm(client, id), { type: 'reply' })
  t.equal(client.frames.length, before + 1, 'one without an id is not answered')
  const nobody = await connect(t, mail.daemon)
  for (const range of [{}, { last: 1 }, { since: id! }]) {
    await t.rejects(
      nobody.subscribe('open:a', range),
      { code: 'unauthenticated' },
      'whatever its access says',
    )
  }
  t.match(await confirm(nobody, id, 'open:a'), { type: 'error', code: 'unauthenticated' })
  await client.ask({ type: 'unsubscribe', channel: 'inbox:1' })
  t.match(await confirm(client, id), { type: 'error', code: 'invalid_input' })
})

void t.test('retention took some: told so, and what is left comes all the same', async (t) => {
  const mail = await startMail(t)
  const [first] = await mail.put('short:a', 1, 2)
  const client = await mail.device('1')
  await client.subscribe('short:a')
  await confirm(client, first, 'short:a')
  await client.close()
  await mail.put('short:a', 3, 4, 5, 6, 7, 8, 9)
  const again = await mail.device('1')
  const answer = await again.subscribe('short:a')
  t.match(answer, { since: first, recovered: false })
  t.same(datas(again), [5, 6, 7, 8, 9])
  t.match(await confirm(again, messages(again)[1]!['id'] as string, 'short:a'), { type: 'reply' })
  await mail.put('short:a', 10)
  await again.next({ type: 'message', data: 10 })
  const third = await mail.device('1')
  t.match(await third.subscribe('short:a'), { recovered: true })
  t.same(datas(third), [7, 8, 9, 10])
})

void t.test('several mailboxes in the URL, each from its own place, beside other channels', async (t) => {
  const mail = await startMail(t, { limits: { recoveryMessages: 3 } })
  const a = await mail.put('open:a', 1, 2, 3, 4, 5, 6, 7, 8)
  const b = await mail.put('open:b', 1, 2, 3)
  const client = await mail.device('1', 'channel=open:a&channel=chat:a&channel=open:b')
  await client.next({ type: 'subscribed', channel: 'open:b' })
  t.same(datas(client, 'open:a'), [1, 2, 3, 4, 5, 6, 7, 8])
  t.match(await confirm(client, a[4], 'open:a'), { type: 'reply' })
  t.match(await confirm(client, b[2], 'open:b'), { type: 'reply' })
  const again = await mail.device('1', 'channel=open:a&channel=chat:a&channel=open:b')
  t.match(await again.next({ type: 'subscribed', channel: 'open:a' }), { since: a[4], recovered: true })
  t.match(await again.next({ type: 'subscribed', channel: 'open:b' }), { since: b[2], recovered: true })
  await again.next({ type: 'subscribed', channel: 'chat:a' })
  t.same(datas(again), [6, 7, 8])
  await mail.put('open:b', 4)
  await again.next({ type: 'message', data: 4 })
})

void t.test("a module puts a user on the mailbox: from the user's own place, and nobody else", async (t) => {
  const mail = await startMail(t, {
    hooks: {
      connect: (connection: Connection) => {
        void connection
          .subscribe('inbox:1')
          .catch((error: { code: string }) => connection.emit('no', error.code))
      },
    },
  })
  const [first] = await mail.put('inbox:1', 1, 2)
  const client = await mail.device('1')
  t.match(await client.next({ type: 'subscribed' }), { recovered: false, id: undefined })
  t.same(datas(client), [1, 2])
  t.match(await confirm(client, first), { type: 'reply' })
  const again = await mail.device('1')
  t.match(await again.next({ type: 'subscribed' }), { recovered: true, since: first })
  t.same(datas(again), [2])
  const nobody = await connect(t, mail.daemon)
  t.match(await nobody.next({ type: 'event', event: 'no' }), { args: ['unauthenticated'] })
})

void t.test('the database is away: a confirm is refused after its time, and nothing is lost', async (t) => {
  const mail = await startMail(t, { limits: { publishMs: 700 } })
  const ids = await mail.put('inbox:1', 1, 2, 3)
  const client = await mail.device('1')
  await client.subscribe('inbox:1')
  t.match(await confirm(client, ids[0]), { type: 'reply' })
  await mail.server.kill()
  const began = Date.now()
  t.match(await confirm(client, ids[1]), { type: 'error', code: 'unavailable' })
  t.ok(Date.now() - began < 10_000)
  t.match(await client.ask({ type: 'ping' }), { type: 'pong' }, 'others than confirms are served meanwhile')
  client.send({ type: 'confirm', channel: 'inbox:1', cursor: ids[1] })
  t.match(await client.next({ type: 'error' }), { id: undefined, code: 'unavailable' })
  await mail.server.restart()
  const again = await mail.device('1')
  const answer = await until('it is back', () => again.subscribe('inbox:1'))
  t.ok([ids[0], ids[1]].includes(answer['since'] as string), `since ${String(answer['since'])}`)
  t.same(datas(again).at(-1), 3)
  t.match(await confirm(again, ids[2]), { type: 'reply' })
})

void t.test(
  'under traffic and with many confirms: each unconfirmed one comes, none twice on a connection',
  async (t) => {
    const mail = await startMail(t, { limits: { recoveryMessages: 20, framesPerSecond: 100_000 } })
    const publisher = { running: true, last: 0 }
    const publishing = (async () => {
      while (publisher.running) {
        const batch = Array.from({ length: 10 }, () => ++publisher.last)
        await mail.put('inbox:1', ...batch)
      }
    })()
    let confirmed = 0
    for (let round = 0; round < 8; round++) {
      const device = await mail.device('1')
      await device.subscribe('inbox:1')
      await until('some came', () => messages(device).length >= 60)
      const seen = messages(device).filter(({ type }) => type !== 'reply')
      const numbers = seen.map((frame) => frame['data'] as number)
      t.same(
        numbers,
        numbers.map((_value, index) => confirmed + 1 + index),
      )
      const middle = seen[30]!
      for (const frame of seen.slice(0, 30)) {
        device.send({ type: 'confirm', channel: 'inbox:1', cursor: frame['id'] })
      }
      t.match(await confirm(device, middle['id'] as string), { type: 'reply' })
      confirmed = middle['data'] as number
      await device.close()
    }
    publisher.running = false
    await publishing
  },
)
