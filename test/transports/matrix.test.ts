import t, { type Test } from 'tap'
import { resolveConfig } from '../../src/config/resolve.ts'
import type { ActionContext } from '../../src/registry/define.ts'
import { TRANSPORTS } from '../proxies/followers.ts'
import { KEY } from '../proxies/nodes.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { PROXIES, startProxyOf } from '../support/proxy.ts'
import { until } from '../support/wait.ts'
import { SECRET, token } from './both.ts'
import { type Answered, type Coming, COOKIE, type Driver, type Reached } from './drivers/driver.ts'
import { DRIVERS } from './drivers/drivers.ts'
import { readTable } from './table.ts'
import { post } from './upstream.ts'

const CONFIG = {
  ACTIONS: {
    chat: {
      echo: {
        access: 'public',
        handle: (data: unknown, { session, user }: ActionContext) => ({ data, session, user }),
      },
    },
  },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 1000, maxAge: '1d' }, presence: true },
  },
  auth: { jwt: { secret: SECRET }, cookie: COOKIE },
  predecessors: { subsystem: 'chat' },
  engineio: {},
  api: { keys: [KEY] },
  limits: { callsPerSecond: 10_000 },
} as unknown as TestConfig

/** What stands in a cell: a way (`yes`, `frame`, `no`), and where needed the parameter that opens it. */
interface Cell {
  readonly way: string
  readonly option: string | undefined
  /** The cell as a list of words, without backticks. */
  readonly words: readonly string[]
}

/** One cell's surroundings. */
interface Trial {
  readonly t: Test
  readonly daemon: TestDaemon
  readonly driver: Driver
  readonly cell: Cell
  /** The row's other cells. */
  readonly row: ReadonlyMap<string, string>
  /** A channel that no other cell uses. */
  readonly channel: string
  /** Brings a client; on its channels, when this resolves. */
  reach(coming?: Partial<Coming>, daemon?: TestDaemon): Promise<Reached>
  publish(...data: unknown[]): Promise<void>
}

let lastChannel = 0

function trialOf(t: Test, daemon: TestDaemon, driver: Driver, row: Trial['row'], text: string): Trial {
  const channel = `chat:matrix-${++lastChannel}`
  const cell = parse(text)
  return {
    t,
    daemon,
    driver,
    cell,
    row,
    channel,
    async reach(coming = {}, at = daemon) {
      const option = cell.option === undefined ? {} : { option: cell.option }
      const asked: Coming = { channels: [channel], ...option, ...coming }
      const client = await driver.reach(t, at.url, asked)
      if (driver.asks) return client
      await until('the subscriptions', () => {
        const { channels } = at.daemon.hub!
        return client.refused !== null || asked.channels.every((one) => channels.has(one))
      })
      return client
    },
    async publish(...data) {
      const key = { Authorization: `Bearer ${KEY}` }
      for (const one of data) t.match(await daemon.publish(channel, one, key), { status: 200 })
    },
  }
}

function parse(text: string): Cell {
  const plain = text.replaceAll('`', '')
  const [way = '', option] = plain.split(' with ')
  return { way, option, words: plain.split(', ') }
}

/** What each column promises, and how it is seen. */
const COLUMNS: Readonly<Record<string, (trial: Trial) => Promise<void>>> = {
  live: async ({ t, driver, cell, channel, reach, publish }) => {
    t.equal(cell.way, driver.asks ? 'when it asks' : 'yes')
    const client = await reach()
    await publish({ n: 1 }, { n: 2 }, { n: 3 })
    await untilCount(client, 3)
    t.strictSame(dataOf(client), [{ n: 1 }, { n: 2 }, { n: 3 }])
    for (const message of client.messages) {
      if (message.channel !== undefined) t.match(message, { channel, id: String, time: Number })
    }
  },

  'resumes by': async (trial) => {
    const { t, cell, daemon } = trial
    for (const by of cell.words) {
      const { channel, reach, publish } = another(trial)
      const first = await reach()
      await publish(1, 2)
      await untilCount(first, 2)
      await first.close()
      const { cursor } = first
      if (cursor === null) throw new Error('it has no cursor')
      await gone(daemon, channel)
      await publish(3, 4)
      const second = await reach({ from: { cursor, by } })
      await publish(5)
      await untilCount(second, 3)
      await publish(6)
      await untilCount(second, 4)
      t.strictSame(dataOf(second), [3, 4, 5, 6], `${by}: what was missed, then what is live, each once`)
      t.equal(second.lostBy, null)
    }
  },

  'told of loss by': async ({ t, cell, row, reach, publish }) => {
    await publish(1)
    const by = parse(row.get('resumes by')!).words[0]!
    const client = await reach({ from: { cursor: 'abc-1', by } })
    await until('word of the loss', () => client.lostBy !== null)
    t.equal(client.lostBy, cell.way)
    await publish(2)
    await until('what comes after it', () => dataOf(client).includes(2))
  },

  'several channels': async ({ t, cell, row, daemon, channel, reach }) => {
    const both = [`${channel}-a`, `${channel}-b`]
    if (cell.way === 'one') {
      const refused = await reach({ channels: both })
      await until('the refusal', () => refused.refused !== null)
      return
    }
    t.equal(cell.way, 'one cursor')
    const put = async (...ns: readonly (readonly [number, number])[]): Promise<void> => {
      for (const [which, n] of ns) await daemon.publish(both[which]!, n)
    }
    const first = await reach({ channels: both })
    await put([0, 1], [1, 2], [0, 3])
    await untilCount(first, 3)
    await first.close()
    for (const one of both) await gone(daemon, one)
    await put([1, 4], [0, 5], [1, 6], [0, 7])
    const by = parse(row.get('resumes by')!).words[0]!
    const second = await reach({ channels: both, from: { cursor: first.cursor!, by } })
    await put([0, 8])
    await untilCount(second, 5)
    t.strictSame(dataOf(second), [4, 5, 6, 7, 8], 'in one order over both')
  },

  call: async ({ t, cell, daemon, reach }) => {
    const client = await reach()
    const data = { n: [1, 2] }
    const frame = { type: 'call', action: 'chat.echo', data }
    const answer = await by(cell.way, client, {
      frame: () => client.frame!(frame),
      event: () => client.emit!('echo', data),
      POST: () => answered(post(daemon, '/call/chat/echo', data, client.pass!), 'data'),
      'POST alone': () => answered(post(daemon, '/call/chat/echo', data), 'data'),
    })
    if (cell.way === 'POST alone') await cannot(t, reach)
    const session = cell.way === 'POST alone' ? null : client.session
    t.match(answer, { data: { data, session } }, 'it is called as this connection, where there is one')
  },

  publish: async ({ t, cell, daemon, channel, reach }) => {
    const client = await reach()
    const observer = await connect(t, daemon)
    await observer.subscribe(channel)
    const path = `/publish?channel=${channel}`
    const user = { Authorization: `Bearer ${await token('ann')}` }
    await by(cell.way, client, {
      frame: () => client.frame!({ type: 'publish', channel, data: 'hi' }),
      event: () => client.emit!('publish', channel, 'hi'),
      POST: () => answered(post(daemon, path, JSON.stringify('hi'), client.pass!)),
      'POST alone': () => answered(post(daemon, path, JSON.stringify('hi'), user)),
    })
    t.match(await observer.next({ type: 'message' }), { channel, data: 'hi' })
    await until('its own', () => dataOf(client).includes('hi'))
  },

  events: async ({ t, cell, daemon, channel, reach, publish }) => {
    const client = await reach()
    const emitted = await emit(daemon, { channel, event: 'notice', args: [1, 'x'] })
    if (cell.way === 'no') {
      await publish('later')
      await until('the message', () => dataOf(client).includes('later'))
      t.strictSame(client.events, [])
      return
    }
    t.equal(cell.way, 'yes')
    t.match(emitted, { count: 1 })
    await until('the event', () => client.events.length > 0)
    t.match(client.events, [{ event: 'notice', args: [1, 'x'] }])
  },

  ack: async ({ t, cell, daemon, channel, reach }) => {
    const client = await reach()
    const question = { channel, event: 'question', args: ['why'], ack: true }
    if (cell.way === 'no') {
      await cannot(t, reach)
      t.match(await emit(daemon, { ...question, timeout: 200 }), { answered: 0 })
      return
    }
    if (cell.way !== 'POST') client.acknowledge?.('because')
    const answers = emit(daemon, question)
    await until('the question', () => client.events.length > 0)
    if (cell.way === 'POST') {
      const ack = { type: 'ack', id: client.events[0]!.id, args: ['because'] }
      t.match(await post(daemon, '/command', ack, client.pass!), { status: 200 })
    } else t.equal(cell.way, client.emit === undefined ? 'frame' : 'event')
    t.match(await answers, { answered: 1, acks: [{ args: ['because'] }] })
  },

  counted: async ({ t, cell, driver, daemon, channel, reach }) => {
    const count = async (): Promise<number> => {
      const answer = await fetch(`${daemon.url}/api/presence?channel=${channel}`)
      return ((await answer.json()) as { count: number }).count
    }
    const client = await reach()
    const waits = (): boolean => daemon.daemon.hub!.channels.has(channel)
    if (cell.way === 'no') {
      t.equal(await count(), 0)
      t.ok(driver.asks || waits(), 'it is subscribed, and only its request knows')
      return
    }
    t.equal(cell.way, 'yes')
    await until('it is there', async () => (await count()) === 1)
    for (let look = 0; look < 5; look++) t.equal(await count(), 1)
    // A session of polling is remembered for a while.
    await client.close()
    if (cell.option !== 'session=new') await until('it has gone', async () => (await count()) === 0)
  },

  'told who comes': async ({ t, cell, daemon, channel, reach, publish }) => {
    const observer = await connect(t, daemon)
    await observer.subscribe(channel)
    const client = await reach()
    const other = await connect(t, daemon)
    await other.subscribe(channel)
    const { session } = other.welcome!
    await observer.next({ type: 'presence', event: 'join', client: { session } })
    if (cell.way === 'no') {
      await publish('later')
      await until('the message', () => dataOf(client).includes('later'))
      t.strictSame(client.presence, [])
      return
    }
    t.equal(cell.way, 'yes')
    await until('the join', () => client.presence.some(({ event }) => event === 'join'))
    await other.close()
    await until('the leave', () => client.presence.some(({ event }) => event === 'leave'))
  },

  confirm: async ({ t, cell, driver, reach }) => {
    if (driver.row.startsWith('`/')) {
      t.equal(cell.way, 'no')
      const config = { ...CONFIG, ...(await mailConfig()), predecessors: { subsystem: 'chat' } }
      t.throws(() => resolveConfig({ config }, { root: '/', file: null }), /mailboxes/)
      return
    }
    const mail = await mailDaemon()
    const user = `u${++lastChannel}`
    const own = `chat:${user}`
    const authorized = {
      text: await token(user),
      by: driver.row.includes('iframe') ? 'token=' : 'Authorization',
    }
    const client = await reach({ channels: [own], token: authorized }, mail)
    await mail.publish(own, 1)
    await mail.publish(own, 2)
    await untilCount(client, 2)
    const frame = { type: 'confirm', channel: own, cursor: client.messages[0]!.id }
    if (cell.way === 'no') return cannot(t, reach)
    const answer = await by(cell.way, client, {
      frame: () => client.frame!(frame),
      event: () => client.emit!('confirm', own, frame.cursor),
      POST: () => answered(post(mail, '/command', frame, client.pass!), 'data'),
    })
    t.strictSame(answer, { data: null })
    const device = await connect(t, mail, { query: { token: authorized.text } })
    t.match(await device.subscribe(own), { since: frame.cursor, recovered: true, messages: [{ data: 2 }] })
  },

  'authenticates by': async ({ t, cell, driver, channel, reach }) => {
    const closed = await closedDaemon()
    const nobody = await reach({}, closed).catch((error: unknown) => ({ refused: String(error) }))
    await until('the refusal', () => nobody.refused !== null)
    const text = await token('ann')
    for (const word of cell.words) {
      const { way, option } = parse(word)
      if (['POST', 'frame', 'event'].includes(way)) {
        const client = await driver.reach(t, closed.url, {
          channels: [],
          ...(option === undefined ? {} : { option }),
        })
        const authenticate = { type: 'authenticate', token: text }
        const told = await by(way, client, {
          frame: () => client.frame!(authenticate),
          event: () => client.emit!('authenticate', text),
          POST: () => answered(post(closed, '/command', authenticate, client.pass!), 'data'),
        })
        t.match(told, { data: { user: 'ann' } })
        continue
      }
      const client = await reach({ token: { text, by: way } }, closed)
      const before = client.messages.length
      await closed.publish(channel, word)
      await until('a message', () => client.messages.length > before || client.refused !== null)
      t.equal(client.refused, null, word)
      await client.close()
      await gone(closed, channel)
    }
  },
}

/** What goes through a proxy: the clients that tests/proxies drain are the same. */
const BEHIND = ['HAProxy', 'nginx', 'Apache']

const table = readTable()

/** What more than one column needs, started by the first of them. */
let server: Promise<TestPostgres> | null = null
let mail: Promise<TestDaemon> | null = null
let closed: Promise<TestDaemon> | null = null

async function mailConfig(): Promise<TestConfig> {
  const { url } = await (server ??= startPostgres(t, { settings: { synchronous_commit: 'on' } }))
  return {
    channels: { chat: { access: 'authenticated', delivery: 'mailbox' } },
    journal: 'postgres',
    postgres: { url },
  }
}

function mailDaemon(): Promise<TestDaemon> {
  return (mail ??= (async () =>
    startDaemon(t, { ...CONFIG, predecessors: false, ...(await mailConfig()) }, { migrate: true }))())
}

/** Nobody but users may listen there. */
function closedDaemon(): Promise<TestDaemon> {
  const channels = { chat: { access: 'authenticated', history: {} } } as const
  return (closed ??= startDaemon(t, { ...CONFIG, channels }))
}

void t.test('the table has a test for each row and column, and a row and column for each test', (t) => {
  t.strictSame([...table.rows.keys()].sort(), DRIVERS.map(({ row }) => row).sort())
  t.strictSame([...table.columns].sort(), [...Object.keys(COLUMNS), ...BEHIND].sort())
  t.end()
})

for (const listener of ['uws', 'node'] as const) {
  // What differs by the listener is how bytes come and go.
  const columns =
    listener === 'uws' ? Object.keys(COLUMNS) : ['live', 'resumes by', 'call', 'ack', 'told who comes']
  void t.test(listener, async (t) => {
    const daemon = await startDaemon(t, { ...CONFIG, listener })
    for (const driver of DRIVERS) {
      const row = table.rows.get(driver.row) ?? new Map<string, string>()
      for (const column of columns) {
        const text = row.get(column) ?? ''
        await t.test(`${driver.row}: ${column}: ${text}`, async (t) => {
          await COLUMNS[column]!(trialOf(t, daemon, driver, row, text))
        })
      }
    }
  })
}

for (const [index, { kind, skip }] of PROXIES.entries()) {
  void t.test(`through ${kind}`, { skip }, async (t) => {
    const daemon = await startDaemon(t, { ...CONFIG, trustedProxies: ['127.0.0.1'] })
    const proxy = await startProxyOf(t, kind, { servers: [`127.0.0.1:${daemon.port}`] }, CONFIG)
    const through = { ...daemon, url: proxy.url }
    for (const driver of DRIVERS) {
      const row = table.rows.get(driver.row) ?? new Map<string, string>()
      const text = row.get(BEHIND[index]!) ?? ''
      await t.test(`${driver.row}: ${text}`, async (t) => {
        t.match(text, /^yes\b/)
        const { reach, publish } = trialOf(t, daemon, driver, row, 'yes')
        const client = await reach({}, through)
        await publish(1, 2)
        await untilCount(client, 2)
        t.strictSame(dataOf(client), [1, 2])
        await client.close()
        if (driver.follower === null) return
        t.ok(
          TRANSPORTS.some(({ name }) => name === driver.follower),
          'nodes are drained under it, in test/proxies',
        )
      })
    }
  })
}

function another(trial: Trial): Trial {
  const { t, daemon, driver, row, cell } = trial
  return trialOf(t, daemon, driver, row, cell.way)
}

function dataOf({ messages }: Reached): unknown[] {
  return messages.map(({ data }) => data)
}

function untilCount(client: Reached, count: number): Promise<unknown> {
  return until(`${count} messages; came: ${JSON.stringify(client.messages)}`, () => {
    if (client.refused !== null) throw new Error(client.refused)
    return client.messages.length >= count
  })
}

function gone(daemon: TestDaemon, channel: string): Promise<unknown> {
  return until('it has gone', () => !daemon.daemon.hub!.channels.has(channel))
}

/** What the cell names, where this client can. */
async function by(
  way: string,
  client: Reached,
  ways: Readonly<Record<string, () => Promise<Answered>>>,
): Promise<Answered> {
  const own = { frame: client.frame, event: client.emit, POST: client.pass ?? undefined }
  const needed = way in own ? own[way as keyof typeof own] : 'nothing'
  if (needed === undefined || ways[way] === undefined) throw new Error(`'${way}': not by this transport`)
  const answer = await ways[way]()
  if (answer.code !== undefined) throw new Error(answer.code)
  return answer
}

/** It has no way to say anything as this connection, whatever its URL says. */
async function cannot(t: Test, reach: Trial['reach']): Promise<void> {
  for (const option of ['frames=1', 'session=new']) {
    const { pass, frame, emit: event } = await reach({ option })
    t.same([pass, frame, event], [null, undefined, undefined], option)
  }
}

async function answered(
  request: Promise<{ readonly status: number; readonly text: string; readonly body: object }>,
  field?: string,
): Promise<Answered> {
  const { status, text, body } = await request
  if (status !== 200) throw new Error(`${status} ${text}`)
  return { data: field === undefined ? body : Reflect.get(body, field) }
}

async function emit(daemon: TestDaemon, order: object): Promise<unknown> {
  const { status, text, body } = await post(daemon, '/api/emit', order)
  if (status !== 200) throw new Error(text)
  return body
}
