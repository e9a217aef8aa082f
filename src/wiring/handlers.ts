import type { Backbone } from '../backbone.ts'
import type { BusHandlers, Memo, Parcel } from '../bus/bus.ts'
import type { Hub } from '../hub/hub.ts'
import type { Presence } from '../hub/presence/presence.ts'
import type { Revoker } from '../hub/revoker.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { JournalHandlers } from '../journal/journal.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { subsystemOf } from '../protocol/names.ts'
import type { Live } from '../rules.ts'
import type { Signalling } from '../signals/create.ts'
import type { Duty } from '../sources/duty.ts'

/** Who hears what nodes tell one another. */
interface Colleague {
  onMemo(memo: Memo, from: string): void
  onPeer(node: string, here: boolean): void
}

export interface HandlersDependencies {
  readonly live: Live
  readonly journal: Backbone['journal']
  readonly hub: Hub
  readonly subscriber: Subscriber
  readonly duty: Duty | null
  readonly presence: Presence
  readonly revoker: Revoker
  readonly forgetting: Colleague & Pick<Required<JournalHandlers>, 'onForget'>
  readonly cluster: Colleague
  readonly transports: Colleague
  readonly signals: Signalling
  deliverHere(parcel: Parcel): void
  readonly counts: Counts
  readonly log: Log
}

/** Who is told what journal and bus hear. */
export function handlersOf(deps: HandlersDependencies): JournalHandlers & BusHandlers {
  const { live, journal, hub, subscriber, duty, presence, revoker, forgetting, signals, counts, log } = deps
  const { cluster, transports } = deps
  const colleagues: readonly Colleague[] = [cluster, revoker, forgetting, presence, transports]
  const noteStray = strays(log, counts)
  return {
    onEntry: (entry) => {
      counts.entries++
      const heard = hub.deliver(entry.channel, entry.message, entry.exclude)
      if (!heard && !live.rules.config.channels.has(subsystemOf(entry.channel))) noteStray(entry.channel)
      if (entry.mark !== undefined) duty?.onEntry(entry)
    },
    onForget: (forgotten) => forgetting.onForget(forgotten),
    onVoid: (mark) => duty?.onEntry({ mark }),
    onEpoch: () => subscriber.onEpoch(),
    onReady: () => log.debug({ journal: journal.kind, ready: journal.ready }, 'journal'),
    onParcel: (parcel) => deps.deliverHere(parcel),
    onMemo: (memo, from) => {
      for (const one of colleagues) one.onMemo(memo, from)
      signals.onMemo(memo.topic)
    },
    onPeer: (node, here) => {
      for (const one of colleagues) one.onPeer(node, here)
    },
    onGap: (reason, times) => {
      log.warn({ reason, times }, 'letters of other nodes may have been missed')
      presence.onGap()
      revoker.onGap()
    },
  }
}

/** Told once a subsystem: SQL takes publications of those too that no node knows, for one may be about to come. */
function strays(log: Log, counts: Counts): (channel: string) => void {
  const told = new Set<string>()
  return (channel) => {
    counts.error('journal', 'unknown_channel')
    const subsystem = subsystemOf(channel)
    if (told.has(subsystem) || told.size > 1000) return
    told.add(subsystem)
    log.warn(
      { subsystem, channel },
      'published to a subsystem that the config does not have: nobody can subscribe',
    )
  }
}
