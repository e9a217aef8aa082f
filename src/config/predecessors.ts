import type { CallsConfig, ChannelPolicy, PredecessorsConfig } from './config.ts'
import { didYouMean, nearest } from './near.ts'
import { keyOf } from './problems.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'

/** The predecessors' addresses; null: they are not served. Polling a channel without a history would lose messages. */
export function resolvePredecessors(
  said: Parsed['predecessors'],
  channels: ReadonlyMap<string, ChannelPolicy>,
  { aliases }: Pick<CallsConfig, 'aliases'>,
  report: Report,
): PredecessorsConfig | null {
  if (said === undefined || said === false) return null
  if (aliases.has('/messages')) {
    report.problem(keyOf(['calls', 'aliases', '/messages']), 'with `predecessors` the address is theirs')
  }
  const { subsystem } = said
  if (subsystem === undefined) {
    report.problem(KEY, 'expected the subsystem whose channels are meant: with chat, cid=5 is chat:5')
    return null
  }
  const policy = channels.get(subsystem)
  if (policy === undefined) {
    const near = didYouMean(nearest(subsystem, channels.keys()))
    report.problem(KEY, `expected a subsystem of ACTIONS or channels, got '${subsystem}'${near}`)
    return null
  }
  if (policy.mailbox) {
    report.problem(
      KEY,
      `expected a subsystem whose channels many may read, got the mailboxes of '${subsystem}'`,
    )
    return null
  }
  if (policy.history === null) {
    report.problem(
      KEY,
      `expected a subsystem with a history, however short, for what comes between two requests would be lost: ` +
        `set channels.${subsystem}.history`,
    )
    return null
  }
  return { subsystem }
}

const KEY = 'predecessors.subsystem'
