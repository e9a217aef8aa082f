import { connect, type TestClient } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { startRabbit } from '../support/rabbitmq.ts'
import type { Teardown } from '../support/wait.ts'

/** The application of the guides: a database `shop`, a role of the same name that may publish, and a daemon. */
export interface Shop {
  readonly server: TestPostgres
  readonly daemon: TestDaemon
  /** What the guides' programs find in their environment. */
  readonly env: Readonly<Record<string, string>>
  /** Of the role that owns the database, as the daemon's does. */
  readonly ownerUrl: string
  /** A client that is authenticated as this user, on its channel and others. */
  listen(user: string, ...channels: string[]): Promise<TestClient>
}

export interface ShopOptions {
  readonly rabbit?: boolean
  readonly config?: TestConfig
}

export const API_KEY = 'a-key-of-the-guides-that-is-long-enough-0123456789'

export async function startShop(
  t: Teardown & Parameters<typeof startPostgres>[0],
  options: ShopOptions = {},
): Promise<Shop> {
  const [server, broker] = await Promise.all([
    startPostgres(t),
    options.rabbit === true ? startRabbit(t) : null,
  ])
  await server.psql('CREATE DATABASE shop')
  const owner = new URL(server.url)
  owner.pathname = '/shop'
  const daemon = await startDaemon(
    t,
    {
      ACTIONS: { orders: {} },
      channels: { orders: { access: 'user', history: { count: 1000 } } },
      hooks: { authenticate: ({ token }) => (token === null ? null : { id: token }) },
      postgres: { url: owner.href },
      api: { keys: [API_KEY] },
      ...(broker === null ? {} : { broker: { url: broker.url } }),
      ...options.config,
    },
    { migrate: true },
  )
  await server.psql("CREATE ROLE shop LOGIN PASSWORD 'secret'")
  await server.psql('GRANT CREATE, CONNECT ON DATABASE shop TO shop')
  const url = new URL(owner.href)
  url.username = 'shop'
  url.password = 'secret'
  return {
    server,
    daemon,
    ownerUrl: owner.href,
    env: {
      DATABASE_URL: url.href,
      AMQP_URL: broker?.url ?? '',
      LIVEMESSAGES_URL: daemon.url,
      LIVEMESSAGES_API_KEY: API_KEY,
    },
    async listen(user, ...channels) {
      const client = await connect(t, daemon, { token: user })
      for (const channel of channels) await client.subscribe(channel)
      return client
    },
  }
}
