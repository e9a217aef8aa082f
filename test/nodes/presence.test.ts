import t from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import { connect, type TestClient } from '../support/client.ts'
import { startNode } from '../support/cluster.ts'
import { install } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { SECRET, token } from '../transports/both.ts'

// A node is thought gone when it has not been heard of for a quarter of a minute.
const GONE_MS = 40_000

interface Present {
  readonly clients: readonly { readonly session: string; readonly user: string | null }[]
  readonly count: number
}

const it = await install(t)
const server = await startPostgres(t)
await migrate(server.url)

async function present(client: TestClient, channel: string): Promise<string[]> {
  const { data } = await client.ask({ type: 'presence', channel })
  return (data as Present).clients.map(({ user }) => String(user)).toSorted()
}

function movesOf(client: TestClient, channel: string): string[] {
  return client.frames
    .filter((frame) => frame.type === 'presence' && frame['channel'] === channel)
    .map(({ event, client: who }) => `${String(event)} ${(who as { user: string }).user}`)
}

void t.test(
  'of a killed and of a frozen node all leave, once; whose other tab is elsewhere stays',
  async (t) => {
    const config = {
      ACTIONS: {},
      channels: {
        chat: { access: 'public', presence: true },
        team: { access: 'public', presence: { by: 'user', leaveAfter: '1s' } },
      },
      auth: { jwt: { secret: SECRET } },
      postgres: { url: server.url },
      stop: '2s',
    }
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => startNode(t, it, config)))
    const enter = async (node: typeof one, user: string): Promise<TestClient> => {
      const client = await connect(t, node!, { token: await token(user) })
      await client.subscribe('chat:a')
      await client.subscribe('team:a')
      return client
    }
    const watcher = await enter(one, 'watcher')
    await enter(one, 'alice')
    await enter(two, 'alice')
    await enter(two, 'bob')
    await enter(three, 'carol')
    const all = ['alice', 'alice', 'bob', 'carol', 'watcher']
    await until('all are known', async () => (await present(watcher, 'chat:a')).join() === all.join())
    t.same(await present(watcher, 'team:a'), ['alice', 'bob', 'carol', 'watcher'])

    two!.kill('SIGKILL')
    three!.kill('SIGSTOP')
    await until(
      'their clients have left',
      async () => (await present(watcher, 'chat:a')).join() === 'alice,watcher',
      GONE_MS,
    )
    await until('those of the team too', async () => (await present(watcher, 'team:a')).length === 2)
    t.same(await present(watcher, 'team:a'), ['alice', 'watcher'])
    const leaves = (channel: string): string[] =>
      movesOf(watcher, channel)
        .filter((move) => move.startsWith('leave'))
        .toSorted()
    // What happens at once is told together, a moment later.
    await until('all is told', () => leaves('chat:a').length === 3 && leaves('team:a').length === 2)
    t.same(leaves('chat:a'), ['leave alice', 'leave bob', 'leave carol'])
    t.same(leaves('team:a'), ['leave bob', 'leave carol'])

    three!.kill('SIGCONT')
    await until(
      'carol is back',
      async () => (await present(watcher, 'chat:a')).join() === 'alice,carol,watcher',
    )
    await until('and told', () => movesOf(watcher, 'team:a').at(-1) === 'join carol')
    t.equal(movesOf(watcher, 'team:a').filter((move) => move === 'join carol').length, 2)
  },
)
