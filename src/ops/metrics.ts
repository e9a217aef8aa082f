import type { Registry } from 'prom-client'
import type { Counts } from './counts.ts'
import type { Health } from './health.ts'

export interface MetricsDependencies {
  readonly counts: Counts
  readonly health: Health
  readonly connections: () => number
  readonly channels: () => number
  readonly journal: { readonly kind: string; readonly head: number; readonly bytes?: number }
}

/** The daemon's numbers for Prometheus. They are read when asked for; counting costs one addition. */
export class Metrics {
  readonly #deps: MetricsDependencies
  #registry: Promise<Registry> | null = null

  constructor(deps: MetricsDependencies) {
    this.#deps = deps
  }

  /** The text format of Prometheus, and its content type. */
  async read(): Promise<{ readonly contentType: string; readonly text: string }> {
    const registry = await this.start()
    return { contentType: registry.contentType, text: await registry.metrics() }
  }

  /** From now on the process is watched too: garbage collection, the event loop. Idempotent. */
  start(): Promise<Registry> {
    return (this.#registry ??= this.#build())
  }

  async #build(): Promise<Registry> {
    // Loaded when the daemon listens: it takes as long as a tenth of the start.
    const { collectDefaultMetrics, Counter, Gauge, Registry } = await import('prom-client')
    const { counts, health, connections, channels, journal } = this.#deps
    const registry = new Registry()
    collectDefaultMetrics({ register: registry })
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers: [registry],
        collect() {
          this.set(read())
        },
      })
    }
    const total = (name: string, help: string, read: () => number): void => {
      new Counter({
        name,
        help,
        registers: [registry],
        collect() {
          this.reset()
          this.inc(read())
        },
      })
    }
    const labelled = (
      name: string,
      help: string,
      label: string,
      read: () => Iterable<readonly [string | number, number]>,
    ): void => {
      new Counter({
        name,
        help,
        labelNames: [label],
        registers: [registry],
        collect() {
          this.reset()
          for (const [value, count] of read()) this.inc({ [label]: value }, count)
        },
      })
    }
    gauge('livemessages_connections', 'Open connections of this node', connections)
    gauge('livemessages_channels', 'Channels with a subscriber on this node', channels)
    gauge('livemessages_journal_position', 'Position up to which this node has delivered', () => journal.head)
    gauge('livemessages_journal_bytes', 'Memory of recent publications', () => journal.bytes ?? 0)
    new Gauge({
      name: 'livemessages_part_up',
      help: '1 where a source, the journal or the database can be used',
      labelNames: ['part'],
      registers: [registry],
      collect() {
        this.reset()
        for (const part of health.parts()) this.set({ part: part.name }, part.ready ? 1 : 0)
      },
    })
    total('livemessages_connections_total', 'Connections since the start', () => counts.connectionsOpened)
    total('livemessages_deliveries_total', 'Publications handed to sockets', () => counts.deliveries)
    total(
      'livemessages_duplicates_total',
      'Publications with a known idempotency key',
      () => counts.duplicates,
    )
    total('livemessages_frames_total', 'Frames of clients', () => counts.frames)
    total('livemessages_calls_total', 'Calls of actions', () => counts.calls)
    total('livemessages_slow_clients_total', 'Connections closed with 4450', () => counts.slowClients)
    total(
      'livemessages_dropped_frames_total',
      'Frames over the hard buffer limit',
      () => counts.droppedFrames,
    )
    total(
      'livemessages_source_gaps_total',
      'Times a source may have missed something',
      () => counts.sourceGaps,
    )
    total('livemessages_reloads_total', 'Reloads that were taken', () => counts.reloads)
    total('livemessages_reload_failures_total', 'Reloads that were refused', () => counts.reloadFailures)
    labelled('livemessages_publications_total', 'Publications taken', 'source', () => counts.publications)
    labelled('livemessages_errors_total', 'What was refused or failed', 'code', () => counts.errors)
    labelled('livemessages_closes_total', 'Connections that the daemon closed', 'code', () => counts.closes)
    return registry
  }
}
