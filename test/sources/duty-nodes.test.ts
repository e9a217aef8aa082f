import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import type { MaybePromise, Notification } from '../../src/sources/source.ts'
import { makeNotifyNode } from '../support/notify-node.ts'
import type { NotifyNode, NotifyNodeOptions } from '../support/notify-node.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'

t.setTimeout(180_000)

const TTL_MS = 900
const server = await startPostgres(t)
await migrate(server.url)
let count = 0

t.beforeEach(async () => {
  await server.psql(
    "TRUNCATE livemessage.lease; DELETE FROM livemessage.journal; SELECT pg_notify('none', '')",
  )
})

const setup = (t: Test) => {
  const channel = `test${++count}`
  const make = (options: Partial<NotifyNodeOptions> = {}): NotifyNode => {
    const node = makeNotifyNode({
      url: server.url,
      holder: `node${++count}`,
      ttlMs: TTL_MS,
      channel,
      ...options,
    })
    t.teardown(() => node.stop())
    return node
  }
  /** One session, so that its order is that of its commits. */
  const say = async (payloads: string[], name = channel): Promise<void> => {
    const client = new Client({ connectionString: server.url })
    await client.connect()
    for (const payload of payloads) await client.query('SELECT pg_notify($1, $2)', [name, payload])
    await client.end()
  }
  const journaled = async (): Promise<unknown[]> =>
    (await server.psql('SELECT data FROM livemessage.journal ORDER BY position')).map(({ data }) =>
      JSON.parse(String(data)),
    )
  return { channel, make, say, journaled }
}

const chat = (data: unknown): string => JSON.stringify({ channel: 'chat:1', data })
const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

void t.test(
  'two nodes hear the same: each notification is journaled once, in order, the other forgets it',
  async (t) => {
    const { make, say, journaled } = setup(t)
    const two = [make(), make()]
    await Promise.all(two.map((node) => node.start()))
    await until('a leader', () => two.some(({ leadership }) => leadership.token !== null))
    await say(numbers(0, 200).map(chat))
    // The very same again: told apart by their number.
    await say([chat('same'), chat('same'), chat('same')])
    await until('all', async () => (await journaled()).length === 203)
    t.same(await journaled(), [...numbers(0, 200), 'same', 'same', 'same'])
    await until('nothing to be kept', () => two.every(({ duty }) => duty.size === 0))
  },
)

void t.test('a transient subsystem is handed over on every node, and said to be everywhere', async (t) => {
  const { make, say } = setup(t)
  const two = [make(), make()]
  await Promise.all(two.map((node) => node.start()))
  await say([JSON.stringify({ channel: 'quotes:1', data: 1 })])
  await until('both', () => two.every(({ transient }) => transient.length === 1))
  t.match(
    two.map(({ transient }) => transient[0]),
    [{ everywhere: true }, { everywhere: true }],
  )
})

void t.test('what is no notification is rejected once, by the leader, with its body', async (t) => {
  const { make, say, journaled } = setup(t)
  const two = [make(), make()]
  await Promise.all(two.map((node) => node.start()))
  await until('a leader', () => two.some(({ leadership }) => leadership.token !== null))
  await say(['{"half":', '{"channel":"chat:1"}', '{"channel":"quotes:1"}', chat(1)])
  await until('the good one', async () => (await journaled()).length === 1)
  await until('the other to hear it', () => two.every(({ duty }) => duty.size === 0))
  t.same(
    two.flatMap(({ rejects }) => rejects).map(({ code, body }) => [code, body]),
    [
      ['bad_payload', '{"half":'],
      ['no_data', '{"channel":"chat:1"}'],
      ['no_data', '{"channel":"quotes:1"}'],
    ],
  )
})

void t.test(
  'what the leader heard and routed to nothing is not handed over again by the next one',
  async (t) => {
    const { make, say, journaled } = setup(t)
    const seen: unknown[] = []
    const before = ({ data }: Notification): MaybePromise<null | void> => {
      seen.push(data)
      return data === 'nothing' ? null : undefined
    }
    const [one, two] = [make({ before }), make({ before })]
    await one.start()
    await until('it leads', () => one.leadership.token)
    await two.start()
    await say([chat('nothing'), chat(1)])
    await until('it', async () => (await journaled()).length === 1)
    await until('nothing to be kept', () => two.duty.size === 0)
    await one.leadership.stop()
    await until('the other leads', () => two.leadership.token)
    await say([chat(2)])
    await until('the second', async () => (await journaled()).length === 2)
    t.same(seen, ['nothing', 1, 2])
  },
)

/** A node in a process of its own. */
const spawnNode = (t: Test, channel: string, most = '') => {
  const script = new URL('../support/notify-node-process.ts', import.meta.url).pathname
  const args = ['--import', 'tsx', script, server.url, `process${++count}`, String(TTL_MS), channel, most]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => lines.push(line))
  t.teardown(() => child.kill('SIGKILL'))
  return { child, lines, leads: () => /\d/.test(lines.findLast((line) => line.startsWith('token')) ?? '') }
}

void t.test(
  'the leader is killed between hearing and journaling: the next one journals what is missing, nothing twice',
  async (t) => {
    const { channel, make, say, journaled } = setup(t)
    const leader = spawnNode(t, channel, '30')
    await until('it leads', () => leader.leads())
    const other = make()
    await other.start()
    await say(numbers(0, 50).map(chat))
    await until('it has journaled some', async () => (await journaled()).length === 30)
    await until('it hangs', () => leader.lines.includes('hangs'))
    await until('the other to know', () => other.duty.size === 20)
    leader.child.kill('SIGKILL')
    const killed = Date.now()
    await until('all', async () => (await journaled()).length >= 50)
    t.ok(Date.now() - killed < TTL_MS + TTL_MS / 3 + 1_000, 'within a term and a renewal')
    await say([chat(50)])
    await until('the last', async () => (await journaled()).includes(50))
    t.same(await journaled(), numbers(0, 51))
  },
)

void t.test(
  'the leader is frozen: applications go on, another one leads; when it wakes it does no harm',
  async (t) => {
    const { channel, make, say, journaled } = setup(t)
    const leader = spawnNode(t, channel)
    await until('it leads', () => leader.leads())
    const other = make()
    await other.start()
    await say(numbers(0, 50).map(chat))
    await until('some', async () => (await journaled()).length === 50)
    leader.child.kill('SIGSTOP')
    await say(numbers(50, 100).map(chat))
    await until('all', async () => (await journaled()).length === 100)
    t.ok(other.leadership.token)
    await say(numbers(100, 150).map(chat))
    leader.child.kill('SIGCONT')
    await say(numbers(150, 200).map(chat))
    await until('it knows', () => leader.lines.includes('token null'))
    await until('the rest', async () => (await journaled()).length >= 200)
    // It leads again: what it has kept meanwhile must be nothing.
    await other.stop()
    await until('it leads again', () => leader.leads())
    await say([chat(200)])
    await until('the last', async () => (await journaled()).includes(200))
    t.same(await journaled(), numbers(0, 201))
  },
)

void t.test(
  'a leader that is refused by the database, and does not know why, hands over again in order',
  async (t) => {
    const { make, say, journaled } = setup(t)
    const node = make()
    await node.start()
    await until('it leads', () => node.leadership.token)
    await say([chat(0)])
    await until('one', async () => (await journaled()).length === 1)
    // As a server whose clock was set forward sees it: the term is over, and nobody has told the holder.
    await server.psql("UPDATE livemessage.lease SET until = '-infinity'")
    await say(numbers(1, 30).map(chat))
    await until('all', async () => (await journaled()).length === 30)
    t.same(await journaled(), numbers(0, 30))
  },
)

void t.test(
  'publishers notify at full speed while the lead hops: each is journaled once, in the order of the commits',
  async (t) => {
    const { channel, make, journaled } = setup(t)
    const proxy = await startProxy(t, server.url)
    const holders = ['hop1', 'hop2', 'hop3']
    const nodes = holders.map((holder, i) =>
      make({ holder, ...(i === 2 ? { url: proxy.url(server.url) } : {}) }),
    )
    await Promise.all(nodes.map((node) => node.start()))
    const reference = new Client({ connectionString: server.url })
    await reference.connect()
    const heard: string[] = []
    reference.on('notification', ({ payload }) => heard.push(JSON.parse(payload!).data))
    await reference.query(`LISTEN ${channel}`)

    const publishing = new AbortController()
    const publish = async (who: string): Promise<number> => {
      const client = new Client({ connectionString: server.url })
      await client.connect()
      let n = 0
      for (; !publishing.signal.aborted; n++) {
        // Now and then the very same as before, which only its place tells apart.
        await client.query('SELECT pg_notify($1, $2)', [channel, chat(n % 7 === 6 ? who : `${who} ${n}`)])
      }
      await client.end()
      return n
    }
    const publishers = ['a', 'b', 'c'].map(publish)
    let hops = 0
    const leading = (): NotifyNode | undefined => nodes.find(({ leadership }) => leadership.token !== null)
    for (const to of ['hop2', 'hop1', 'hop3', 'hop2', 'hop3']) {
      await new Promise((resolve) => setTimeout(resolve, 300))
      // Taken from it while it works: what it has under way is refused.
      await server.psql(
        `UPDATE livemessage.lease SET holder = $1, token = token + 1, until = now() + interval '${TTL_MS} ms'`,
        [to],
      )
      await until('it leads', () => leading() === nodes[holders.indexOf(to)])
      hops++
    }
    // The last one is cut off from the server.
    proxy.blackhole(true)
    await until('another one leads', () => leading() !== undefined && leading() !== nodes[2])
    publishing.abort()
    const said = (await Promise.all(publishers)).reduce((sum, n) => sum + n, 0)
    await until('all to be heard', () => heard.length === said)
    await until('all to be journaled', async () => (await journaled()).length >= said)
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.equal(hops, 5)
    t.comment(`${said} notifications, ${hops} hops and a black hole`)
    const kept = await journaled()
    t.equal(kept.length, said)
    t.same(
      kept.findIndex((data, i) => data !== heard[i]),
      -1,
      'the same, in the same order',
    )
    await reference.end()
    proxy.cut()
    proxy.blackhole(false)
  },
)
