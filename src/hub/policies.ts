import type { ChannelPolicy } from '../config/config.ts'
import { ClientError } from '../protocol/codes.ts'
import { databasePartOf, subsystemOf } from '../protocol/names.ts'
import type { Live } from '../rules.ts'

/** The policy of a channel's subsystem, at present. */
export function policyOf(live: Live, channel: string): ChannelPolicy | undefined {
  return live.rules.config.channels.get(subsystemOf(channel))
}

export function isJournaled(live: Live, channel: string): boolean {
  return policyOf(live, channel)?.history != null
}

/**
 * Of a subsystem that runs per database, each channel names one.
 * @throws {ClientError} unknown_channel
 */
export function checkDatabase({ databases }: ChannelPolicy, channel: string): void {
  if (databases === undefined) return
  const named = databasePartOf(channel)
  if (named !== null && (named === databases.home || databases.further.includes(named))) {
    // What stands behind it is a rest of its own.
    if (channel.length > subsystemOf(channel).length + named.length + 2) return
  }
  throw new ClientError(
    'unknown_channel',
    `'${subsystemOf(channel)}' runs per database: expected ${subsystemOf(channel)}:<database>:<rest>, got '${channel.slice(0, 80)}'`,
  )
}

/** The field whose latest value stands for the others; null on a channel that is not conflated. */
export function conflateOf(live: Live, channel: string): string | null {
  return policyOf(live, channel)?.conflate ?? null
}
