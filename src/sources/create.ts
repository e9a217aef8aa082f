import type { BrokerConfig, PostgresConfig } from '../config/config.ts'
import type { Notifications } from '../database/notifications.ts'
import type { Log } from '../ops/log.ts'
import { PUBLICATIONS_NOTIFY } from '../protocol/names.ts'
import type { Registry } from '../registry/registry.ts'
import type { AmqpSource } from './amqp.ts'
import type { QueueSpec } from './amqp-topology.ts'
import type { Duty } from './duty.ts'
import type { PostgresSource } from './postgres.ts'
import type { Source } from './source.ts'

export interface SourcesOptions {
  /** URL of the LISTEN connection; null without a database. */
  readonly listenUrl: string | null
  /** The LISTEN connection to it that is shared; without, the source has one of its own. */
  readonly notifications?: Notifications
  /** Where several nodes hear the same. */
  readonly duty?: Duty
  /** Further databases of that server. */
  readonly databases: PostgresConfig['databases']
  readonly broker: BrokerConfig | null
  /** Every subsystem that the config knows. */
  readonly subsystems: Iterable<string>
  readonly registry: Registry
  /** The largest body of a queue's message. */
  readonly maxBodyBytes: () => number
  readonly log: Log
}

/** The sources of the config, and how a reload changes them. */
export interface Sources {
  readonly all: readonly Source[]
  /** Other senders and subsystems, on the open connections. */
  apply(registry: Registry, subsystems: Iterable<string>): Promise<void>
}

/** Loads the clients of those servers only that the config has. */
export async function createSources(options: SourcesOptions): Promise<Sources> {
  const { listenUrl, broker } = options
  const databases = listenUrl === null ? [] : await postgresSources(listenUrl, options)
  const amqp = broker === null ? [] : [await amqpSource(broker, options)]
  return {
    all: [...databases, ...amqp],
    async apply(next, subsystems) {
      const changes = [
        ...databases.map((source) => source.setNotify(next.notify)),
        ...amqp.map((source) => source.setQueues(broker === null ? [] : queuesOf(broker, next, subsystems))),
      ]
      await Promise.all(changes)
    },
  }
}

async function amqpSource(
  broker: BrokerConfig,
  { registry, subsystems, maxBodyBytes, log }: SourcesOptions,
): Promise<AmqpSource> {
  const { createAmqpSource } = await import('./amqp.ts')
  return createAmqpSource({ ...broker, queues: queuesOf(broker, registry, subsystems), maxBodyBytes, log })
}

async function postgresSources(
  url: string,
  { databases, notifications, duty, registry, log }: SourcesOptions,
): Promise<PostgresSource[]> {
  const { createPostgresSource } = await import('./postgres.ts')
  const own = databaseOf(url)
  const common = { channel: PUBLICATIONS_NOTIFY, notify: registry.notify, log, ...(duty && { duty }) }
  const home = createPostgresSource({
    ...common,
    name: 'postgres',
    listen: notifications ?? { url },
    database: own,
  })
  const others = databases.filter((database) => database !== own)
  return [
    home,
    ...others.map((database) =>
      createPostgresSource({
        ...common,
        name: `postgres:${database}`,
        listen: { url: withDatabase(url, database) },
        database,
      }),
    ),
  ]
}

function queuesOf({ exchange }: BrokerConfig, registry: Registry, subsystems: Iterable<string>): QueueSpec[] {
  return [...subsystems].map((subsystem) => ({
    subsystem,
    queue: registry.senders.get(subsystem)?.queue ?? `${exchange}.${subsystem}`,
  }))
}

function databaseOf(url: string): string {
  return decodeURIComponent(new URL(url).pathname.slice(1))
}

function withDatabase(url: string, database: string): string {
  const other = new URL(url)
  other.pathname = `/${encodeURIComponent(database)}`
  return other.href
}
