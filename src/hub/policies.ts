import type { ChannelPolicy } from '../config/config.ts'
import { subsystemOf } from '../protocol/names.ts'
import type { Live } from '../rules.ts'

/** The policy of a channel's subsystem, at present. */
export function policyOf(live: Live, channel: string): ChannelPolicy | undefined {
  return live.rules.config.channels.get(subsystemOf(channel))
}

export function isJournaled(live: Live, channel: string): boolean {
  return policyOf(live, channel)?.history != null
}

/** The field whose latest value stands for the others; null on a channel that is not conflated. */
export function conflateOf(live: Live, channel: string): string | null {
  return policyOf(live, channel)?.conflate ?? null
}
