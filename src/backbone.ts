import { setTimeout as delay } from 'node:timers/promises'
import type { Bus, BusHandlers } from './bus/bus.ts'
import { createBus } from './bus/create.ts'
import type { Config } from './config/config.ts'
import type { Home } from './database/home.ts'
import type { Housekeeping } from './database/housekeeping.ts'
import type { Leadership } from './database/leadership.ts'
import type { Notifications } from './database/notifications.ts'
import type { DatabasePool } from './database/pool.ts'
import type { SubsystemPolicies } from './database/subsystems.ts'
import { LivemessageError } from './errors.ts'
import { createJournal } from './journal/create.ts'
import type { Journal, JournalHandlers, Retention } from './journal/journal.ts'
import type { Log } from './ops/log.ts'
import type { Live } from './rules.ts'

/** What the nodes have in common: their journal, their bus, and who of them does what must be done once. */
export interface Backbone {
  readonly journal: Journal
  readonly bus: Bus
  /** The one LISTEN connection; null without a database. */
  readonly notifications: Notifications | null
  /** The daemon's own connections, which no module can use up; null without a database. */
  readonly pool: DatabasePool | null
  readonly leadership: Leadership | null
  readonly housekeeping: Housekeeping | null
  /** Resolves after the first attempts to reach all, whatever came of them. */
  start(handlers: JournalHandlers & BusHandlers): Promise<void>
  /** Other policies. */
  apply(config: Config): Promise<void>
  /** Idempotent; the journal goes last. */
  stop(): Promise<void>
}

export interface BackboneOptions {
  readonly live: Live
  readonly home: Home
  readonly log: Log
}

/** How much of each journaled subsystem is kept. */
export function retentionOf({ channels }: Config): ReadonlyMap<string, Retention> {
  const retention = new Map<string, Retention>()
  for (const [subsystem, { history }] of channels) {
    if (history !== null) retention.set(subsystem, history)
  }
  return retention
}

/** Loads the client of those servers only that the config has. */
export async function createBackbone({ live, home, log }: BackboneOptions): Promise<Backbone> {
  const { config } = live.rules
  const shared = home.url === null ? null : await openDatabase(home, home.url, config, log)
  const { limits } = config
  const journal = await createJournal({
    kind: config.journal,
    database:
      shared === null || home.url === null
        ? null
        : { url: home.url, notifications: shared.notifications, notify: config.postgres?.notify ?? null },
    broker: config.broker,
    windowBytes: limits.windowBytes,
    idempotencyMs: () => live.rules.config.limits.idempotencyMs,
    idempotencyKeys: () => live.rules.config.limits.idempotencyKeys,
    patienceMs: limits.publishMs,
    log,
  })
  journal.retain(retentionOf(config))
  const bus = await busOf(config, home.url, shared?.notifications ?? null, log)
  const leadership = shared?.lead(bus.node) ?? null
  const housekeeping = shared === null || leadership === null ? null : await shared.keepHouse(leadership)
  return {
    journal,
    bus,
    notifications: shared?.notifications ?? null,
    pool: shared?.pool ?? null,
    leadership,
    housekeeping,
    async start(handlers) {
      housekeeping?.start()
      await Promise.all([
        journal.start(handlers),
        bus.start(handlers),
        shared?.notifications.start(),
        leadership?.start(),
        housekeeping?.apply(policiesOf(config)),
      ])
    },
    async apply(next) {
      journal.retain(retentionOf(next))
      await housekeeping?.apply(policiesOf(next))
    },
    async stop() {
      await Promise.all([housekeeping?.stop(), bus.stop()])
      await leadership?.stop()
      await journal.stop()
      await shared?.stop()
    },
  }
}

/** What a hello takes to be answered, with time to spare. */
const HELLO_MS = 200

/**
 * Resolves when nothing speaks against going on.
 * @throws {LivemessageError} SEVERAL_NODES
 */
export async function checkAlone({ journal, channels }: Config, bus: Bus): Promise<void> {
  const hasHistory = [...channels.values()].some(({ history }) => history !== null)
  if (journal !== 'memory' || !hasHistory || bus.kind === 'memory') return
  const end = performance.now() + HELLO_MS
  while (bus.ready && bus.peers.size === 0 && performance.now() < end) await delay(10)
  if (bus.peers.size === 0) return
  throw new LivemessageError(
    'SEVERAL_NODES',
    "journal: 'memory' is for one node, and another one is running on the same server: set journal to 'postgres' or " +
      "'rabbitmq' at all of them, or give this one a database and a broker of its own",
  )
}

interface SharedDatabase {
  readonly notifications: Notifications
  readonly pool: DatabasePool
  lead(holder: string): Leadership
  keepHouse(leadership: Leadership): Promise<Housekeeping>
  stop(): Promise<void>
}

async function openDatabase(
  home: Home,
  url: string,
  { databases }: Pick<Config, 'databases'>,
  log: Log,
): Promise<SharedDatabase> {
  const [{ Notifications }, { createDatabase }, { createLeadership }] = await Promise.all([
    import('./database/notifications.ts'),
    import('./database/pool.ts'),
    import('./database/leadership.ts'),
  ])
  const notifications = new Notifications({ url: home.listenUrl ?? url })
  const open = (applicationName: string, maxConnections: number): DatabasePool =>
    createDatabase({
      url,
      applicationName,
      minConnections: 0,
      maxConnections,
      cleanupTimeoutMs: 30_000,
      log,
      quiet: true,
    })
  const pool = open('livemessages node', 9)
  // Of its own: where it waited for others' statements, the lease would be lost.
  const leasePool = open('livemessages lease', 1)
  return {
    notifications,
    pool,
    lead: (holder) => createLeadership({ pool: leasePool, holder, log }),
    keepHouse: async (leadership) => {
      const { Housekeeping } = await import('./database/housekeeping.ts')
      const named = databases.home === null ? {} : { database: databases.home }
      return new Housekeeping({ pool, leadership, ...named, log })
    },
    async stop() {
      await Promise.all([notifications.stop(), pool.stop(), leasePool.stop()])
    },
  }
}

function busOf(
  { broker, postgres }: Config,
  url: string | null,
  notifications: Notifications | null,
  log: Log,
): Promise<Bus> {
  if (url !== null && notifications !== null) {
    const sealed = postgres?.notify === 'positions'
    return createBus({ kind: 'postgres', notifications, url, sealed, log })
  }
  return broker === null ? createBus({ kind: 'memory' }) : createBus({ kind: 'rabbitmq', broker, log })
}

/** What SQL functions have to know: with a journal elsewhere, `livemessage.publish` only notifies. */
function policiesOf({ channels, journal, limits }: Config): SubsystemPolicies {
  return new Map(
    [...channels].map(([name, { history, databases }]) => {
      const journaled = history !== null && journal === 'postgres'
      return [
        name,
        {
          journaled,
          maxBytes: limits.publicationBytes,
          maxAgeMs: journaled ? history.maxAgeMs : null,
          perDatabase: databases !== undefined,
        },
      ]
    }),
  )
}
