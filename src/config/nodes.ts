import type { Config } from './config.ts'
import { DEFAULTS } from './defaults.ts'
import { keyOf } from './problems.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'

type Servers = Pick<Config, 'postgres' | 'broker' | 'channels'>

/** Where the journal is, and how many processes share it: what the servers at hand allow. */
export function resolveNodes(
  parsed: Parsed,
  { postgres, broker, channels }: Servers,
  report: Report,
): Pick<Config, 'journal' | 'workers'> {
  const journal = parsed.journal ?? (postgres === null ? 'memory' : 'postgres')
  const workers = parsed.workers ?? DEFAULTS.workers
  if (journal === 'postgres' && postgres === null) {
    report.problem('journal', "'postgres' needs a database, got postgres: false")
  }
  if (journal === 'rabbitmq' && broker === null) {
    report.problem('journal', "'rabbitmq' needs a broker, got none: set broker.url")
  }
  if (workers > 1 && postgres === null && broker === null) {
    report.problem(
      'workers',
      `${workers} processes need a database or a broker between them, got neither: set postgres or broker`,
    )
  } else if (workers > 1 && journal === 'memory' && hasHistory(channels)) {
    report.problem(
      'workers',
      `${workers} processes can't share a journal in memory: set journal to '${postgres === null ? 'rabbitmq' : 'postgres'}'`,
    )
  }
  for (const [name, { mailbox }] of channels) {
    if (!mailbox || journal === 'postgres') continue
    report.problem(
      keyOf(['channels', name, 'delivery']),
      `'mailbox' keeps each user's place in the database: it needs journal: 'postgres', got '${journal}'`,
    )
  }
  return { journal, workers }
}

function hasHistory(channels: Config['channels']): boolean {
  return [...channels.values()].some(({ history }) => history !== null)
}
