import type { TransactionPublisher } from './database/publications.ts'
import type { Home } from './database/home.ts'
import { publisherIn } from './hub/transactions.ts'
import type { LabelledReading } from './ops/metrics.ts'
import type { Outboxes } from './outboxes.ts'
import type { Services } from './registry/context.ts'
import type { Live } from './rules.ts'

/** The pools as modules have them: each run cancels what it still asks of them, and transactions publish. */
export function lendDatabases(
  live: Live,
  { pool, further }: Home,
  transactions: TransactionPublisher,
): Pick<Services, 'db' | 'databases'> {
  const { home } = live.rules.config.databases
  const lend = (name: string, from: Home['pool']): Services['db'] => {
    const publisher = publisherIn(name, live, transactions)
    return { withSignal: (signal) => from.withSignal(signal, publisher) }
  }
  if (home === null) return { db: { withSignal: (signal) => pool.withSignal(signal, transactions) } }
  const db = lend(home, pool)
  const others = further.map((one) => [one.name, lend(one.name, one.pool)] as const)
  return { db, databases: { home, all: new Map([[home, db], ...others]) } }
}

/** Numbers by database; where there is none but the home one, of that one only. */
export function databaseReadings(live: Live, { pool, further }: Home, { all }: Outboxes): LabelledReading[] {
  const { home } = live.rules.config.databases
  if (home === null) return []
  const pools = [[home, pool] as const, ...further.map((one) => [one.name, one.pool] as const)]
  const of = (count: 'connections' | 'idle' | 'waiting') => () =>
    pools.map(([name, one]) => [name, one.counts[count]] as const)
  const label = 'database'
  const gauge = (name: string, help: string, read: LabelledReading['read']): LabelledReading => ({
    name: `livemessages_database_${name}`,
    help,
    kind: 'gauge',
    label,
    read,
  })
  const readings = [
    gauge('connections', "Open connections of the modules' pool", of('connections')),
    gauge('idle_connections', 'Those that nobody uses', of('idle')),
    gauge('waiting', 'Who waits for a connection of it', of('waiting')),
  ]
  if (all.length === 0) return readings
  const total = (name: string, help: string, count: 'moved' | 'batches'): LabelledReading => ({
    name: `livemessages_outbox_${name}_total`,
    help,
    kind: 'total',
    label,
    read: () => all.map((outbox) => [outbox.database, outbox.counts[count]] as const),
  })
  return [
    ...readings,
    total('moved', 'Publications of further databases that this node moved into the journal', 'moved'),
    total('batches', 'Batches that they came in', 'batches'),
  ]
}
