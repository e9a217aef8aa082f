import { PUBLICATIONS_NOTIFY } from '../protocol/names.ts'
import type {
  CallsConfig,
  ChannelPolicy,
  PostgresConfig,
  EmbeddedConfig,
  PredecessorsConfig,
} from './config.ts'
import { didYouMean, nearest } from './near.ts'
import { keyOf } from './problems.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'

interface Around {
  readonly channels: ReadonlyMap<string, ChannelPolicy>
  readonly calls: Pick<CallsConfig, 'aliases'>
  readonly postgres: PostgresConfig | EmbeddedConfig | null
}

/** The predecessors' addresses and publishers; null: none are served. */
export function resolvePredecessors(
  said: Parsed['predecessors'],
  { channels, calls, postgres }: Around,
  report: Report,
): PredecessorsConfig | null {
  if (said === undefined || said === false) return null
  const { subsystem, notify = [] } = said
  if (notify.includes(PUBLICATIONS_NOTIFY)) {
    report.problem(
      NOTIFY,
      `expected a name of theirs, got '${PUBLICATIONS_NOTIFY}', which is the daemon's own`,
    )
  }
  if (notify.length > 0 && postgres === null) {
    report.problem(NOTIFY, 'there is no database to hear it from: set postgres')
  }
  if (subsystem === undefined) {
    report.problem(SUBSYSTEM, 'expected the subsystem whose channels are meant: with chat, cid=5 is chat:5')
    return null
  }
  const policy = channels.get(subsystem)
  if (policy === undefined) {
    const near = didYouMean(nearest(subsystem, channels.keys()))
    report.problem(SUBSYSTEM, `expected a subsystem of ACTIONS or channels, got '${subsystem}'${near}`)
    return null
  }
  const addresses = said.addresses ?? (notify.length === 0 || isPollable(policy))
  if (addresses) checkAddresses(subsystem, policy, calls, report)
  else if (notify.length === 0) {
    report.problem(
      SUBSYSTEM,
      'nothing is left of the predecessors: neither their addresses nor a NOTIFY name',
    )
  }
  return { subsystem, addresses, notify }
}

const SUBSYSTEM = 'predecessors.subsystem'
const NOTIFY = 'predecessors.notify'

/** Polling a channel without a history would lose messages; a mailbox is read by its user alone. */
function isPollable({ mailbox, history }: ChannelPolicy): boolean {
  return !mailbox && history !== null
}

function checkAddresses(
  subsystem: string,
  policy: ChannelPolicy,
  { aliases }: Around['calls'],
  report: Report,
): void {
  if (aliases.has('/messages')) {
    report.problem(keyOf(['calls', 'aliases', '/messages']), 'with `predecessors` the address is theirs')
  }
  if (policy.mailbox) {
    report.problem(
      SUBSYSTEM,
      `expected a subsystem whose channels many may read, got the mailboxes of '${subsystem}'`,
    )
  } else if (policy.history === null) {
    report.problem(
      SUBSYSTEM,
      `expected a subsystem with a history, however short, for what comes between two requests would be lost: ` +
        `set channels.${subsystem}.history`,
    )
  }
}
