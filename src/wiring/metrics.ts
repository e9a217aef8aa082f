import { authReadings } from '../auth/readings.ts'
import type { Backbone } from '../backbone.ts'
import type { Burial } from '../burial.ts'
import type { Home } from '../database/home.ts'
import type { Hub } from '../hub/hub.ts'
import type { Presence } from '../hub/presence/presence.ts'
import type { Counts } from '../ops/counts.ts'
import type { Health } from '../ops/health.ts'
import type { MetricGroup } from '../ops/metric-set.ts'
import { Metrics } from '../ops/metrics.ts'
import type { Outboxes } from '../outboxes.ts'
import { readingsOf } from '../readings.ts'
import type { Live } from '../rules.ts'
import { databaseReadings } from '../several-databases.ts'
import type { Signalling } from '../signals/create.ts'
import { signalReadings, unnotedReading } from '../signals/readings.ts'

export interface MetricsDependencies {
  readonly live: Live
  readonly home: Home
  readonly backbone: Backbone
  readonly hub: Hub
  readonly presence: Presence
  readonly signals: Signalling
  readonly outboxes: Outboxes
  readonly burial: Burial
  readonly health: Health
  readonly group: MetricGroup | undefined
  readonly counts: Counts
}

/** What is measured of the node's parts. */
export function createMetrics(deps: MetricsDependencies): Metrics {
  const { live, home, backbone, hub, presence, signals, outboxes, burial, health, group, counts } = deps
  return new Metrics({
    group,
    readings: [
      ...readingsOf(backbone, hub, presence, counts),
      ...authReadings(live),
      unnotedReading(signals),
    ],
    labelled: [...databaseReadings(live, home, outboxes), ...signalReadings(signals)],
    ...(burial.letters === null ? {} : { deadLetters: burial.letters }),
    counts,
    health,
    connections: () => hub.size,
    transports: () => hub.transports,
    channels: () => hub.channels.size,
    journal: backbone.journal,
  })
}
