import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import { newHoppers, readJournal, settled, startNode, type TestNode } from '../support/cluster.ts'
import { install } from '../support/installation.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { amqpPublisher, httpPublisher, type Publisher, sqlPublisher } from '../support/publishers.ts'
import { rabbitSkip, startRabbit, type Rabbit } from '../support/rabbitmq.ts'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'

// Clients that hop between two nodes while publishers of every kind are at it: whatever is killed meanwhile, each
// client's record is the journal's own, and the journal has what its publishers were told it has. `npm run soak` does
// the same for longer.

const SECONDS = Number(process.env['LIVEMESSAGES_SOAK_SECONDS'] ?? 5)
const CHANNELS = ['chat:a', 'chat:b', 'chat:c', 'tasks:d']
const BRIEF = 'brief:e'

const skip = rabbitSkip()

const it = await install(t)
const rabbit = skip === false ? await startRabbit(t) : null

interface House {
  readonly postgres: TestPostgres
  readonly rabbit: Rabbit
  readonly nodes: readonly TestNode[]
  /** Between the second node and its servers. */
  readonly wires: readonly TcpProxy[]
}

async function build(t: Test): Promise<House> {
  const postgres = await startPostgres(t, { settings: { fsync: 'off', synchronous_commit: 'on' } })
  await migrate(postgres.url)
  const wires = [await startProxy(t, postgres.url), await startProxy(t, rabbit!.url)]
  const config = {
    ACTIONS: {},
    channels: {
      chat: { access: 'public', history: { count: 100_000, maxAge: '1h' } },
      tasks: { access: 'public', history: { count: 100_000, maxAge: '1h' } },
      // So few that who is away for long misses some, and must be told.
      brief: { access: 'public', history: { count: 20, maxAge: '1h' } },
    },
    // So small that the database is asked for what a client missed that was away for a while.
    limits: { windowBytes: '32kb', recoveryMessages: 200 },
    stop: '3s',
  }
  const servers = [
    { postgres: { url: postgres.url }, broker: { url: rabbit!.url } },
    { postgres: { url: wires[0]!.url(postgres.url) }, broker: { url: wires[1]!.url(rabbit!.url) } },
  ]
  const nodes = await Promise.all(servers.map((own) => startNode(t, it, { ...config, ...own })))
  return { postgres, rabbit: rabbit!, nodes, wires }
}

/** Lets everybody loose, has `disturb` do its worst, and looks at the records. */
async function run(
  t: Test,
  house: House,
  disturb: (house: House) => Promise<void>,
  { clients = 24 }: { clients?: number } = {},
): Promise<void> {
  const { postgres, nodes } = house
  const hoppers = newHoppers(t, clients, {
    nodes: () => nodes.map(({ ws }) => ws),
    channels: CHANNELS,
    stayMs: 1500,
  })
  const forgetful = newHoppers(t, 4, {
    nodes: () => nodes.map(({ ws }) => ws),
    channels: [BRIEF],
    stayMs: 1500,
  })
  const urls = (): string[] => nodes.map(({ url }) => url)
  const publishers: Publisher[] = [
    sqlPublisher('sql1', CHANNELS, postgres.url),
    sqlPublisher('sql2', CHANNELS, postgres.url),
    httpPublisher('http1', CHANNELS, urls),
    httpPublisher('http2', CHANNELS, urls),
    httpPublisher('keyless', CHANNELS, urls, { keyless: true }),
    httpPublisher('brief', [BRIEF], urls),
    amqpPublisher('amqp1', CHANNELS, house.rabbit.url),
    amqpPublisher('amqp2', CHANNELS, house.rabbit.url),
  ]
  await disturb(house)
  await Promise.all(publishers.map((publisher) => publisher.stop()))
  const { faults, journal } = await settled(
    [...hoppers, ...forgetful],
    publishers,
    () => readJournal(postgres.url),
    (channel) => (channel === BRIEF ? 20 : 100_000),
  )
  t.same(shortened(faults), [], `${faults.length} faults`)
  const accepted = publishers.map(({ name, accepted }) => `${name} ${accepted.size}`).join(', ')
  const stays = hoppers.reduce((sum, hopper) => sum + hopper.stays, 0)
  const heard = hoppers.reduce((sum, hopper) => sum + hopper.heard.length, 0)
  t.comment(`${journal.length} publications (${accepted}), ${heard} received in ${stays} stays`)
  t.ok((await queriesOf(urls())) > 0, 'the database was asked for what memory had no more')
  for (const { name, accepted } of publishers) t.ok(accepted.size > 10, `${name} was at it: ${accepted.size}`)
  t.ok(stays > clients * 2, `the clients hopped: ${stays} stays`)
}

/** The first of each kind: one cause has a thousand faults. */
function shortened(faults: readonly string[]): readonly string[] {
  const kinds = new Map<string, string[]>()
  for (const fault of faults) {
    const kind = fault.replaceAll(/\d+/g, '').replaceAll(/\{.*?\}/g, '')
    kinds.set(kind, [...(kinds.get(kind) ?? []), fault])
  }
  return [...kinds.values()].flatMap((alike) => [...alike.slice(0, 3), `(${alike.length} of this kind)`])
}

const seconds = (count: number): Promise<void> => delay(count * 1000)

t.test(
  'clients hop between two nodes: all records are the same, without gap or duplicate',
  { skip },
  async (t) => {
    const house = await build(t)
    await run(t, house, () => seconds(SECONDS))
  },
)

t.test(
  'PostgreSQL is killed three times: nothing accepted is lost, nothing comes twice',
  { skip },
  async (t) => {
    const house = await build(t)
    await run(t, house, async ({ postgres }) => {
      for (let kill = 0; kill < 3; kill++) {
        await seconds(SECONDS / 4)
        await postgres.kill()
        await seconds(0.5)
        await postgres.restart()
      }
      await seconds(SECONDS / 2)
    })
  },
)

t.test(
  'a node is killed, and one is frozen and wakes: the other goes on, and so do they',
  { skip },
  async (t) => {
    const house = await build(t)
    await run(t, house, async ({ nodes }) => {
      await seconds(SECONDS / 5)
      nodes[0]!.kill('SIGKILL')
      await seconds(SECONDS / 5)
      await nodes[0]!.restart()
      await seconds(SECONDS / 5)
      nodes[1]!.kill('SIGSTOP')
      await seconds(SECONDS / 3)
      nodes[1]!.kill('SIGCONT')
      await seconds(SECONDS / 5)
    })
  },
)

t.test('the wires of a node are cut, and become black holes', { skip }, async (t) => {
  const house = await build(t)
  await run(t, house, async ({ wires }) => {
    for (const wire of wires) {
      await seconds(SECONDS / 6)
      wire.cut()
      await seconds(SECONDS / 6)
      wire.blackhole(true)
      await seconds(SECONDS / 3)
      wire.cut()
      wire.blackhole(false)
    }
    await seconds(SECONDS / 5)
  })
})

t.test('RabbitMQ is killed and comes back: what it confirmed is delivered', { skip }, async (t) => {
  const house = await build(t)
  await run(t, house, async ({ rabbit }) => {
    // RabbitMQ 3.10 forgets quorum queues that were declared within its last second.
    await seconds(2 + SECONDS / 5)
    await rabbit.kill()
    await seconds(1)
    await rabbit.restart()
    await seconds(SECONDS / 2)
    await until('both nodes to be ready', async () => {
      const answers = await Promise.all(house.nodes.map(({ url }) => fetch(`${url}/readyz`)))
      return answers.every(({ status }) => status === 200)
    })
  })
})

async function queriesOf(urls: readonly string[]): Promise<number> {
  const texts = await Promise.all(urls.map(async (url) => (await fetch(`${url}/metrics`)).text()))
  const counts = texts.map((text) =>
    Number(/^livemessages_journal_queries_total (\d+)/m.exec(text)?.[1] ?? 0),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}
