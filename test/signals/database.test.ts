import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { distinct, of, type Receiver, SECRET, startReceiver } from './receiver.ts'

// What is noted survives: the node, the target's outage, the database's.

const postgres = await startPostgres(t, { settings: { synchronous_commit: 'on' } })

let last = 0
/** Each test has a target of its own: what one leaves is not told to another. */
function told(receiver: Receiver, more: object = {}): TestConfig {
  return {
    channels: { chat: { access: 'public' } },
    postgres: { url: postgres.url },
    signals: { webhooks: [{ url: receiver.url, secret: SECRET, name: `app-${++last}`, ...more }] },
  }
}

const start = (t: Parameters<typeof startDaemon>[0], config: TestConfig) =>
  startDaemon(t, config, { migrate: true })

void t.test('occupied and vacated are told once on all nodes, in order', async (t) => {
  const receiver = await startReceiver(t)
  const hooked: string[] = []
  const config: TestConfig = {
    ...told(receiver),
    ACTIONS: {
      chat: {
        occupied: ({ channel }: { channel: string }) => void hooked.push(`occupied ${channel}`),
        vacated: ({ channel }: { channel: string }) => void hooked.push(`vacated ${channel}`),
      },
    },
  }
  const [one, two] = [await start(t, config), await start(t, config)]
  const [a, b] = [await connect(t, one), await connect(t, two)]
  for (let round = 0; round < 5; round++) {
    await Promise.all([a.subscribe('chat:a'), b.subscribe('chat:a')])
    await until('both are noted', async () => {
      const [row] = await postgres.psql(
        "SELECT cardinality(nodes) AS n FROM livemessage.occupied WHERE channel = 'chat:a'",
      )
      return row?.['n'] === 2
    })
    await a.ask({ type: 'unsubscribe', channel: 'chat:a' })
    await b.ask({ type: 'unsubscribe', channel: 'chat:a' })
    await until(
      'nobody is',
      async () => (await postgres.psql('SELECT FROM livemessage.occupied')).length === 0,
    )
  }
  await receiver.took('all', (all) => all.filter(({ name }) => name === 'vacated').length === 5)
  const moves = receiver.signals.filter(({ name }) => name === 'occupied' || name === 'vacated')
  t.same(
    moves.map(({ name }) => name),
    Array.from({ length: 5 }, () => ['occupied', 'vacated']).flat(),
  )
  await until('the hooks', () => hooked.length === 10)
  t.same(hooked.slice(0, 2), ['occupied chat:a', 'vacated chat:a'])
  t.same(await postgres.psql(`SELECT count(*)::int AS n FROM livemessage.signal`), [{ n: 0 }])
})

void t.test('what a target did not take is told by the next process', async (t) => {
  const receiver = await startReceiver(t)
  await receiver.close()
  const config = told(receiver)
  const first = await start(t, config)
  const client = await connect(t, first)
  await client.subscribe('chat:a')
  const session = String(client.welcome!['session'])
  await client.close()
  await first.stop()
  t.same(await postgres.psql('SELECT count(*)::int AS n FROM livemessage.roster'), [{ n: 0 }])
  t.same(
    await postgres.psql('SELECT count(*)::int AS n FROM livemessage.node'),
    [{ n: 0 }],
    'it said good-bye',
  )
  await receiver.open()
  await start(t, config)
  await receiver.took('all', (all) => all.some(({ name }) => name === 'disconnect'))
  t.same(of(receiver.signals, session), ['connect', 'subscribe', 'unsubscribe', 'disconnect'])
})

void t.test('the database is killed and comes back: all is told, once, in order', async (t) => {
  const receiver = await startReceiver(t)
  const daemon = await start(t, told(receiver))
  const stays = await connect(t, daemon)
  await receiver.took('the first', (all) => all.some(({ name }) => name === 'connect'))
  await postgres.kill()
  const sessions: string[] = []
  for (let n = 0; n < 10; n++) {
    const client = await connect(t, daemon)
    sessions.push(String(client.welcome!['session']))
    await client.subscribe('chat:a')
    await client.close()
  }
  await daemon.logged({ msg: 'signals can not be noted, trying on' })
  await postgres.restart()
  await receiver.took(
    'the last',
    (all) => all.filter(({ name }) => name === 'disconnect').length >= 10,
    60_000,
  )
  for (const session of sessions)
    t.same(of(distinct(receiver.signals), session), ['connect', 'subscribe', 'unsubscribe', 'disconnect'])
  t.same(
    of(receiver.signals, String(stays.welcome!['session'])),
    ['connect'],
    'nobody took the node for dead',
  )
  await daemon.logged({ msg: 'signals are noted again' })
})

void t.test('beyond max, and later than keep, what waits is given up: the oldest first', async (t) => {
  const receiver = await startReceiver(t)
  await receiver.close()
  const config = told(receiver, { events: ['subscribe'] })
  const target = config.signals!.webhooks![0]!.name
  const daemon = await start(t, {
    ...config,
    limits: { subscriptions: 1000 },
    signals: { ...config.signals!, max: 100 },
  })
  const client = await connect(t, daemon)
  for (let n = 0; n < 300; n++) {
    await client.subscribe(`chat:${n}`)
    // As many may wait for a slow database, and the oldest of them would go.
    if (n % 50 === 49) await until('they are noted', () => daemon.daemon.signals!.unnoted === 0)
  }
  const left = () =>
    postgres.psql('SELECT body::json->>$2 AS channel FROM livemessage.signal WHERE target = $1 ORDER BY id', [
      target,
      'channel',
    ])
  await until('the oldest have gone', async () => {
    const rows = await left()
    return rows.length === 100 && rows[0]!['channel'] === 'chat:200'
  })
  const givenUp = () =>
    [...daemon.daemon.signals!.tally].find(([name, what]) => name === target && what === 'given_up')
  await until('it is counted', () => givenUp()?.[2] === 200)
  await postgres.psql(`UPDATE livemessage.signal SET made = now() - interval '2 hours'`)
  await until('the old have gone', async () => (await left()).length === 0)
  t.equal(
    daemon.lines.filter((line) => line.msg === 'signals are given up' && line['target'] === target).length,
    1,
  )
})

void t.test('a hook that comes with a reload knows who is there already', async (t) => {
  const base: TestConfig = { channels: { chat: { access: 'public' } }, postgres: { url: postgres.url } }
  const daemon = await start(t, base)
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  t.same(await postgres.psql('SELECT FROM livemessage.node'), [], 'what nobody wants costs nothing')
  const told: string[] = []
  await daemon.reload({ ...base, hooks: { disconnect: ({ session }) => void told.push(session) } })
  const session = String(client.welcome!['session'])
  await until('it is on the roster', async () => {
    const [row] = await postgres.psql('SELECT session, channels FROM livemessage.roster')
    return row?.['session'] === session && row['channels'] === '["chat:a"]'
  })
  await daemon.reload(base)
  await until(
    'the roster is empty',
    async () => (await postgres.psql('SELECT FROM livemessage.roster')).length === 0,
  )
  await daemon.reload({ ...base, hooks: { disconnect: ({ session }) => void told.push(session) } })
  await client.close()
  await until('it is told', () => told.length > 0)
  t.same(told, [session])
})
