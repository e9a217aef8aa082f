import t from 'tap'
import { createTransactionPublisher, type TransactionsDependencies } from '../../src/hub/transactions.ts'
import { Counts } from '../../src/ops/counts.ts'
import { ClientError } from '../../src/protocol/codes.ts'
import type { ActionContext, Transaction } from '../../src/registry/define.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

// What an action publishes in its transaction: with it, or not at all.

const postgres = await startPostgres(t)
await postgres.psql('CREATE TABLE public.note (text text CHECK (length(text) < 20))')

type Work = (tx: Transaction, context: ActionContext) => Promise<unknown>

function configOf(work: Work, journal: 'postgres' | 'memory' = 'postgres'): TestConfig {
  const run = (_: unknown, context: ActionContext): Promise<unknown> =>
    context.db.transaction((tx) => work(tx, context))
  return {
    postgres: { url: postgres.url },
    journal,
    ACTIONS: { notes: { run } },
    channels: {
      notes: { access: 'public', history: { count: 1000 } },
      cursors: { access: 'public', delivery: 'transient' },
    },
    limits: { publicationBytes: '20kb' },
  }
}

const rows = async (): Promise<number> => {
  const [row] = await postgres.psql('SELECT count(*)::int AS count FROM public.note')
  await postgres.psql('TRUNCATE public.note')
  return Number(row?.['count'])
}

/** What has come up to a last one, by data. */
async function heard(daemon: TestDaemon, client: Awaited<ReturnType<typeof connect>>): Promise<unknown[]> {
  t.equal((await daemon.publish('notes:a', 'end')).status, 200)
  await client.next({ type: 'message', channel: 'notes:a', data: 'end' })
  return client.frames.filter(({ type }) => type === 'message').map(({ data }) => data)
}

for (const journal of ['postgres', 'memory'] as const) {
  t.test(
    `journal ${journal}: publications of a transaction come when it commits, in their order`,
    async (t) => {
      let committed = false
      const config = configOf(async (tx) => {
        const data = { n: 1 }
        await tx.publish('notes:a', data)
        data.n = 99 // what is published is what was there
        await tx.query('INSERT INTO public.note VALUES ($1)', ['kept'])
        await tx.publish('notes:a', { n: 2 })
        await tx.publish('notes:a', { n: 3, nul: '\0', half: '\ud800' })
        await tx.publish('notes:a', { n: 4 })
        committed = (await rowsSeen(client)) === 0
        return 'done'
      }, journal)
      const daemon = await startDaemon(t, config, { migrate: true })
      const client = await connect(t, daemon)
      await client.subscribe('notes:a')
      t.equal(await client.call('notes.run'), 'done')
      t.ok(committed, 'nobody hears of it before')
      t.strictSame(await heard(daemon, client), [
        { n: 1 },
        { n: 2 },
        { n: 3, nul: '\0', half: '\ud800' },
        { n: 4 },
        'end',
      ])
      t.equal(await rows(), 1)
      t.equal(daemon.daemon.counts.publications.get('action'), 4)
    },
  )

  t.test(`journal ${journal}: what is rolled back was never published`, async (t) => {
    const config = configOf(async (tx) => {
      await tx.publish('notes:a', 'lost')
      await tx.publish('cursors:a', 'lost')
      await tx.query('INSERT INTO public.note VALUES ($1)', ['much longer than it may be'])
    }, journal)
    const daemon = await startDaemon(t, config, { migrate: true })
    const client = await connect(t, daemon)
    await client.subscribe('notes:a')
    await client.subscribe('cursors:a')
    await t.rejects(client.call('notes.run'), { code: 'internal' })
    t.strictSame(await heard(daemon, client), ['end'])
    t.equal(await rows(), 0)
  })
}

t.test('a savepoint that is rolled back takes its publications with it, and no others', async (t) => {
  const config = configOf(async (tx) => {
    await tx.publish('notes:a', 1)
    await tx
      .transaction(async (inner) => {
        await inner.publish('notes:a', 'lost')
        await inner.transaction((deeper) => deeper.publish('notes:a', 'lost too'))
        throw new Error('undo')
      })
      .catch(() => undefined)
    await tx.transaction((inner) => inner.publish('notes:a', 2))
    await tx.publish('notes:a', 3)
  })
  const daemon = await startDaemon(t, config, { migrate: true })
  const client = await connect(t, daemon)
  await client.subscribe('notes:a')
  await client.call('notes.run')
  t.strictSame(await heard(daemon, client), [1, 2, 3, 'end'])
})

t.test(
  'key, exclude and transient channels: published right after COMMIT, and in order all the same',
  async (t) => {
    const config = configOf(async (tx, { session }) => {
      await tx.publish('notes:a', 1)
      await tx.publish('notes:a', 'for others', { exclude: session ?? '' })
      await tx.publish('notes:a', 2)
      await tx.publish('notes:a', 'once', { key: 'k' })
      await tx.publish('cursors:a', { x: 'far more than a NOTIFY holds'.repeat(500) })
      await tx.publish('notes:a', 3)
    })
    const daemon = await startDaemon(t, config, { migrate: true })
    const [caller, other] = await Promise.all([connect(t, daemon), connect(t, daemon)])
    for (const client of [caller, other]) {
      await client.subscribe('notes:a')
      await client.subscribe('cursors:a')
    }
    await caller.call('notes.run')
    await caller.call('notes.run')
    await other.next({ type: 'message', channel: 'cursors:a' })
    const all = (await heard(daemon, other)).filter((data) => typeof data !== 'object')
    t.strictSame(all, [1, 'for others', 2, 'once', 3, 1, 'for others', 2, 3, 'end'])
    t.strictSame((await heard(daemon, caller)).filter((data) => typeof data !== 'object').slice(0, 8), [
      1,
      2,
      'once',
      3,
      1,
      2,
      3,
      'end',
    ])
  },
)

t.test('a publication that is refused undoes the transaction, awaited or not', async (t) => {
  const tries: (() => [channel: string, data: unknown])[] = [
    () => ['nowhere:a', 1],
    () => ['not a channel', 1],
    () => ['notes:a', 'x'.repeat(30_000)],
    () => ['notes:a', { n: 1n }],
  ]
  const config = configOf(async (tx) => {
    await tx.query('INSERT INTO public.note VALUES ($1)', ['undone'])
    void tx.publish(...tries[0]!())
  })
  const daemon = await startDaemon(t, config, { migrate: true })
  const client = await connect(t, daemon)
  for (const code of ['internal', 'internal', 'too_large', 'internal']) {
    await t.rejects(client.call('notes.run'), { code })
    t.equal(await rows(), 0, code)
    tries.shift()
  }
  t.match(
    daemon.lines.filter(({ msg }) => msg === 'action failed'),
    [
      { err: { code: 'PUBLISH_REFUSED' } },
      { err: { code: 'PUBLISH_REFUSED' } },
      { err: { type: 'TypeError' } },
    ],
  )
})

t.test('publish of the context does not wait for the transaction, and is not undone with it', async (t) => {
  const config = configOf(async (_, { publish }) => {
    await publish('notes:a', 'at once')
    throw new Error('undo')
  })
  const daemon = await startDaemon(t, config, { migrate: true })
  const client = await connect(t, daemon)
  await client.subscribe('notes:a')
  await t.rejects(client.call('notes.run'), { code: 'internal' })
  t.strictSame(await heard(daemon, client), ['at once', 'end'])
})

t.test('a transaction is of no use when it is over, nor is one in which a statement failed', async (t) => {
  let kept: Transaction | undefined
  const config = configOf(async (tx) => {
    kept = tx
    await tx.query('SELECT 1/0').catch(() => undefined)
    await tx.publish('notes:a', 'lost')
  })
  const daemon = await startDaemon(t, config, { migrate: true })
  const client = await connect(t, daemon)
  await client.subscribe('notes:a')
  await t.rejects(client.call('notes.run'), { code: 'internal' })
  await daemon.logged({ msg: 'action failed' })
  const failed = daemon.lines.find(({ msg }) => msg === 'action failed')
  t.match(failed, { err: { message: /rolled back: a statement in it had failed/ } })
  t.throws(() => void kept?.publish('notes:a', 1), { message: /has ended/ })
  t.strictSame(await heard(daemon, client), ['end'])
})

t.test('past its deadline a transaction is rolled back, with what it published', async (t) => {
  const config = configOf(async (tx) => {
    await tx.publish('notes:a', 'lost')
    await tx.query('SELECT pg_sleep(60)')
  })
  const daemon = await startDaemon(t, { ...config, limits: { callMs: 300 } }, { migrate: true })
  const client = await connect(t, daemon)
  await client.subscribe('notes:a')
  await t.rejects(client.call('notes.run'), { code: 'timeout' })
  t.strictSame(await heard(daemon, client), ['end'])
})

t.test('many publications of one transaction, of several channels, are adjacent', async (t) => {
  const config = configOf(async (tx) => {
    for (let n = 0; n < 1200; n++) await tx.publish(`notes:${n % 2 === 0 ? 'a' : 'b'}`, n)
  })
  const daemon = await startDaemon(t, config, { migrate: true })
  const client = await connect(t, daemon)
  await client.subscribe('notes:a')
  await client.subscribe('notes:b')
  await client.call('notes.run')
  await until('all of them', () => client.frames.filter(({ type }) => type === 'message').length === 1200)
  const all = client.frames.filter(({ type }) => type === 'message')
  t.strictSame(
    all.map(({ data }) => data),
    Array.from({ length: 1200 }, (_, n) => n),
  )
})

/** How much a client has been told until now. */
async function rowsSeen(client: Awaited<ReturnType<typeof connect>>): Promise<number> {
  await client.ask({ type: 'ping' })
  return client.frames.filter(({ type }) => type === 'message').length
}

t.test('the server dies before the commit: nothing was published, and the caller is told', async (t) => {
  const own = await startPostgres(t, { settings: { synchronous_commit: 'on' } })
  const config = configOf(async (tx) => {
    await tx.publish('notes:a', 'lost')
    await tx.query('SELECT 1')
    await own.kill()
  })
  const daemon = await startDaemon(t, { ...config, postgres: { url: own.url } }, { migrate: true })
  const client = await connect(t, daemon)
  await client.subscribe('notes:a')
  await t.rejects(client.call('notes.run'), { code: 'unavailable' })
  await own.restart()
  await until(
    'the journal again',
    async () => (await daemon.publish('notes:a', 'before the end')).status === 200,
  )
  t.strictSame((await heard(daemon, client)).slice(-1), ['end'])
  t.notOk(client.frames.some(({ data }) => data === 'lost'))
})

t.test(
  'what is published after the commit and lost is logged and counted; the transaction stays',
  async (t) => {
    const lines: object[] = []
    const counts = new Counts()
    const publisher = {
      check: () => true,
      publish: ({ channel }: { channel: string }) => {
        if (channel === 'notes:gone') throw new ClientError('unavailable', 'no journal')
        return channel === 'notes:late' ? Promise.reject(new ClientError('conflict', 'another')) : null
      },
    }
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is called of them
    const transactions = createTransactionPublisher({
      publisher,
      counts,
      journal: { kind: 'memory' },
      log: { error: (fields: object) => lines.push(fields) },
    } as unknown as TransactionsDependencies)
    await transactions.publish(
      ['notes:a', 'notes:gone', 'notes:late', 'notes:b'].map((channel) => ({ channel, json: '1' })),
    )
    t.match(lines, [{ channel: 'notes:gone' }, { channel: 'notes:late' }])
    t.strictSame(
      [...counts.errors],
      [
        ['action.unavailable', 1],
        ['action.conflict', 1],
      ],
    )
  },
)
