import type { Backbone } from './backbone.ts'
import type { Hub } from './hub/hub.ts'
import type { Presence } from './hub/presence/presence.ts'
import type { Counts } from './ops/counts.ts'
import type { Reading } from './ops/metrics.ts'

/** What the journal of a server has done, by its own names for it. */
const JOURNAL: readonly (readonly [count: string, metric: string, help: string])[] = [
  ['catchUps', 'catch_ups', 'Times the journal was read for what notifications did not bring'],
  ['caughtUp', 'caught_up_entries', 'Entries that came that way'],
  ['jumps', 'jumps', 'Notifications of the journal that could not be delivered as they were'],
  ['contradictions', 'contradictions', 'Notifications that contradicted the journal, or were none of ours'],
  ['queries', 'queries', 'Queries for pages that the window could not prove'],
  ['batches', 'batches', 'Appends that were sent, many publications each'],
  ['settled', 'settled_batches', 'Appends whose commit was in doubt, and was found out'],
  ['epochs', 'epochs', 'Changes of the epoch that this node saw'],
  ['foreign', 'foreign_messages', 'Messages of the stream that are none of ours'],
  ['rebuilds', 'rebuilds', 'Times the stream was read anew'],
  ['resumes', 'resumes', 'Times it was read on after a lost connection'],
]

/** What is measured of the parts that a node has. */
export function readingsOf(
  { journal, bus, leadership, housekeeping }: Backbone,
  hub: Hub,
  presence: Presence,
  counts: Counts,
): Reading[] {
  const total = (name: string, help: string, read: () => number): Reading => ({
    name,
    help,
    kind: 'total',
    read,
  })
  const gauge = (
    name: string,
    help: string,
    read: () => number,
    aggregator: 'sum' | 'max' = 'sum',
  ): Reading => ({
    aggregator,
    name,
    help,
    kind: 'gauge',
    read,
  })
  const readings = [
    total(
      'livemessages_journal_entries_total',
      'Entries of the journal, whoever published them',
      () => counts.entries,
    ),
    total(
      'livemessages_conflated_total',
      'Messages that a newer one of their key stood for',
      () => counts.conflated,
    ),
    total(
      'livemessages_set_aside_total',
      'Times a client fell behind on conflated channels',
      () => counts.setAside,
    ),
    total('livemessages_confirms_total', 'Mailbox cursors that clients moved', () => counts.confirms),
    total(
      'livemessages_acks_wanted_total',
      'Events that asked their client for an answer',
      () => counts.acksWanted,
    ),
    total('livemessages_acks_total', 'Answers of clients to events', () => counts.acks),
    total('livemessages_acks_missed_total', 'Events that were not answered in time', () => counts.acksMissed),
    gauge(
      'livemessages_presence_entries',
      'Clients of this node on channels with presence, one for each channel',
      () => presence.entries,
    ),
    gauge(
      'livemessages_presence_channels',
      'Channels with presence on which somebody is, on any node',
      () => presence.channels,
      'max',
    ),
    total(
      'livemessages_presence_resyncs_total',
      'Times that another node was asked for all its entries',
      () => presence.resyncs,
    ),
    gauge('livemessages_laggards', 'Clients that are behind on conflated channels', () => hub.laggards),
    gauge(
      'livemessages_conflated_bytes',
      'Memory of the latest of conflated channels',
      () => hub.conflatedBytes,
    ),
  ]
  const { counts: done } = journal
  if (done !== undefined) {
    for (const [count, metric, help] of JOURNAL) {
      if (!(count in done)) continue
      readings.push(total(`livemessages_journal_${metric}_total`, help, () => journal.counts?.[count] ?? 0))
    }
  }
  if (bus.kind !== 'memory') {
    readings.push(
      gauge('livemessages_bus_peers', 'Other nodes that this one knows', () => bus.peers.size, 'max'),
      total('livemessages_bus_sent_letters_total', 'Letters handed to the bus', () => bus.counts.sent),
      total('livemessages_bus_received_letters_total', 'Letters of other nodes', () => bus.counts.received),
      total('livemessages_bus_dropped_letters_total', 'Letters that never left', () => bus.counts.dropped),
      total(
        'livemessages_bus_malformed_letters_total',
        'What came and is no letter',
        () => bus.counts.malformed,
      ),
      total('livemessages_bus_gaps_total', 'Times letters may have been missed', () => bus.counts.gaps),
    )
  }
  if (leadership !== null) {
    readings.push(
      gauge('livemessages_leader', '1 on the node that leads', () => (leadership.token === null ? 0 : 1)),
    )
  }
  if (housekeeping !== null) {
    readings.push(
      gauge(
        'livemessages_notify_queue_usage',
        "How full the server's NOTIFY queue is, on the leader",
        () => housekeeping.queueUsage ?? 0,
        'max',
      ),
      total(
        'livemessages_enqueued_total',
        'Enqueued publications that were moved into the journal',
        () => housekeeping.counts.drained,
      ),
      total('livemessages_swept_rows_total', 'Rows that retention deleted', () => housekeeping.counts.swept),
      total(
        'livemessages_listeners_ended_total',
        'Stale listeners that were ended',
        () => housekeeping.counts.endedListeners,
      ),
    )
  }
  return readings
}
