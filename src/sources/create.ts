import type { BrokerConfig, PredecessorsConfig } from '../config/config.ts'
import type { Notifications } from '../database/notifications.ts'
import type { Log } from '../ops/log.ts'
import { PUBLICATIONS_NOTIFY } from '../protocol/names.ts'
import type { Registry } from '../registry/registry.ts'
import type { AmqpSource } from './amqp.ts'
import type { QueueSpec } from './amqp-topology.ts'
import type { Duty } from './duty.ts'
import type { OldPublishers } from './longpolling.ts'
import type { PostgresSource } from './postgres.ts'
import type { Source } from './source.ts'

export interface SourcesOptions {
  /** URL of the LISTEN connection; null without a database. */
  readonly listenUrl: string | null
  /** The LISTEN connection to it that is shared; without, the source has one of its own. */
  readonly notifications?: Notifications
  /** Where several nodes hear the same. */
  readonly duty?: Duty
  /** The database of `listenUrl`, as the config names it. */
  readonly database: string | null
  /** Further databases of that server. */
  readonly further: readonly { readonly name: string; readonly listenUrl: string }[]
  readonly broker: BrokerConfig | null
  /** Every subsystem that the config knows. */
  readonly subsystems: Iterable<string>
  readonly registry: Registry
  /** Whose publishers are heard, too. */
  readonly predecessors: PredecessorsConfig | null
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
  const { listenUrl, broker, predecessors } = options
  // An iterator can be gone through once.
  let known: Known = { registry: options.registry, subsystems: new Set(options.subsystems) }
  const old = predecessors === null ? undefined : oldPublishers(predecessors, () => known)
  const databases = listenUrl === null ? [] : await postgresSources(listenUrl, options, old)
  const amqp = broker === null ? [] : [await amqpSource(broker, { ...options, subsystems: known.subsystems })]
  return {
    all: [...databases, ...amqp],
    async apply(next, wanted) {
      const subsystems = new Set(wanted)
      known = { registry: next, subsystems }
      const changes = [
        ...databases.map((source) => source.setNotify(next.notify)),
        ...amqp.map((source) => source.setQueues(broker === null ? [] : queuesOf(broker, next, subsystems))),
      ]
      await Promise.all(changes)
    },
  }
}

interface Known {
  readonly registry: Registry
  readonly subsystems: ReadonlySet<string>
}

function oldPublishers({ notify, subsystem }: PredecessorsConfig, known: () => Known): OldPublishers {
  return {
    names: notify,
    subsystem,
    hasSender(name) {
      const { registry, subsystems } = known()
      return registry.senders.has(name) || (subsystems.has(name) ? false : undefined)
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
  { database, further, notifications, duty, registry, log }: SourcesOptions,
  old: OldPublishers | undefined,
): Promise<PostgresSource[]> {
  const { createPostgresSource } = await import('./postgres.ts')
  const common = { channel: PUBLICATIONS_NOTIFY, notify: registry.notify, old, log, ...(duty && { duty }) }
  const home = createPostgresSource({
    ...common,
    name: 'postgres',
    listen: notifications ?? { url },
    ...(database !== null && { database }),
  })
  return [
    home,
    ...further.map(({ name, listenUrl }) =>
      createPostgresSource({
        ...common,
        name: `postgres:${name}`,
        listen: { url: listenUrl },
        database: name,
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
