import t, { type Test } from 'tap'
import { DEFAULT_RETRY } from '../../src/backoff.ts'
import { createLeadership } from '../../src/database/leadership.ts'
import { Outbox, type OutboxBatch } from '../../src/database/outbox.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { silent } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { type Several, startSeveral } from './several.ts'

type Append = (batch: OutboxBatch, token: number) => Promise<number>

/** One node's mover, with a lease of its own. `around` may die before or after the append. */
async function mover(
  t: Test,
  several: Several,
  holder: string,
  around: (append: Append, batch: OutboxBatch, token: number) => Promise<number> = (append, ...rest) =>
    append(...rest),
) {
  const log = silent()
  const open = (url: string) =>
    createDatabase({ url, minConnections: 0, maxConnections: 3, cleanupTimeoutMs: 10_000, log, quiet: true })
  const [home, lease, there] = [several.server.url, several.server.url, several.urlOf('shop')].map(open)
  const leadership = createLeadership({ pool: lease!, holder, log, ttlMs: 600 })
  const append: Append = async ({ database, id, channels, datas }, token) => {
    const { rows } = await home!.query(
      `SELECT livemessage.outbox_append($1, $2, $3, $4, 'leader', $5) AS came`,
      [database, id, channels, datas, token],
    )
    return Number(rows[0]?.['came'])
  }
  const outbox = new Outbox({
    database: 'shop',
    pool: there!,
    leadership,
    append: (batch, token) => around(append, batch, token),
    log,
    maxRows: 10,
    waitMs: 50,
    everyMs: 5,
    retry: DEFAULT_RETRY,
  })
  await leadership.start()
  outbox.start()
  const stop = async (): Promise<void> => {
    await outbox.stop()
    await leadership.stop()
    await Promise.all([home!.stop(), lease!.stop(), there!.stop()])
  }
  t.teardown(stop)
  return { outbox, leadership, stop }
}

const FILL = `SELECT livemessage.publish('chat:a', to_jsonb(n)) FROM generate_series(1, 100) AS n`

async function came({ sql, home }: Several): Promise<number[]> {
  const rows = await sql(home, 'SELECT data FROM livemessage.journal ORDER BY position')
  return rows.map(({ data }) => Number(data))
}

const hundred = Array.from({ length: 100 }, (_, n) => n + 1)

const allCome = (several: Several, count = 100) =>
  until(`${count} have come, and are gone there`, async () => {
    const [left] = await several.sql('shop', 'SELECT count(*) FROM livemessage.outbox')
    return left?.['count'] === '0' && (await came(several)).length >= count
  })

for (const [when, dies] of [
  ['before it is appended', 'before'],
  ['between the append and the deletion', 'after'],
] as const) {
  t.test(`a leader dies ${when}: each comes once, in its order`, async (t) => {
    const several = await startSeveral(t, ['shop'])
    await several.sql('shop', FILL)
    let batches = 0
    let died: () => void = () => undefined
    const dead = new Promise<void>((resolve) => (died = resolve))
    // As a process that is killed there: it does nothing any more, neither an error nor a deletion.
    const first = await mover(t, several, 'first', async (append, batch, token) => {
      if (++batches < 4) return append(batch, token)
      if (dies === 'after') await append(batch, token)
      died()
      await new Promise((_resolve, reject) => setTimeout(reject, 3_000, new Error('gone')).unref())
      return 0
    })
    await dead
    await first.leadership.stop()
    const taken: string[] = []
    await mover(t, several, 'second', async (append, batch, token) => {
      const count = await append(batch, token)
      taken.push(`${count} of ${batch.channels.length}`)
      return count
    })
    await allCome(several)
    t.same(await came(several), hundred)
    t.equal(taken[0], dies === 'after' ? '0 of 10' : '10 of 10', 'the same batch again, and home knows')
  })
}

t.test('a leader whose term is over appends nothing', async (t) => {
  const several = await startSeveral(t, ['shop'])
  await several.sql('shop', FILL)
  let release: () => void = () => undefined
  const frozen = new Promise<void>((resolve) => (release = resolve))
  const refused: string[] = []
  let waiting = false
  const first = await mover(t, several, 'first', async (append, batch, token) => {
    waiting = true
    await frozen
    try {
      return await append(batch, token)
    } catch (error) {
      refused.push(String((error as { code?: string }).code))
      throw error
    }
  })
  await until('the first has a batch in hand', () => waiting)
  await first.leadership.stop()
  await mover(t, several, 'second')
  await allCome(several)
  release()
  await until('the first is refused', () => refused.length > 0)
  t.same(refused, ['LM001'])
  t.same(await came(several), hundred)
})

t.test('many who publish at once while leaders come and go: nothing is lost, nothing twice', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const publishing = new AbortController()
  const publishers = Promise.all(
    [0, 1, 2].map(async (publisher) => {
      const { Client } = await import('pg')
      const client = new Client({ connectionString: several.urlOf('shop') })
      await client.connect()
      let n = 0
      while (!publishing.signal.aborted) {
        const value = publisher * 1_000_000 + n++
        await client.query('SELECT livemessage.publish($1, $2)', [`chat:${publisher}`, String(value)])
      }
      await client.end()
      return n
    }),
  )
  for (let round = 0; round < 5; round++) {
    let batches = 0
    let stopped: () => void = () => undefined
    const done = new Promise<void>((resolve) => (stopped = resolve))
    const one = await mover(t, several, `node ${round}`, async (append, batch, token) => {
      const count = await append(batch, token)
      if (++batches < 20) return count
      stopped()
      throw new Error('its answer was lost')
    })
    await done
    await one.stop()
  }
  publishing.abort()
  const counts = await publishers
  await mover(t, several, 'last')
  await allCome(
    several,
    counts.reduce((sum, count) => sum + count),
  )
  const all = await came(several)
  for (const [publisher, count] of counts.entries()) {
    const own = all.filter((value) => Math.floor(value / 1_000_000) === publisher)
    t.same(
      own,
      Array.from({ length: count }, (_, n) => publisher * 1_000_000 + n),
      'each publisher’s in its order',
    )
  }
})
