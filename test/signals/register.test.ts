import t from 'tap'
import { createDatabase } from '../../src/database/pool.ts'
import { migrate } from '../../src/database/migrate.ts'
import type { Entry, Op } from '../../src/signals/batch.ts'
import { Register, type RegisterOptions } from '../../src/signals/register.ts'
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
