import type { Test } from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import { Notifications } from '../../src/database/notifications.ts'
import type { Entry, Retention } from '../../src/journal/journal.ts'
import type { PostgresJournalOptions } from '../../src/journal/pg-options.ts'
import { PostgresJournal } from '../../src/journal/postgres.ts'
import { silent, type TestPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

export const RETENTION: ReadonlyMap<string, Retention> = new Map([
  ['chat', { count: 10_000, maxAgeMs: 3_600_000 }],
])

const RETRY = { minMs: 10, maxMs: 100 }
let databases = 0

/** A new database on the server, migrated; its URL. */
export async function freshDatabase(server: TestPostgres): Promise<string> {
  const name = `journal_${process.pid}_${++databases}`
  await server.psql(`CREATE DATABASE ${name}`)
  const url = new URL(server.url)
  url.pathname = `/${name}`
  await migrate(url.href)
  return url.href
}

export interface NodeOptions extends Partial<PostgresJournalOptions> {
  /** Where it listens, when that is not where it asks. */
  readonly notificationsUrl?: string
}

/** A journal and its LISTEN connection, as a node has them; stopped at teardown. */
export function journalOf(t: Test, url: string, options: NodeOptions = {}) {
  const log = options.log ?? silent()
  const notifications = new Notifications({
    url: options.notificationsUrl ?? url,
    retry: RETRY,
    checkMs: 500,
    connectMs: 1500,
  })
  const journal = new PostgresJournal({
    url,
    notifications,
    log,
    windowBytes: 1024 * 1024,
    idempotencyMs: () => 60_000,
    retry: RETRY,
    ...options,
  })
  t.teardown(async () => {
    await journal.stop()
    await notifications.stop()
  })
  return { journal, notifications }
}

/** One node's view of the journal. */
export interface Node {
  readonly journal: PostgresJournal
  readonly notifications: Notifications
  /** What `onEntry` brought, in its order. */
  readonly entries: Entry[]
  /** The epochs that began after the first. */
  readonly epochs: string[]
  /** The data of `entries`. */
  seen(): unknown[]
}

export async function startNode(t: Test, url: string, options: NodeOptions = {}): Promise<Node> {
  const { journal, notifications } = journalOf(t, url, options)
  const entries: Entry[] = []
  const epochs: string[] = []
  journal.retain(RETENTION)
  await journal.start({
    onEntry: (entry) => entries.push(entry),
    onEpoch: () => epochs.push(journal.epoch),
    onReady: () => undefined,
  })
  return { journal, notifications, entries, epochs, seen: () => entries.map(dataOf) }
}

export function dataOf(entry: Entry): unknown {
  return (JSON.parse(entry.message) as { data: unknown }).data
}

/** Waits until the node has seen the position. */
export async function reached(node: Node, position: number): Promise<void> {
  await until(`position ${position}, at ${node.journal.head}`, () => node.journal.head >= position)
}
