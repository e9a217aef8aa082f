import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'
import { configOf, type Several, startSeveral } from './several.ts'

const CHAT = { chat: { access: 'public', history: {} } } as const

const isEmpty = (several: Several) =>
  until('the outbox is empty', async () => {
    const [row] = await several.sql('shop', 'SELECT count(*) FROM livemessage.outbox')
    return row?.['count'] === '0'
  })

t.test('journal rabbitmq: outboxes go there', { skip: rabbitSkip() }, async (t) => {
  const several = await startSeveral(t, ['shop'])
  const rabbit = await startRabbit(t)
  const broker = { url: rabbit.url, exchange: `databases-${process.pid}` }
  const daemon = await startDaemon(
    t,
    configOf(several, ['shop'], { journal: 'rabbitmq', broker, channels: CHAT }),
  )
  const client = await connect(t, daemon.ws)
  await client.subscribe('chat:a')
  await several.sql(
    'shop',
    `SELECT livemessage.publish('chat:a', to_jsonb(n)) FROM generate_series(1, 50) AS n`,
  )
  for (let n = 1; n <= 50; n++) t.equal((await client.next({ type: 'message' }))['data'], n)
  await isEmpty(several)
})

t.test('journal memory: the one node there is moves', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop'], { journal: 'memory', channels: CHAT }))
  const client = await connect(t, daemon.ws)
  await client.subscribe('chat:a')
  await several.sql(
    'shop',
    `SELECT livemessage.publish('chat:a', to_jsonb(n)) FROM generate_series(1, 5) AS n`,
  )
  // Nobody knows this subsystem: a dead letter, and not in the way of what follows.
  await several.sql('shop', `SELECT livemessage.publish('nobody:a', '1')`)
  await several.sql('shop', `SELECT livemessage.publish('chat:a', '6')`)
  for (let n = 1; n <= 6; n++) t.equal((await client.next({ type: 'message' }))['data'], n)
  await isEmpty(several)
  const dead = await until('a dead letter', async () =>
    (await several.sql(several.home, 'SELECT source, code, channel FROM livemessage.dead')).at(0),
  )
  t.match(dead, { source: 'postgres:shop', code: 'unknown_channel' })
})

t.test(
  'two nodes: a bare NOTIFY of a further database is journaled once, a transient one told once',
  async (t) => {
    const several = await startSeveral(t, ['shop'])
    const nodes = await Promise.all([1, 2].map(() => startDaemon(t, configOf(several, ['shop']))))
    const clients = await Promise.all(nodes.map((node) => connect(t, node.ws)))
    for (const client of clients) {
      await client.subscribe('chat:a')
      await client.subscribe('ticks:a')
      await client.subscribe('open:shop:a')
    }
    for (let n = 0; n < 20; n++) {
      for (const channel of ['chat:a', 'ticks:a', 'open:a']) {
        await several.sql('shop', `SELECT pg_notify('livemessages', '{"channel":"${channel}","data":${n}}')`)
      }
    }
    for (const client of clients) {
      for (const channel of ['chat:a', 'ticks:a', 'open:shop:a']) {
        for (let n = 0; n < 20; n++)
          t.equal((await client.next({ type: 'message', channel }))['data'], n, channel)
      }
    }
    const [row] = await several.sql(several.home, 'SELECT count(*) FROM livemessage.journal')
    t.same(row, { count: '40' })
    for (const client of clients) t.same(client.rest('message'), [])
  },
)
