import { Client } from 'pg'
import t, { type Test } from 'tap'
import { createBus } from '../../src/bus/create.ts'
import { PostgresCarrier } from '../../src/bus/postgres.ts'
import { RemoteBus } from '../../src/bus/remote.ts'
import { migrate } from '../../src/database/migrate.ts'
import { Notifications } from '../../src/database/notifications.ts'
import { silent, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until, within } from '../support/wait.ts'
import { acquainted, busContract, Node, type Place, remoteBusContract, type Tuning } from './contract.ts'

const server = await startPostgres(t)
await migrate(server.url)

/** Each bus has the server to itself through a proxy of its own. */
function placeOf(server: TestPostgres, sealed: boolean): Place {
  return {
    server,
    async open(t, tuning) {
      const proxy = await startProxy(t, server.url)
      const url = proxy.url(server.url)
      const notifications = new Notifications({ url, retry: { minMs: 10, maxMs: 100 }, checkMs: 500 })
      t.teardown(() => notifications.stop())
      const bus = await createBus({ kind: 'postgres', notifications, url, sealed, log: silent(), ...tuning })
      // As a daemon does it: who needs the connection has taken a seat when it is opened.
      setImmediate(() => void notifications.start())
      return {
        bus,
        cut() {
          proxy.refuse()
          proxy.cut()
        },
        mend: () => proxy.accept(),
      }
    },
    async say(texts) {
      await server.psql(`select pg_notify('livemessages_bus', x) from unnest($1::text[]) x`, [texts])
    },
  }
}

const plain = placeOf(server, false)
busContract(t, 'postgres bus', plain.open)
remoteBusContract(t, 'postgres bus', plain)

const sealed = placeOf(server, true)

t.test('sealed postgres bus: letters come in order, and other roles neither see nor forge any', async (t) => {
  const [one, two] = [await opened(t, sealed), await opened(t, sealed)]
  await acquainted([one, two])
  const overheard = await overhear(t)
  for (let i = 0; i < 300; i++) one.publish(i === 150 ? 'x'.repeat(100_000) : i)
  await two.heard(300)
  t.same(two.data, one.data)
  t.ok(overheard.length > 0)
  for (const payload of overheard) t.match(payload, /^@\d+$/)

  await server.psql(`do $$ begin create role mere login; exception when duplicate_object then end $$`)
  await t.rejects(server.psql('set role mere; insert into livemessage.letter (body) values ($$x$$)'), {
    code: '42501',
  })
  await t.rejects(server.psql('set role mere; select body from livemessage.letter'), { code: '42501' })
  const { malformed } = two.bus.counts
  const message = '{"channel":"chat:a","data":"forged","time":1}'
  await sealed.say([`1 ${one.bus.node} 900\np chat:a ${message}`, '@99999999', '@0', '@'])
  await until('it is counted', () => two.bus.counts.malformed >= malformed + 3)
  t.notOk(two.data.includes('forged'))
  await until('the row that is none', () => two.gaps.length === 1)
})

t.test('sealed postgres bus: letters that somebody has brought again count once', async (t) => {
  const [one, two] = [await opened(t, sealed), await opened(t, sealed)]
  await acquainted([one, two])
  one.bus.send({ kind: 'memo', topic: 'cluster', body: 'once' })
  one.publish('once')
  await two.heard(1)
  const rows = await server.psql(`select id from livemessage.letter where body like '1 ${one.bus.node} %'`)
  const letters = (rows as { id: string }[]).map(({ id }) => `@${id}`)
  t.ok(letters.length > 0)
  const { malformed } = two.bus.counts
  for (let round = 0; round < 5; round++) await sealed.say(letters)
  await until('they are counted', () => two.bus.counts.malformed >= malformed + 5 * letters.length)
  one.publish('and on')
  await two.heard(2)
  t.same(two.data, ['once', 'and on'])
  t.equal(two.memos.length, 1)
  t.same(two.gaps, [])

  // Its node is gone, and all that it said: nothing brings it back.
  await one.bus.stop()
  await until('it is gone', () => two.bus.peers.size === 0)
  const again = two.bus.counts.malformed
  await sealed.say(letters)
  await until('they are counted', () => two.bus.counts.malformed >= again + letters.length)
  t.equal(two.bus.peers.size, 0)

  // To a node that was not there then it is news, but old.
  await server.psql(`update livemessage.letter set time = now() - interval '1 minute'`)
  const three = await opened(t, sealed)
  await acquainted([two, three])
  await sealed.say(letters)
  await until('they are missed', () => three.bus.counts.gaps > 0)
  t.same([three.data, three.memos], [[], []])
})

t.test('postgres bus: what is sent in one turn leaves in few statements', async (t) => {
  const [one, two] = [await opened(t, plain), await opened(t, plain)]
  await acquainted([one, two])
  const overheard = await overhear(t)
  for (let i = 0; i < 1_000; i++) one.publish(i)
  await two.heard(1_000)
  // A thousand letters of 57 bytes.
  t.ok(overheard.length < 15, `${overheard.length} NOTIFYs`)
})

t.test('postgres bus: a black hole in the network ends as an outage, and the bus comes back', async (t) => {
  const proxy = await startProxy(t, server.url)
  const url = proxy.url(server.url)
  const notifications = new Notifications({
    url,
    retry: { minMs: 10, maxMs: 100 },
    checkMs: 100,
    connectMs: 300,
  })
  t.teardown(() => notifications.stop())
  const carrier = new PostgresCarrier({ notifications, url, log: silent(), statementMs: 200 })
  const bus = new RemoteBus(carrier, {
    log: silent(),
    helloMs: 50,
    peerMs: 500,
    retry: { minMs: 10, maxMs: 50 },
  })
  const one = new Node({ bus, cut: () => undefined, mend: () => undefined })
  t.teardown(() => bus.stop())
  await Promise.all([notifications.start(), one.start()])
  const two = await opened(t, plain, { peerMs: 500, helloMs: 50 })
  await acquainted([one, two])
  proxy.blackhole(true)
  await until('both notice', () => !bus.ready && two.bus.peers.size === 0)
  proxy.blackhole(false)
  proxy.cut()
  await acquainted([one, two])
  one.publish('back')
  await two.heard(1)
  t.ok(bus.ready)
})

t.test('postgres bus: a stop while the server does not answer ends all the same', async (t) => {
  const proxy = await startProxy(t, server.url)
  const url = proxy.url(server.url)
  const notifications = new Notifications({ url })
  t.teardown(() => notifications.stop())
  const log = silent()
  const bus = await createBus({ kind: 'postgres', notifications, url, log, stopMs: 100 })
  const node = new Node({ bus, cut: () => undefined, mend: () => undefined })
  await Promise.all([notifications.start(), node.start()])
  proxy.blackhole(true)
  await within('the stop', Promise.resolve(bus.stop()), 10_000)
})

async function opened(t: Test, place: Place, tuning: Tuning = {}): Promise<Node> {
  const node = new Node(await place.open(t, { helloMs: 200, retry: { minMs: 10, maxMs: 100 }, ...tuning }))
  t.teardown(() => node.bus.stop())
  return node.start()
}

/** What any role of the database hears of the bus. */
async function overhear(t: Test): Promise<string[]> {
  const payloads: string[] = []
  const client = new Client({ connectionString: server.url })
  await client.connect()
  t.teardown(() => client.end())
  client.on('notification', ({ payload = '' }) => payloads.push(payload))
  await client.query('listen livemessages_bus')
  return payloads
}
