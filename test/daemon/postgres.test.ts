import t, { type Test } from 'tap'
import type { StartHook } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

// A PostgreSQL of its own that is down, dies, and comes back; and what may come by NOTIFY.

const postgres = await startPostgres(t)
const CONFIG: TestConfig = {
  postgres: { url: postgres.url },
  // What a journal in PostgreSQL does in an outage is in test/nodes and test/journal.
  journal: 'memory',
  ACTIONS: {
    messages: {
      sender: {
        notify: 'mail',
        route: ({ data }: { data: { to?: number } }) =>
          data.to === undefined ? null : `messages:${data.to}`,
      },
    },
  },
  channels: {
    chat: { access: 'public', history: { count: 100 } },
    messages: { access: 'public' },
  },
}
const notify = (payload: string, name = 'livemessages') =>
  postgres.psql('select pg_notify($1, $2)', [name, payload])
const say = (data: unknown) => notify(JSON.stringify({ channel: 'chat:a', data }))

t.test('down at start: it starts and says so; up: it works', async (t) => {
  await postgres.stop()
  const daemon = await startDaemon(t, CONFIG)
  await notReady(t, daemon)
  t.match(daemon.started.parts, [
    { name: 'node' },
    {},
    { name: 'bus postgres', ready: false },
    { name: 'database', ready: false },
  ])
  t.equal((await daemon.publish('chat:a', 'by HTTP')).status, 200, 'what does not need it works')
  await postgres.restart()
  await ready(daemon)
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  await say('hello')
  t.match(await client.next({ type: 'message' }), { data: 'hello' })
  once(t, daemon)
  t.equal(daemon.daemon.counts.sourceGaps, 1, 'what came before it could listen is gone, and that is said')
})

t.test(
  'killed, and back: what was published before and after arrives, on the connection that stays',
  async (t) => {
    const daemon = await startDaemon(t, CONFIG)
    await ready(daemon)
    const client = await connect(t, daemon)
    await client.subscribe('chat:a')
    await say('before')
    t.match(await client.next({ type: 'message' }), { data: 'before' })
    await postgres.kill()
    await notReady(t, daemon)
    t.equal((await daemon.publish('chat:a', 'meanwhile')).status, 200)
    await postgres.restart()
    await ready(daemon)
    await say('after')
    t.match(await client.next({ type: 'message' }), { data: 'meanwhile' })
    t.match(await client.next({ type: 'message' }), { data: 'after' })
    once(t, daemon)
    t.match(await metrics(daemon), 'livemessages_source_gaps_total 1')
  },
)

t.test('NOTIFY: the longest that PostgreSQL takes arrives whole', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  const empty = JSON.stringify({ channel: 'chat:a', data: '' })
  const text = 'x'.repeat(7999 - empty.length)
  await say(text)
  t.equal((await client.next({ type: 'message' }))['data'], text)
  await t.rejects(say(`${text}x`), /payload string too long/, "8,000 bytes are PostgreSQL's to refuse")
})

t.test(
  'NOTIFY: what is none is refused, counted, logged with its reason; the next one arrives',
  async (t) => {
    const daemon = await startDaemon(t, CONFIG)
    const client = await connect(t, daemon)
    await client.subscribe('chat:a')
    await client.subscribe('messages:7')
    const wrong: readonly (readonly [payload: string, code: string])[] = [
      ['not JSON', 'bad_payload'],
      ['{"data":1}', 'no_channel'],
      ['[1]', 'no_channel'],
      ['{"channel":"chat","data":1}', 'bad_channel'],
      ['{"channel":"nobody:a","data":1}', 'unknown_channel'],
      ['{"channel":"chat:a"}', 'no_data'],
    ]
    for (const [payload] of wrong) await notify(payload)
    await notify('nonsense', 'mail')
    await notify('{"to":7,"text":"hi"}', 'mail')
    await notify('{"of":"no interest"}', 'mail')
    await say('good')
    t.match(await client.next({ channel: 'messages:7', type: 'message' }), { data: { to: 7, text: 'hi' } })
    t.match(await client.next({ channel: 'chat:a', type: 'message' }), { data: 'good' })
    t.strictSame(client.rest('message'), [], 'and nothing else')
    const refused = daemon.lines.filter(({ msg }) => msg === 'notification refused')
    t.match(
      refused.map(({ code }) => code),
      [...wrong.map(([, code]) => code), 'bad_payload'],
    )
    for (const { source, reason, place } of refused)
      t.match({ source, reason, place }, { source: 'postgres', reason: /.{10}/ })
    const text = await metrics(daemon)
    t.match(text, 'livemessages_errors_total{code="postgres.bad_payload"} 2')
    t.match(text, 'livemessages_errors_total{code="postgres.no_channel"} 2')
  },
)

t.test("a reload: a new sender's NOTIFY name is heard, an old one no longer", async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const client = await connect(t, daemon)
  await client.subscribe('chat:a')
  const route = (): string => 'chat:a'
  await daemon.reload({ ...CONFIG, ACTIONS: { chat: { sender: { notify: 'fresh', route } } } })
  await notify('{"to":7}', 'mail')
  await notify('"heard"', 'fresh')
  t.match(await client.next({ type: 'message' }), { data: 'heard' })
  t.strictSame(
    daemon.lines.filter(({ msg }) => msg === 'notification refused'),
    [],
  )
})

t.test('a start hook says at each start what is still to be done', async (t) => {
  await postgres.psql('CREATE TABLE pending AS SELECT 1 AS id')
  const start: StartHook = async ({ db, publish }) => {
    const { rows } = await db.query<{ id: number }>('SELECT id FROM pending ORDER BY id')
    for (const row of rows) await publish('chat:pending', row)
  }
  const told = async (): Promise<unknown[]> => {
    const daemon = await startDaemon(t, { ...CONFIG, hooks: { start } })
    const client = await connect(t, daemon)
    const { messages } = await client.subscribe('chat:pending', { last: 10 })
    await daemon.stop('restart')
    return (messages as { data: unknown }[]).map(({ data }) => data)
  }
  t.strictSame(await told(), [{ id: 1 }])
  await postgres.psql('INSERT INTO pending VALUES (2)')
  t.strictSame(await told(), [{ id: 1 }, { id: 2 }])
  await postgres.psql('DELETE FROM pending WHERE id = 1')
  t.strictSame(await told(), [{ id: 2 }])
})

async function notReady(t: Test, daemon: TestDaemon): Promise<void> {
  const parts = await until('red', async () => {
    const response = await fetch(`${daemon.url}/readyz`)
    const body = (await response.json()) as { parts: { name: string; state: string }[] }
    const names = body.parts.filter(({ state }) => state === 'down').map(({ name }) => name)
    return response.status === 503 && names.length === 3 && body.parts
  })
  t.match(parts, [
    {},
    {},
    { name: 'bus postgres', state: 'down' },
    { name: 'database', state: 'down', reason: /.{5}/ },
    {},
    { name: 'postgres', state: 'down' },
  ])
  t.equal((await fetch(`${daemon.url}/readyz?scope=node`)).status, 200)
  t.match(await metrics(daemon), 'livemessages_part_up{part="postgres"} 0')
}

async function ready(daemon: TestDaemon): Promise<void> {
  await until('green', async () => (await fetch(`${daemon.url}/readyz`)).status === 200)
}

/** One line when it goes, one when it comes, of the source; however many attempts lie between. */
function once(t: Test, daemon: TestDaemon): void {
  const count = (text: string): number =>
    daemon.lines.filter(({ source, msg }) => source === 'postgres' && msg === text).length
  t.equal(count('source is down, trying on'), 1)
  t.equal(count('source is back'), 1)
}

async function metrics({ url }: { readonly url: string }): Promise<string> {
  return (await fetch(`${url}/metrics`)).text()
}
