import { Client } from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { dataOf, freshDatabase, type Node, reached, RETENTION, startNode } from './databases.ts'

t.setTimeout(120_000)

const server = await startPostgres(t, { settings: { synchronous_commit: 'on' } })

async function connect(t: Test, url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

const PUBLISH = 'SELECT livemessage.publish($1, to_jsonb($2::text))'

function record(node: Node): string[] {
  return node.entries.map(({ position, channel, message }) => `${position} ${channel} ${message}`)
}

t.test('a transaction that began first and commits last gets the later position', async (t) => {
  const url = await freshDatabase(server)
  const [one, two] = await Promise.all([startNode(t, url), startNode(t, url)])
  const [first, second] = await Promise.all([connect(t, url), connect(t, url)])
  await first.query('BEGIN')
  await first.query(PUBLISH, ['chat:a', 'began first'])
  await second.query('BEGIN')
  await second.query(PUBLISH, ['chat:a', 'began second'])
  const placed = await one.journal.append({ channel: 'chat:a', json: '"a node"' })
  await second.query('COMMIT')
  await first.query('COMMIT')
  await Promise.all([one, two].map((node) => reached(node, placed.position + 2)))
  t.same(one.seen(), ['a node', 'began second', 'began first'])
  t.same(record(one), record(two))
  t.equal(one.journal.counts.contradictions, 0)
})

t.test('a rolled back transaction leaves a void that nobody waits for', async (t) => {
  const url = await freshDatabase(server)
  const [one, two] = await Promise.all([startNode(t, url), startNode(t, url)])
  const client = await connect(t, url)
  await client.query('BEGIN')
  await client.query(PUBLISH, ['chat:a', 'never'])
  await client.query('SET CONSTRAINTS ALL IMMEDIATE') // the position is taken here
  await client.query('ROLLBACK')
  const placed = await one.journal.append({ channel: 'chat:a', json: '"then"' })
  await Promise.all([one, two].map((node) => reached(node, placed.position)))
  t.equal(placed.position, 2)
  t.same([one.seen(), two.seen()], [['then'], ['then']])
  const page = await two.journal.since(['chat:a'], 0, 10)
  t.same([page.lost, page.entries.length], [[], 1])
  t.equal(two.journal.counts.jumps, 1)
  t.equal(two.journal.counts.contradictions, 0)
})

t.test('nodes and SQL publishers at once: all nodes see one order, without gap or repetition', async (t) => {
  const url = await freshDatabase(server)
  const nodes = await Promise.all([startNode(t, url), startNode(t, url), startNode(t, url)])
  const clients = await Promise.all([connect(t, url), connect(t, url), connect(t, url)])
  const work: Promise<unknown>[] = []
  for (const [index, client] of clients.entries()) {
    work.push(
      (async () => {
        for (let n = 0; n < 60; n++) {
          const level = ['READ COMMITTED', 'REPEATABLE READ'][n % 2]
          await client.query(`BEGIN ISOLATION LEVEL ${level}`)
          await client.query(PUBLISH, [`chat:sql${index}`, `${n}`])
          if (n % 4 === 0) await client.query(PUBLISH, ['chat:other', `${index} ${n}`])
          await client.query(n % 7 === 6 ? 'ROLLBACK' : 'COMMIT')
        }
      })(),
    )
  }
  for (const [index, { journal }] of nodes.entries()) {
    for (let n = 0; n < 300; n++) {
      work.push(Promise.resolve(journal.append({ channel: `chat:node${index}`, json: `"${n}"` })))
      if (n % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  await Promise.all(work)
  const [{ newest }] = (await server.psql('SELECT 1 AS newest')) as [{ newest: number }]
  t.equal(newest, 1)
  const rows = (
    await clients[0].query<{ position: string }>('SELECT position FROM livemessage.journal ORDER BY 1')
  ).rows
  await Promise.all(nodes.map((node) => reached(node, Number(rows.at(-1)!.position))))
  for (const node of nodes) {
    t.same(
      node.entries.map(({ position }) => position),
      rows.map(({ position }) => Number(position)),
    )
    t.same(record(node), record(nodes[0]))
    t.equal(node.journal.counts.contradictions, 0)
  }
  for (const index of [0, 1, 2]) {
    const own = nodes[0].entries.filter(({ channel }) => channel === `chat:node${index}`).map(dataOf)
    t.same(
      own,
      Array.from({ length: 300 }, (_value, n) => `${n}`),
    )
  }
})

t.test('publications too large for a NOTIFY come through the table, in their place', async (t) => {
  const url = await freshDatabase(server)
  const [one, two] = await Promise.all([startNode(t, url), startNode(t, url)])
  const client = await connect(t, url)
  const sizes = [10, 7800, 7990, 8001, 20, 1_000_000, 30]
  for (const [index, size] of sizes.entries()) {
    if (index % 2 === 0) await client.query(PUBLISH, ['chat:a', 'x'.repeat(size)])
    else await two.journal.append({ channel: 'chat:a', json: JSON.stringify('ü'.repeat(size / 2)) })
  }
  const all = await one.journal.appendAll(
    sizes.map((size) => ({ channel: 'chat:a', json: JSON.stringify('y'.repeat(size)) })),
  )
  await Promise.all([one, two].map((node) => reached(node, all.at(-1)!.position)))
  t.same(
    two.seen().map((data) => (data as string).length),
    [...sizes.map((size, index) => (index % 2 === 0 ? size : Math.floor(size / 2))), ...sizes],
  )
  t.same(record(one), record(two))
  t.equal(two.journal.counts.contradictions, 0)
})

t.test('with positions only, nothing can be overheard, and everything arrives', async (t) => {
  const url = await freshDatabase(server)
  const client = await connect(t, url)
  await client.query('UPDATE livemessage.meta SET notify_data = false')
  const [one, two] = await Promise.all([startNode(t, url), startNode(t, url)])
  const heard: string[] = []
  client.on('notification', ({ payload }) => heard.push(payload ?? ''))
  await client.query('LISTEN livemessages_journal')
  await one.journal.append({ channel: 'chat:a', json: '"secret"' })
  await client.query(PUBLISH, ['chat:a', 'secret'])
  const last = await two.journal.append({ channel: 'chat:a', json: '"secret"' })
  await Promise.all([one, two].map((node) => reached(node, last.position)))
  await client.query('SELECT 1')
  t.equal(heard.length, 3)
  t.notOk(heard.some((payload) => payload.includes('secret')))
  t.same([one.seen().length, two.seen().length], [3, 3])
  // Nor forged: what any role says is no more than a hint to look.
  const { epoch } = one.journal
  await client.query(`NOTIFY livemessages_journal, E'${last.position + 1} 1 1 4711\\nchat:a "forged"'`)
  await client.query(PUBLISH, ['chat:a', 'after it'])
  await Promise.all([one, two].map((node) => reached(node, last.position + 1)))
  for (const node of [one, two]) {
    t.notOk(node.seen().includes('forged'))
    t.equal(node.seen().at(-1), 'after it')
    t.equal(node.journal.epoch, epoch)
  }
})

t.test('a burst of 10,000 in one transaction arrives whole and in order', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url, { windowBytes: 16 * 1024 * 1024 })
  const client = await connect(t, url)
  await client.query(`SELECT livemessage.publish('chat:a', to_jsonb(n)) FROM generate_series(1, 10000) AS n`)
  await until('all are there', () => one.entries.length >= 10_000)
  t.same(
    one.seen(),
    Array.from({ length: 10_000 }, (_value, index) => index + 1),
  )
  t.equal(one.journal.counts.contradictions, 0)
})

t.test('what anybody may NOTIFY crashes nothing and moves no head', async (t) => {
  const url = await freshDatabase(server)
  const node = await startNode(t, url)
  const client = await connect(t, url)
  const placed = await node.journal.append({ channel: 'chat:a', json: '1' })
  const forged = [
    '',
    'nonsense',
    '1 2 3',
    '-1 1 1 1\nchat:a 1',
    '1e3 1 1 1\nchat:a 1',
    `${placed.position} 1 1 777\nchat:a "another"`,
    `${placed.position + 1} 1 1 777\nno channel`,
    `${placed.position + 1} 2 1 777\nchat:a 1`,
    `${placed.position + 1} 1 1 777\nchat:a 1\nchat:a 2`,
    `${placed.position + 1} 1 1 777\nchat:a" 1`,
    `${placed.position + 1} 1 1 777\n`,
    `${placed.position + 1} 1 1 777`,
    '9007199254740990 1 1 777\nchat:a 1',
    '9007199254740991 1 1 777\nchat:a 1',
    '1 9007199254740991 1 777\nchat:a 1',
    'epoch ffffffffffff',
    'epoch ',
  ]
  for (const payload of forged) await client.query("SELECT pg_notify('livemessages_journal', $1)", [payload])
  await client.query(PUBLISH, ['chat:a', 'real'])
  await reached(node, placed.position + 1)
  t.same(node.seen(), [1, 'real'])
  t.equal(node.epochs.length, 0)
  // What was real may have been read meanwhile, ahead of its own NOTIFY and of those before it.
  await until('they are counted', () => node.journal.counts.contradictions >= 5)
  await until('it is at rest', () => node.journal.ready)
  const next = await node.journal.append({ channel: 'chat:a', json: '2' })
  t.equal(next.position, placed.position + 2)
})

t.test('a forged publication that was believed begins a new epoch when the real one comes', async (t) => {
  const url = await freshDatabase(server)
  const node = await startNode(t, url)
  const client = await connect(t, url)
  const { position } = await node.journal.append({ channel: 'chat:a', json: '1' })
  await client.query("SELECT pg_notify('livemessages_journal', $1)", [
    `${position + 1} 1 1 777\nchat:a "forged"`,
  ])
  await reached(node, position + 1)
  t.same(node.seen(), [1, 'forged'])
  await client.query(PUBLISH, ['chat:a', 'real'])
  await until('a new epoch', () => node.epochs.length === 1)
  t.same((await node.journal.last(['chat:a'], 10)).entries.map(dataOf), [1, 'real'])
  const next = await node.journal.append({ channel: 'chat:a', json: '2' })
  await reached(node, next.position)
  t.same(node.seen(), [1, 'forged', 2])
})

t.test('a node that starts has the newest in its window, and asks for the rest', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url)
  for (let n = 0; n < 50; n++) {
    await one.journal.append({ channel: `chat:${n % 2}`, json: JSON.stringify(`${n} ${'x'.repeat(500)}`) })
  }
  const two = await startNode(t, url, { windowBytes: 15_000 })
  t.equal(two.journal.head, 50)
  const recent = two.journal.since(['chat:0', 'chat:1'], 40, 100)
  t.notOk(recent instanceof Promise, 'served from memory')
  t.equal((await recent).entries.length, 10)
  t.equal(two.journal.counts.queries, 0)
  const all = await two.journal.since(['chat:0', 'chat:1'], 0, 100)
  t.same([all.lost, all.entries.length, all.more], [[], 50, false])
  t.same(
    all.entries.map(({ position }) => position),
    Array.from({ length: 50 }, (_value, index) => index + 1),
  )
  t.equal(two.journal.counts.queries, 1)
})

t.test('a thousand that come back at once cost a handful of queries', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url)
  const drafts = Array.from({ length: 1000 }, (_value, n) => ({ channel: `chat:${n}`, json: `"${n}"` }))
  await Promise.all(drafts.map((draft) => one.journal.append(draft)))
  const two = await startNode(t, url, { windowBytes: 1000 })
  const pages = await Promise.all(drafts.map(async ({ channel }) => two.journal.since([channel], 0, 10)))
  t.ok(pages.every((page, n) => page.lost.length === 0 && dataOf(page.entries[0]!) === `${n}`))
  t.ok(two.journal.counts.queries <= 5, `${two.journal.counts.queries} queries`)
  const same = await Promise.all(drafts.map(async () => two.journal.since(['chat:1'], 0, 10)))
  t.equal(same.length, 1000)
  t.ok(two.journal.counts.queries <= 7, 'who asks the same waits for one answer')
})

t.test(
  'a cursor of a node that is ahead is waited for, and not taken for one that proves nothing',
  async (t) => {
    const url = await freshDatabase(server)
    const proxy = await startProxy(t, url)
    const ahead = await startNode(t, url)
    const slow = await startNode(t, url, { notificationsUrl: proxy.url(url) })
    await slow.journal.caughtUp() // what it asked at its start is done with
    proxy.delay(5_000) // NOTIFYs come late, queries do not
    for (let n = 0; n < 5; n++) await ahead.journal.append({ channel: 'chat:a', json: `${n}` })
    t.equal(slow.journal.head, 0)
    const page = await slow.journal.since(['chat:a'], 4, 10)
    t.same([page.lost, page.entries.map(dataOf)], [[], [4]])
    t.same(slow.seen(), [0, 1, 2, 3, 4])
    t.same((await slow.journal.since(['chat:a'], 6, 10)).lost, ['chat:a'], 'what nobody has is lost')
    await ahead.journal.append({ channel: 'chat:a', json: '5' })
    await slow.journal.caughtUp()
    t.equal(slow.journal.head, 6)
    proxy.delay(0)
  },
)

t.test('cursors that somebody made up cost a catch-up now and then', async (t) => {
  const url = await freshDatabase(server)
  const node = await startNode(t, url, { quietMs: 100 })
  const { position } = await node.journal.append({ channel: 'chat:a', json: '1' })
  const before = node.journal.counts.catchUps
  const began = performance.now()
  let calls = 0
  const lanes = Array.from({ length: 20 }, async (_value, lane) => {
    while (performance.now() - began < 500) {
      // Some are just above what there is: of those nobody can tell without a look.
      const invented = lane < 10 ? 9_007_199_254_740_991 - calls : position + 1 + lane
      const page = await node.journal.since(['chat:a'], invented, 10)
      if (page.lost[0] !== 'chat:a') t.fail('it proves nothing')
      calls++
      if (lane < 10) await new Promise((resolve) => setTimeout(resolve, 1))
    }
  })
  await Promise.all(lanes)
  const rounds = node.journal.counts.catchUps - before
  t.comment(`${calls} calls, ${rounds} catch-ups`)
  t.ok(calls > 200)
  t.ok(rounds <= 8, `${rounds} catch-ups in 500 ms`)
})

t.test('who comes from a node that is ahead is served at once, and holds nothing up', async (t) => {
  const url = await freshDatabase(server)
  const proxy = await startProxy(t, url)
  const one = await startNode(t, url)
  const behind = await startNode(t, proxy.url(url), { notificationsUrl: url })
  await one.journal.append({ channel: 'chat:a', json: '1' })
  await reached(behind, 1)
  proxy.delay(500)
  let answered = false
  const asked = Promise.resolve(behind.journal.since(['chat:a'], 2, 10)).finally(() => (answered = true))
  // The table is being read; what NOTIFYs bring is delivered meanwhile.
  for (const json of ['2', '3']) await one.journal.append({ channel: 'chat:a', json })
  await reached(behind, 3)
  t.same(behind.seen(), [1, 2, 3])
  t.equal(answered, false)
  proxy.delay(0)
  const page = await asked
  t.same([page.lost, page.entries.map(dataOf)], [[], [3]])
  t.equal(behind.journal.counts.contradictions, 0)
})

t.test('a page that would be too many bytes is cut, and the next one goes on there', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url, { windowBytes: 1000 })
  const drafts = Array.from({ length: 30 }, (_value, n) => ({
    channel: `chat:${n % 3}`,
    json: JSON.stringify(`${n} ${'x'.repeat(1_000_000)}`),
  }))
  await Promise.all(drafts.map((draft) => one.journal.append(draft)))
  const seen: number[] = []
  let position = 0
  let pages = 0
  for (;;) {
    const page = await one.journal.since(['chat:0', 'chat:1', 'chat:2'], position, 1000)
    t.same(page.lost, [])
    seen.push(...page.entries.map((entry) => entry.position))
    position = page.upTo
    pages++
    if (!page.more) break
  }
  t.same(
    seen,
    Array.from({ length: 30 }, (_value, index) => index + 1),
  )
  t.ok(pages > 1 && pages < 5)
})

t.test('retention that was applied in the table is told to who comes after', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url)
  for (let n = 0; n < 10; n++) await one.journal.append({ channel: 'chat:a', json: `${n}` })
  await server.psql('SELECT 1')
  const client = await connect(t, url)
  await client.query("INSERT INTO livemessage.floor VALUES ('chat', 5)")
  await client.query('DELETE FROM livemessage.journal WHERE position <= 5')
  const two = await startNode(t, url, { windowBytes: 300 })
  t.same((await two.journal.since(['chat:a'], 4, 100)).lost, ['chat:a'])
  const page = await two.journal.since(['chat:a'], 5, 100)
  t.same([page.lost, page.entries.map(dataOf)], [[], [5, 6, 7, 8, 9]])
})

t.test('an idle journal that was swept empty keeps its epoch and its head', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url)
  for (let n = 0; n < 3; n++) await one.journal.append({ channel: 'chat:a', json: `${n}` })
  const client = await connect(t, url)
  await client.query("INSERT INTO livemessage.floor VALUES ('chat', 3)")
  await client.query('DELETE FROM livemessage.journal')
  const next = await one.journal.append({ channel: 'chat:a', json: '3' })
  t.equal(next.position, 4)
  await reached(one, 4)
  const two = await startNode(t, url)
  t.equal(two.journal.head, 4)
  await client.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()',
  )
  await until('both are back', async () => one.journal.ready && two.journal.ready)
  await one.journal.append({ channel: 'chat:a', json: '4' })
  await Promise.all([one, two].map((node) => reached(node, 5)))
  t.same([one.epochs, two.epochs], [[], []])
})

t.test('retention that a reload makes longer brings back nothing that is a lie', async (t) => {
  const url = await freshDatabase(server)
  const one = await startNode(t, url)
  one.journal.retain(new Map([['chat', { count: 2, maxAgeMs: 60_000 }]]))
  for (let n = 0; n < 5; n++) await one.journal.append({ channel: 'chat:a', json: `${n}` })
  t.same((await one.journal.since(['chat:a'], 0, 100)).lost, ['chat:a'])
  one.journal.retain(RETENTION)
  const page = await one.journal.since(['chat:a'], 0, 100)
  t.same([page.lost, page.entries.map(dataOf)], [[], [0, 1, 2, 3, 4]])
})
