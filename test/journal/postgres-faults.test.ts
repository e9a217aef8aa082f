import { execFileSync } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { Client } from 'pg'
import t from 'tap'
import type { Placed } from '../../src/journal/journal.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until, within } from '../support/wait.ts'
import { dataOf, freshDatabase, type Node, reached, startNode } from './databases.ts'

t.setTimeout(240_000)

const DURABLE = { settings: { synchronous_commit: 'on' } }

function record(node: Node): string[] {
  return node.entries.map(({ position, message }) => `${position} ${message}`)
}

/** Appends one after another, several at a time, until it is told to stop; resolves with what was accepted. */
function publisher(node: Node, name: string) {
  const accepted = new Map<string, Placed>()
  const running = { now: true }
  const work = async (lane: number): Promise<void> => {
    for (let n = 0; running.now; n++) {
      const data = `${name}.${lane}.${n}`
      const placed = await node.journal.append({
        channel: 'chat:a',
        json: JSON.stringify(data),
        patience: 'wait',
      })
      accepted.set(data, placed)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  const lanes = Promise.all([0, 1, 2, 3].map((lane) => work(lane)))
  return {
    accepted,
    async stop() {
      running.now = false
      await lanes
      return accepted
    },
  }
}

t.test('killed three times under load: nothing accepted is lost, nothing is there twice', async (t) => {
  const server = await startPostgres(t, DURABLE)
  const url = await freshDatabase(server)
  const nodes = await Promise.all([startNode(t, url), startNode(t, url)])
  const publishers = nodes.map((node, index) => publisher(node, `node${index}`))
  const count = () => publishers.reduce((sum, { accepted }) => sum + accepted.size, 0)
  for (let round = 0; round < 3; round++) {
    const before = count()
    await until('they publish', () => count() > before + 100)
    await server.kill()
    await until('both know', () => nodes.every(({ journal }) => !journal.ready))
    await server.restart()
    await until('both are back', () => nodes.every(({ journal }) => journal.ready))
  }
  const before = count()
  await until('they publish again', () => count() > before + 100)
  const accepted = await Promise.all(publishers.map((one) => one.stop()))
  const newest = Math.max(...accepted.flatMap((one) => [...one.values()].map(({ position }) => position)))
  await Promise.all(nodes.map((node) => reached(node, newest)))
  for (const [index, node] of nodes.entries()) {
    t.same(record(node), record(nodes[0]), `node ${index} has the same record`)
    t.same(node.epochs, [], 'the epoch is the same')
    t.equal(node.journal.counts.contradictions, 0)
  }
  const places = new Map(nodes[0].entries.map((entry) => [dataOf(entry) as string, entry.position]))
  t.equal(places.size, nodes[0].entries.length, 'each is there once')
  for (const one of accepted) {
    t.same(
      [...one].filter(([data, { position }]) => places.get(data) !== position),
      [],
      'each that was accepted is where it was said to be',
    )
  }
  for (const lane of ['node0.0', 'node0.3', 'node1.2']) {
    const own = [...places.keys()].filter((data) => data.startsWith(`${lane}.`))
    t.same(
      own,
      Array.from({ length: own.length }, (_value, n) => `${lane}.${n}`),
    )
  }
  // Whoever comes now proves the same.
  const late = await startNode(t, url)
  const page = await late.journal.since(['chat:a'], 0, 100_000)
  t.same([page.lost, page.entries.length], [[], places.size])
})

t.test(
  'the connection is cut while an append is under way: settled once, and the right answer',
  async (t) => {
    const server = await startPostgres(t, DURABLE)
    const url = await freshDatabase(server)
    const proxy = await startProxy(t, url)
    const node = await startNode(t, proxy.url(url))
    await node.journal.append({ channel: 'chat:a', json: '0' })
    const client = new Client({ connectionString: url })
    await client.connect()
    t.teardown(() => client.end())
    for (let round = 1; round <= 3; round++) {
      // The server waits for the position lock while the cable is cut, and commits when nobody listens any more.
      await client.query('BEGIN')
      await client.query("SELECT livemessage.publish('chat:sql', '1')")
      await client.query('SET CONSTRAINTS ALL IMMEDIATE')
      const appending = node.journal.append({ channel: 'chat:a', json: `${round}`, patience: 'wait' })
      const waiting =
        "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%livemessage.append%'"
      await until('it waits for the lock', async () => (await server.psql(waiting)).length > 0)
      if (round === 2) proxy.refuse()
      proxy.cut()
      await until('the node knows', () => !node.journal.ready)
      await client.query('COMMIT')
      proxy.accept()
      const placed = await within('the append', Promise.resolve(appending))
      await reached(node, placed.position)
      await until('the node is back', () => node.journal.ready)
    }
    const own = node.entries.filter(({ channel }) => channel === 'chat:a').map(dataOf)
    t.same(own, [0, 1, 2, 3])
    t.equal(node.journal.counts.settled, 3)
    t.same(node.epochs, [])
  },
)

t.test('in an outage who waits keeps its place, who does not is refused in time', async (t) => {
  const server = await startPostgres(t, DURABLE)
  const url = await freshDatabase(server)
  const proxy = await startProxy(t, url)
  const node = await startNode(t, proxy.url(url), { patienceMs: 300 })
  await node.journal.append({ channel: 'chat:a', json: '0' })
  proxy.refuse()
  proxy.cut()
  await until('the node knows', () => !node.journal.ready)
  const calls = Array.from({ length: 20 }, (_value, n) =>
    node.journal.append({
      channel: 'chat:a',
      json: `${n + 1}`,
      ...(n % 2 === 0 ? { patience: 'wait' as const } : {}),
    }),
  )
  const impatient = await Promise.allSettled(calls.filter((_call, n) => n % 2 === 1))
  t.ok(
    impatient.every(
      (one) => one.status === 'rejected' && (one.reason as { code: string }).code === 'unavailable',
    ),
  )
  proxy.accept()
  const patient = await Promise.all(calls.filter((_call, n) => n % 2 === 0))
  await reached(node, patient.at(-1)!.position)
  t.same(node.seen(), [0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19])
})

t.test('a black hole is noticed, and what was sent into it is placed once', async (t) => {
  const server = await startPostgres(t, DURABLE)
  const url = await freshDatabase(server)
  const proxy = await startProxy(t, url)
  const node = await startNode(t, proxy.url(url), { patienceMs: 200, statementMs: 500 })
  await node.journal.append({ channel: 'chat:a', json: '0' })
  proxy.blackhole(true)
  const waiting = node.journal.append({ channel: 'chat:a', json: '1', patience: 'wait' })
  await t.rejects(Promise.resolve(node.journal.append({ channel: 'chat:a', json: '2' })), {
    code: 'unavailable',
  })
  await until('the node knows', () => !node.journal.ready)
  proxy.blackhole(false)
  const { position } = await within('the append', Promise.resolve(waiting))
  await until('the node is back', () => node.journal.ready)
  const next = await node.journal.append({ channel: 'chat:a', json: '3' })
  await reached(node, next.position)
  t.equal(next.position, position + 1)
  t.same(node.seen(), [0, 1, 3])
})

t.test(
  'what is in doubt is not refused before it is asked about, and then with a word of caution',
  async (t) => {
    const server = await startPostgres(t, DURABLE)
    const url = await freshDatabase(server)
    const proxy = await startProxy(t, url)
    const node = await startNode(t, proxy.url(url), { patienceMs: 200, statementMs: 300 })
    await node.journal.append({ channel: 'chat:a', json: '0' })
    proxy.blackhole(true)
    const sent = node.journal.append({ channel: 'chat:a', json: '1', key: 'k' })
    const never = node.journal.append({ channel: 'chat:a', json: '2' })
    await t.rejects(Promise.resolve(never), {
      code: 'unavailable',
      message: 'the database can not be reached at the moment',
    })
    await t.rejects(Promise.resolve(sent), { code: 'unavailable', message: /may have been published/ })
    proxy.blackhole(false)
    await until('the node is back', () => node.journal.ready)
    const again = await node.journal.append({ channel: 'chat:a', json: '1', key: 'k' })
    t.equal(again.duplicate, true, 'with its key it may be tried again')
    await reached(node, again.position)
    t.same(node.seen(), [0, 1])
  },
)

t.test('what the server would not take is refused, and its neighbours are not', async (t) => {
  const server = await startPostgres(t)
  const url = await freshDatabase(server)
  const node = await startNode(t, url)
  const drafts = Array.from({ length: 40 }, (_value, n) => ({
    channel: 'chat:a',
    json: n === 17 || n === 30 ? `"${n}\u0000"` : `"${n}"`,
  }))
  const results = await Promise.allSettled(drafts.map((draft) => node.journal.append(draft)))
  const refused = results.flatMap((result, n) => (result.status === 'rejected' ? [n] : []))
  t.same(refused, [17, 30])
  t.match(results[17], { reason: { name: 'ClientError', code: 'invalid_input' } })
  await until('all are there', () => node.entries.length === 38)
  t.same(
    node.seen(),
    drafts.flatMap((_draft, n) => (refused.includes(n) ? [] : [`${n}`])),
  )
  const escaped = await node.journal.append({ channel: 'chat:a', json: '"\\u0000 \\ud800"' })
  await reached(node, escaped.position)
  t.equal(node.seen().at(-1), '\u0000 \ud800', 'escaped, it is a text like others')
})

t.test('more than the queue may hold is refused at once', async (t) => {
  const server = await startPostgres(t)
  const url = await freshDatabase(server)
  const proxy = await startProxy(t, url)
  const node = await startNode(t, proxy.url(url), { queueDrafts: 10, patienceMs: 60_000 })
  proxy.refuse()
  proxy.cut()
  await until('the node knows', () => !node.journal.ready)
  const calls = Array.from({ length: 12 }, (_value, n) =>
    Promise.resolve(node.journal.append({ channel: 'chat:a', json: `${n}` })),
  )
  await t.rejects(calls[10]!, { code: 'unavailable' })
  await t.rejects(calls[11]!, { code: 'unavailable' })
  proxy.accept()
  t.equal((await Promise.all(calls.slice(0, 10))).length, 10)
})

t.test('what is too large to be appended together is refused, even where nothing waits', async (t) => {
  const server = await startPostgres(t)
  const url = await freshDatabase(server)
  const node = await startNode(t, url)
  const mib = { channel: 'chat:a', json: JSON.stringify('x'.repeat(1024 * 1024)) }
  const refusal = {
    name: 'ClientError',
    code: 'too_large',
    message: /^at most 16000000 bytes can be published/,
  }
  await t.rejects(node.journal.appendAll(Array.from({ length: 1000 }, () => mib)), refusal)
  await t.rejects(node.journal.append({ channel: 'chat:a', json: `"${'ü'.repeat(8_000_000)}"` }), refusal)
  const placed = await node.journal.appendAll(Array.from({ length: 15 }, () => mib))
  await reached(node, placed.at(-1)!.position)
  t.equal(node.entries.length, 15)

  const small = await startNode(t, url, { queueBytes: 10_000 })
  await t.rejects(small.journal.append(mib), { code: 'too_large', message: /10000 bytes/ })
})

t.test('what can not even be sent is refused, and holds nobody up', async (t) => {
  const server = await startPostgres(t)
  const url = await freshDatabase(server)
  let broken = false
  const unsayable = {
    toPostgres() {
      throw new RangeError('Invalid string length')
    },
  }
  const idempotencyMs = () => (broken ? (unsayable as unknown as number) : 60_000)
  const node = await startNode(t, url, { idempotencyMs })
  broken = true
  await within(
    'the answer',
    t.rejects(node.journal.append({ channel: 'chat:a', json: '1', patience: 'wait' }), {
      code: 'invalid_input',
      cause: { name: 'RangeError' },
    }),
  )
  broken = false
  const placed = await node.journal.append({ channel: 'chat:a', json: '2' })
  await reached(node, placed.position)
  t.same(node.seen(), [2])
})

t.test('a draft under a lease that another node has by now is not appended', async (t) => {
  const server = await startPostgres(t)
  const url = await freshDatabase(server)
  const node = await startNode(t, url)
  const client = new Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  const take = async (holder: string) => {
    await client.query("UPDATE livemessage.lease SET until = '-infinity'")
    const { rows } = await client.query<{ token: string }>(
      'SELECT livemessage.lease_take($1, $2, 60000) AS token',
      ['leader', holder],
    )
    return Number(rows[0]!.token)
  }
  const lease = await take('one')
  const held = await node.journal.append({ channel: 'chat:a', json: '1', lease })
  await take('two')
  const [lost, without] = await Promise.allSettled([
    node.journal.append({ channel: 'chat:a', json: '2', lease }),
    node.journal.append({ channel: 'chat:a', json: '3' }),
  ])
  t.match(lost, { status: 'rejected', reason: { name: 'LeaseLost' } })
  t.equal(without.status, 'fulfilled')
  await reached(node, held.position + 1)
  t.same(node.seen(), [1, 3])
})

t.test('started without a database it comes up by itself, and what waited is placed', async (t) => {
  const server = await startPostgres(t, DURABLE)
  const url = await freshDatabase(server)
  await server.stop()
  const node = await startNode(t, url)
  t.equal(node.journal.ready, false)
  t.equal(node.journal.epoch, '')
  t.type(node.journal.reason, 'string')
  t.throws(() => node.journal.since(['chat:a'], 0, 10), { code: 'unavailable' })
  const waiting = node.journal.append({ channel: 'chat:a', json: '1', patience: 'wait' })
  await server.restart()
  const { position } = await within('the append', Promise.resolve(waiting))
  await until('it is ready', () => node.journal.ready)
  await reached(node, position)
  t.match(node.journal.epoch, /^[0-9a-f]{12}$/)
  t.same(node.seen(), [1])
})

t.test('it stops in every state, and leaves nothing behind', async (t) => {
  const server = await startPostgres(t)
  const url = await freshDatabase(server)
  const proxy = await startProxy(t, url)
  const starting = await startNode(t, proxy.url(url))
  await within('a stop', starting.journal.stop())
  await starting.journal.stop()
  t.equal(starting.journal.ready, false)
  await t.rejects(starting.journal.append({ channel: 'chat:a', json: '1' }), { code: 'unavailable' })
  await starting.notifications.stop()

  const busy = await startNode(t, proxy.url(url), { stopMs: 300, statementMs: 60_000 })
  proxy.blackhole(true)
  const inHand = Promise.allSettled([
    busy.journal.append({ channel: 'chat:a', json: '1', patience: 'wait' }),
    busy.journal.append({ channel: 'chat:a', json: '2', patience: 'wait' }),
    busy.journal.since(['chat:a'], 0, 10),
  ])
  await within('a stop in a black hole', busy.journal.stop(), 8000)
  t.match(await inHand, [{ status: 'rejected' }, { status: 'rejected' }, {}])
  await busy.notifications.stop()
  proxy.blackhole(false)
  proxy.refuse()
  const down = await startNode(t, proxy.url(url))
  await within('a stop while it is down', down.journal.stop())
  await down.notifications.stop()
  await until('no connection is left', () => proxy.clients === 0)
})

t.test('the database is restored from an older backup', async (t) => {
  const server = await startPostgres(t, DURABLE)
  const url = await freshDatabase(server)
  const [{ data_directory: data }] = (await server.psql('SHOW data_directory')) as [
    { data_directory: string },
  ]
  const backup = `${data}.backup`
  const copy = (from: string, to: string) => execFileSync('cp', ['-a', from, to])
  t.teardown(() => rm(backup, { recursive: true, force: true }))

  const first = await startNode(t, url)
  for (let n = 0; n < 5; n++) await first.journal.append({ channel: 'chat:a', json: `${n}` })
  const { epoch } = first.journal
  await server.stop()
  copy(data, backup)
  await server.restart()
  await until('the node is back', () => first.journal.ready)
  t.equal(first.journal.epoch, epoch, 'a restart changes nothing')
  for (let n = 5; n < 10; n++) await first.journal.append({ channel: 'chat:a', json: `${n}` })
  const restore = async () => {
    await server.stop()
    await rm(data, { recursive: true, force: true })
    copy(backup, data)
    await server.restart()
  }

  await t.test('with a node up, and overtaken by publishers before it looks', async (t) => {
    const proxy = await startProxy(t, url)
    const cut = await startNode(t, proxy.url(url))
    t.equal(cut.journal.head, 10)
    proxy.refuse()
    proxy.cut()
    await first.journal.stop()
    await first.notifications.stop()
    await restore()
    for (let n = 0; n < 10; n++) await server.psql('SELECT 1')
    const client = new Client({ connectionString: url })
    await client.connect()
    for (let n = 0; n < 8; n++) await client.query("SELECT livemessage.publish('chat:a', '\"other\"')")
    await client.end()
    proxy.accept()
    await until('a new epoch', () => cut.epochs.length > 0)
    await until('the node is back', () => cut.journal.ready)
    t.not(cut.journal.epoch, epoch)
    t.ok(cut.journal.head >= 13)
    const placed = await cut.journal.append({ channel: 'chat:a', json: '"new"' })
    await reached(cut, placed.position)
    t.same((await cut.journal.last(['chat:a'], 2)).entries.map(dataOf), ['other', 'new'])
  })

  await t.test('with all of them down', async (t) => {
    const before = await startNode(t, url)
    const { epoch: known } = before.journal
    await before.journal.stop()
    await before.notifications.stop()
    await restore()
    const after = await startNode(t, url)
    t.equal(after.journal.ready, true)
    t.not(after.journal.epoch, known)
    t.not(after.journal.epoch, epoch)
    t.equal(after.epochs.length, 0, 'it is the first one that this node knows')
  })

  await t.test('a restart with all of them down changes nothing', async (t) => {
    const before = await startNode(t, url)
    const { epoch: known } = before.journal
    await before.journal.stop()
    await before.notifications.stop()
    await server.restart()
    const after = await startNode(t, url)
    t.equal(after.journal.epoch, known)
  })
})

t.test('a crash that forgets answered commits begins a new epoch, for all nodes at once', async (t) => {
  const server = await startPostgres(t, {
    settings: { synchronous_commit: 'off', wal_writer_delay: '10000ms' },
  })
  const url = await freshDatabase(server)
  const nodes = await Promise.all([startNode(t, url), startNode(t, url)])
  await server.psql('CHECKPOINT')
  for (let n = 0; n < 10; n++) await nodes[0].journal.append({ channel: 'chat:a', json: `${n}` })
  await Promise.all(nodes.map((node) => reached(node, 10)))
  await server.kill()
  await server.restart()
  const [{ count }] = (await new Promise<Record<string, unknown>[]>((resolve, reject) => {
    const client = new Client({ connectionString: url })
    client
      .connect()
      .then(() => client.query('SELECT count(*)::int FROM livemessage.journal'))
      .then(({ rows }) => client.end().then(() => resolve(rows as Record<string, unknown>[])))
      .catch(reject)
  })) as [{ count: number }]
  t.ok(count < 10, `the crash forgot ${10 - count}`)
  await until('both know', () => nodes.every(({ epochs, journal }) => epochs.length > 0 && journal.ready))
  await until('they agree', () => nodes[0].journal.epoch === nodes[1].journal.epoch)
  const placed = await nodes[1].journal.append({ channel: 'chat:a', json: '"after"' })
  t.ok(placed.position > 10, 'no position stands for two publications')
  await Promise.all(nodes.map((node) => reached(node, placed.position)))
  t.ok(nodes.every((node) => node.seen().at(-1) === 'after'))
})

t.test('a new epoch by hand is taken over by all nodes', async (t) => {
  const server = await startPostgres(t)
  const url = await freshDatabase(server)
  const nodes = await Promise.all([startNode(t, url), startNode(t, url)])
  await nodes[0].journal.append({ channel: 'chat:a', json: '1' })
  const client = new Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ epoch: string }>("SELECT livemessage.new_epoch('by hand') AS epoch")
  await client.end()
  await until('both have it', () => nodes.every(({ journal }) => journal.epoch === rows[0]!.epoch))
  t.ok(nodes.every(({ epochs }) => epochs.length === 1))
  const placed = await nodes[0].journal.append({ channel: 'chat:a', json: '2' })
  await Promise.all(nodes.map((node) => reached(node, placed.position)))
  t.same((await nodes[1].journal.last(['chat:a'], 5)).entries.map(dataOf), [1, 2])
})

t.test('appends that nobody answers are told, though the server is there', async (t) => {
  const url = await freshDatabase(await startPostgres(t))
  const node = await startNode(t, url, { patienceMs: 200 })
  const client = new Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  await client.query('BEGIN; LOCK TABLE livemessage.journal IN EXCLUSIVE MODE')
  t.equal(node.journal.ready, true)
  const placed = node.journal.append({ channel: 'chat:a', json: '1', patience: 'wait' })
  await until('it is told', () => !node.journal.ready)
  t.equal(node.journal.reason, 'appends are not answered')
  await client.query('COMMIT')
  await placed
  t.same([node.journal.ready, node.journal.reason], [true, null])
})
