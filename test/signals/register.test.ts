import t from 'tap'
import { createDatabase } from '../../src/database/pool.ts'
import { migrate } from '../../src/database/migrate.ts'
import type { Entry, Op } from '../../src/signals/batch.ts'
import { Register, type RegisterOptions } from '../../src/signals/register.ts'
import { Signals } from '../../src/signals/signals.ts'
import type { Pool } from '../../src/signals/table.ts'
import { Tally } from '../../src/signals/tally.ts'
import { silent, startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

const postgres = await startPostgres(t)
await migrate(postgres.url)
const database = createDatabase({
  url: postgres.url,
  minConnections: 0,
  maxConnections: 2,
  cleanupTimeoutMs: 1000,
  log: silent(),
})
t.teardown(() => database.stop())

const row = (body: string) => ({ target: 'app', body: JSON.stringify(body) })

function entry(session: string): Entry {
  const client = {
    session,
    user: null,
    database: null,
    info: null,
    address: '',
    transport: 't',
    since: 1,
    channels: [],
  }
  return { client, letIn: true, noted: false, hooks: null } as unknown as Entry
}

function register(
  node: string,
  pool: Pool,
  more: Partial<RegisterOptions> = {},
): Register & { tally: Tally } {
  const log = silent()
  const tally = new Tally(log)
  const made = new Register({
    pool,
    node,
    tally,
    log,
    max: () => 100,
    beatMs: () => 1000,
    onNoted: () => undefined,
    onLost: (ops) => ops,
    gatherMs: 1,
    retry: { minMs: 5, maxMs: 20 },
    ...more,
  })
  t.teardown(() => made.stop(1000))
  return Object.assign(made, { tally })
}

async function noted(): Promise<string[]> {
  const rows = await postgres.psql('SELECT body FROM livemessage.signal ORDER BY id')
  return rows.map(({ body }) => JSON.parse(String(body)) as string)
}

void t.test('a batch whose answer was lost is noted once', async (t) => {
  let lost = 0
  const pool: Pool = {
    withSignal: (signal) => ({
      ...database.withSignal(signal),
      query: async (text, values) => {
        const result = await database.withSignal(signal).query<never>(text, values)
        if (lost++ % 2 === 0) throw new Error('the connection was lost before the answer')
        return result
      },
    }),
  }
  const it = register('answerlost01', pool)
  it.start()
  for (let n = 0; n < 5; n++) {
    const who = entry(`s${n}`)
    it.add({ rows: [row(`${n}`)], entry: who })
    await until('it is noted', () => who.noted)
  }
  t.same(await noted(), ['0', '1', '2', '3', '4'])
  t.ok(lost >= 10)
})

void t.test('a node that was thought gone begins anew under another name', async (t) => {
  const asked: (readonly Op[])[] = []
  const onLost = (ops: readonly Op[]): readonly Op[] => {
    asked.push(ops)
    return [{ rows: [row('again')], entry: entry('one') }]
  }
  const it = register('frozen000001', database, { onLost })
  it.start()
  const who = entry('one')
  it.add({ rows: [row('first')], entry: who })
  await until('it is noted', () => who.noted)
  await postgres.psql(`UPDATE livemessage.node SET lost = true WHERE node = 'frozen000001'`)
  it.add({ rows: [row('void')], entry: who, ends: true })
  await until('it is told anew', async () => (await noted()).includes('again'))
  t.notOk((await noted()).includes('void'))
  t.equal(asked.length, 1)
  t.same(await postgres.psql(`SELECT node FROM livemessage.roster WHERE session = 'one' ORDER BY node`), [
    { node: 'frozen000001' },
    { node: 'frozen000001.2' },
  ])
})

void t.test('who may have been noted before the node was thought gone comes again as another', async (t) => {
  // Noted, without an answer; then the leader thinks that the node is gone, and tells the end of its connections.
  let froze = false
  const pool: Pool = {
    withSignal: (signal) => ({
      ...database.withSignal(signal),
      query: async (text, values) => {
        const result = await database.withSignal(signal).query<never>(text, values)
        if (froze || values?.[1] === 1) return result
        froze = true
        await postgres.psql(`DELETE FROM livemessage.roster WHERE node = 'doubtful0001'`)
        await postgres.psql(`DELETE FROM livemessage.node WHERE node = 'doubtful0001'`)
        throw new Error('the connection was lost before the answer')
      },
    }),
  }
  const hooks = { disconnect: null }
  const registry = { hooks, unsubscribe: new Map(), occupied: new Map(), vacated: new Map() }
  const signals = new Signals({
    live: { rules: { registry } },
    node: 'doubtful0001',
    targets: [{ name: 'doubt', events: ['connect', 'disconnect'], subsystems: null }],
    hasDatabase: true,
    clients: () => [],
    isHere: () => true,
    add: (op: Op) => it.add(op),
    begin: () => undefined,
  } as unknown as ConstructorParameters<typeof Signals>[0])
  const it = register('doubtful0001', pool, {
    onLost: (unnoted, doubtful) => signals.anew(unnoted, doubtful),
  })
  signals.apply()
  const clientOf = (session: string) =>
    Object.assign(entry(session).client, { link: {}, subscriptions: new Map() })
  const [stays, gone] = [clientOf('stays'), clientOf('gone')]
  const left = { code: 1000, reason: 'left', time: Date.now() }
  for (const client of [stays, gone]) signals.connected(client)
  signals.disconnected(gone, left)
  it.start()
  const heard = async (session: string): Promise<{ id: string; name: string }[]> => {
    const rows = await postgres.psql(`SELECT body FROM livemessage.signal WHERE target = 'doubt' ORDER BY id`)
    const all = rows.map(
      ({ body }) => JSON.parse(String(body)) as { id: string; name: string; session: string },
    )
    return all.filter((signal) => signal.session === session)
  }
  await until('it is noted again', async () => (await heard('stays')).length === 2)
  signals.disconnected(stays, left)
  const lives = await until('its end', async () => {
    const all = await heard('stays')
    return all.length === 3 ? all : null
  })
  t.same(
    lives.map(({ name }) => name),
    ['connect', 'connect', 'disconnect'],
  )
  t.equal(new Set(lives.map(({ id }) => id)).size, 3, 'the end of the first was told')
  const visit = await heard('gone')
  t.same(
    visit.map(({ name }) => name),
    ['connect', 'disconnect', 'connect', 'disconnect'],
  )
  t.equal(new Set(visit.map(({ id }) => id)).size, 2, 'a visit that was told whole is the same one')
})

void t.test(
  'while the database is away a flood takes bounded room, and who is here is noted after it',
  async (t) => {
    let away = true
    const pool: Pool = {
      withSignal: (signal) => ({
        ...database.withSignal(signal),
        query: (text, values) =>
          away ? Promise.reject(new Error('away')) : database.withSignal(signal).query<never>(text, values),
      }),
    }
    const it = register('away00000001', pool)
    it.start()
    const stays = entry('stays')
    it.add({ rows: [row('stays')], entry: stays })
    for (let n = 0; n < 20_000; n++) {
      const guest = entry(`guest${n}`)
      it.add({ rows: [row(`come ${n}`)], entry: guest })
      it.add({ rows: [row(`gone ${n}`)], entry: guest, ends: true })
      if (n % 1000 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      if (it.waiting > 100) throw new Error(`${it.waiting} wait`)
    }
    const [givenUp] = [...it.tally].filter(([, what]) => what === 'given_up').map(([, , count]) => count)
    t.ok(givenUp! > 39_000)
    away = false
    await until('it is noted', () => stays.noted)
    await until('the last', async () => (await noted()).includes('gone 19999'))
    t.same(await postgres.psql(`SELECT session FROM livemessage.roster WHERE node = 'away00000001'`), [
      { session: 'stays' },
    ])
  },
)

void t.test('what is on its way to the database counts as not noted', async (t) => {
  let go!: () => void
  const gate = new Promise<void>((resolve) => (go = resolve))
  const pool: Pool = {
    withSignal: (signal) => ({
      ...database.withSignal(signal),
      query: async (text, values) => {
        await gate
        return database.withSignal(signal).query<never>(text, values)
      },
    }),
  }
  const it = register('onitsway0001', pool)
  it.start()
  it.add({ rows: [row('one'), row('two')] })
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(it.unnoted, 2)
  go()
  await until('it is noted', async () => (await noted()).includes('two'))
  await until('it is known', () => it.unnoted === 0)
})
