import t, { type Test } from 'tap'
import { Client } from 'pg'
import { startDaemon } from '../support/daemon.ts'
import { MAJORS, skipMajor } from '../support/majors.ts'
import { until } from '../support/wait.ts'
import { configOf, type Several, startSeveral } from './several.ts'

t.setTimeout(120_000)

/** Channel and data of what is in the journal and not forgotten. */
async function journalOf({ sql, home }: Several): Promise<unknown[]> {
  const rows = await sql(
    home,
    `SELECT channel, data FROM livemessage.journal WHERE channel <> '' ORDER BY position`,
  )
  return rows.map(({ channel, data }) => `${String(channel)} ${String(data)}`)
}

const TWO = `SELECT livemessage.publish_many('[{"channel":"chat:a","data":"a, of many"},{"channel":"chat:b","data":"b, of many"}]')`

async function forget(daemon: { readonly url: string }, body: object): Promise<unknown> {
  const answer = await fetch(`${daemon.url}/api/forget`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })
  return answer.json()
}

for (const major of MAJORS) {
  t.test(
    `PostgreSQL ${major}: of an outbox only what is to be forgotten goes, also from among many`,
    { skip: await skipMajor(major) },
    async (t) => {
      const several = await startSeveral(t, ['shop'], { major })
      const { sql } = several
      const outboxOf = async () =>
        (await sql('shop', 'SELECT channel, data FROM livemessage.outbox ORDER BY id')).map(
          ({ channel, data }) => (channel === null ? (JSON.parse(String(data)) as unknown) : channel),
        )
      await sql('shop', `SELECT livemessage.publish('chat:a', '1'), livemessage.publish('chat:b', '2')`)
      await sql('shop', TWO)
      await sql('shop', `SELECT livemessage.publish_many('[{"channel":"chat:b","data":3}]')`)
      const forgetIt = () =>
        sql('shop', `SELECT gone::int, batch FROM livemessage.forget_outbox(ARRAY['chat:a'])`)
      t.same(await forgetIt(), [{ gone: 2, batch: null }])
      t.same(await outboxOf(), [
        'chat:b',
        { channels: ['chat:b'], datas: ['"b, of many"'] },
        { channels: ['chat:b'], datas: ['3'] },
      ])
      t.same(await forgetIt(), [{ gone: 0, batch: null }])

      await sql('shop', TWO)
      const [taken] = await sql('shop', 'SELECT batch, channels FROM livemessage.outbox_take(NULL, 100)')
      t.same(taken?.['channels'], ['chat:b', 'chat:b', 'chat:b', 'chat:a', 'chat:b'])
      await sql('shop', `SELECT livemessage.publish('chat:a', '4')`)
      t.same(
        await forgetIt(),
        [{ gone: 1, batch: taken?.['batch'] }],
        'what is on its way stays as it was sent',
      )
      t.same(await forgetIt(), [{ gone: 0, batch: taken?.['batch'] }])
      const [none] = await sql('shop', `SELECT batch FROM livemessage.forget_outbox(ARRAY['chat:c'])`)
      t.same(none, { batch: null }, 'nothing of this one is')
      await sql('shop', 'SELECT FROM livemessage.outbox_take($1, 100)', [taken?.['batch']])
      t.same(await forgetIt(), [{ gone: 0, batch: null }], 'it is home')
    },
  )
}

t.test('what waits in an outbox is forgotten, and what is on its way home too', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop']))
  const home = await holdBatch(t, several, `SELECT livemessage.publish('chat:a', '"on its way"')`)
  await several.sql('shop', `SELECT livemessage.enqueue('chat:a', '"waits"')`)
  await several.sql('shop', TWO)
  const forgetting = forget(daemon, { channel: 'chat:a' })
  await until('what waits is gone', async () => {
    const [row] = await several.sql('shop', `SELECT count(*)::int AS n FROM livemessage.outbox`)
    return row?.['n'] === 2
  })
  await home.query('COMMIT')
  t.same(await forgetting, { forgotten: 3, letters: 0, missing: [] })
  await until('the rest is home', async () => (await journalOf(several)).length === 1)
  t.same(await journalOf(several), ['chat:b "b, of many"'])
})

t.test('of a user of a further database what waits there goes too', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const daemon = await startDaemon(t, configOf(several, ['shop']))
  const home = await holdBatch(t, several, `SELECT livemessage.publish('chat:z', '1')`)
  for (const user of ['42', '43']) {
    await several.sql('shop', `SELECT livemessage.publish('messages:${user}', '"to ${user}"')`)
  }
  t.match(await forget(daemon, { user: '42', database: 'shop' }), { forgotten: 1, missing: [] })
  await home.query('COMMIT')
  await until('the rest is home', async () => (await journalOf(several)).length === 2)
  t.same(await journalOf(several), ['chat:z 1', 'messages:shop:43 "to 43"'])
})

t.test('a database that can’t be asked is named, and keeps the others from nothing', async (t) => {
  const several = await startSeveral(t, ['shop', 'blog'])
  const daemon = await startDaemon(t, configOf(several, ['shop', 'blog']))
  await several.sql(several.home, `SELECT livemessage.publish('chat:a', '1')`)
  await several.cut('shop')
  t.same(await forget(daemon, { channel: 'chat:a' }), {
    forgotten: 1,
    letters: 0,
    missing: ['database:shop'],
  })
  await several.mend('shop')
  await until('it can be asked again', async () => {
    const { missing } = (await forget(daemon, { channel: 'chat:a' })) as { missing: unknown[] }
    return missing.length === 0
  })
})

/** What the statement publishes in shop is taken, and can't be appended until the connection commits. */
async function holdBatch(t: Test, several: Several, statement: string): Promise<Client> {
  const home = new Client({ connectionString: several.urlOf(several.home) })
  await home.connect()
  t.teardown(() => home.end())
  await home.query('BEGIN; LOCK TABLE livemessage.moved IN SHARE MODE')
  await several.sql('shop', statement)
  await until('a batch is on its way', async () => {
    const [row] = await several.sql('shop', 'SELECT count(*)::int AS n FROM livemessage.outbox_batch')
    return row?.['n'] === 1
  })
  return home
}
