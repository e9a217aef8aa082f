import type { Registry } from 'prom-client'
import type { Counts } from './counts.ts'
import type { Health } from './health.ts'
import type { MetricData, MetricGroup, MetricSet } from './metric-set.ts'

/** A number of a part that not every node has. */
export interface Reading {
  readonly name: string
  readonly help: string
  readonly kind: 'total' | 'gauge'
  /** How the numbers of several workers become one. @default 'sum' */
  readonly aggregator?: MetricData['aggregator']
  read(): number
}

/** The same, one number for each value of a label. */
export interface LabelledReading extends Omit<Reading, 'read'> {
  readonly label: string
  read(): Iterable<readonly [value: string, number]>
}

export interface MetricsDependencies {
  readonly readings: readonly Reading[]
  readonly labelled?: readonly LabelledReading[]
  readonly counts: Counts
  readonly health: Health
  readonly connections: () => number
  /** Open connections, by transport. */
  readonly transports: () => Iterable<readonly [transport: string, connections: number]>
  readonly channels: () => number
  readonly journal: { readonly kind: string; readonly head: number; readonly bytes?: number }
  /** Null where there is no table for them. */
  readonly deadLetters?: DeadLetterNumbers | null
  /** Where several processes share the port: what is read is of all of them. */
  readonly group?: MetricGroup | undefined
}

/** What is known of dead letters, as plain numbers. */
export interface DeadLetterNumbers {
  /** In the table just now. */
  readonly kept: number
  /** Put there by this node, by source. */
  readonly total: ReadonlyMap<string, number>
  /** Lost: there was no room for them in an outage of the database. */
  readonly dropped: number
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
    const { group } = this.#deps
    const own = await this.start()
    const registry = group === undefined ? own : await registryOf(await group.gather())
    return { contentType: registry.contentType, text: await registry.metrics() }
  }

  /** This process's numbers alone, as data. */
  async measure(): Promise<MetricSet> {
    const registry = await this.start()
    return dataOf(registry)
  }

  /** From now on the process is watched too: garbage collection, the event loop. Idempotent. */
  start(): Promise<Registry> {
    return (this.#registry ??= this.#build())
  }

  async #build(): Promise<Registry> {
    // Loaded when the daemon listens: it takes as long as a tenth of the start.
    const { collectDefaultMetrics, Counter, Gauge, Registry } = await import('prom-client')
    const { counts, health, connections, transports, channels, journal, deadLetters } = this.#deps
    const registry = new Registry()
    collectDefaultMetrics({ register: registry })
    const gauge = (
      name: string,
      help: string,
      read: () => number,
      aggregator: MetricData['aggregator'] = 'sum',
    ): void => {
      new Gauge({
        name,
        help,
        aggregator,
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
    new Gauge({
      name: 'livemessages_transport_connections',
      help: 'Open connections of this node, by transport; of polling those that wait, and sessions between requests',
      labelNames: ['transport'],
      registers: [registry],
      collect() {
        this.reset()
        for (const [transport, count] of transports()) this.set({ transport }, count)
      },
    })
    gauge('livemessages_channels', 'Channels with a subscriber on this node', channels)
    gauge(
      'livemessages_journal_position',
      'Position up to which this node has delivered',
      () => journal.head,
      'min',
    )
    gauge('livemessages_journal_bytes', 'Memory of recent publications', () => journal.bytes ?? 0)
    new Gauge({
      name: 'livemessages_part_up',
      help: '1 where a source, the journal or the database can be used',
      labelNames: ['part'],
      aggregator: 'min',
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
    total('livemessages_requests_total', 'Requests by HTTP, upgrades excepted', () => counts.requests)
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
    labelled(
      'livemessages_blocked_seconds_total',
      'Time for which modules held up the event loop, in turns over limits.blockMs',
      'module',
      () => counts.blocked,
    )
    labelled('livemessages_closes_total', 'Connections that the daemon closed', 'code', () => counts.closes)
    for (const { name, help, kind, read, aggregator } of this.#deps.readings) {
      if (kind === 'total') total(name, help, read)
      else gauge(name, help, read, aggregator)
    }
    for (const { name, help, kind, label, read, aggregator = 'sum' } of this.#deps.labelled ?? []) {
      if (kind === 'total') {
        labelled(name, help, label, read)
        continue
      }
      new Gauge({
        name,
        help,
        aggregator,
        labelNames: [label],
        registers: [registry],
        collect() {
          this.reset()
          for (const [value, number] of read()) this.set({ [label]: value }, number)
        },
      })
    }
    if (deadLetters) {
      gauge('livemessages_dead_letters_kept', 'Dead letters in the table', () => deadLetters.kept, 'max')
      labelled(
        'livemessages_dead_letters_total',
        'Dead letters put into the table',
        'source',
        () => deadLetters.total,
      )
      total(
        'livemessages_dead_letters_lost_total',
        'Dead letters that there was no room for',
        () => deadLetters.dropped,
      )
    }
    return registry
  }
}

/** The numbers of several processes as those of one. */
export async function addUp(sets: readonly MetricSet[]): Promise<MetricSet> {
  return dataOf(await registryOf(sets))
}

async function registryOf(sets: readonly MetricSet[]): Promise<Registry> {
  const { AggregatorRegistry } = await import('prom-client')
  return AggregatorRegistry.aggregate<typeof Registry.PROMETHEUS_CONTENT_TYPE>([...sets])
}

async function dataOf(registry: Registry): Promise<MetricSet> {
  // Its types call `type` a number, which it is not.
  return (await registry.getMetricsAsJSON()) as unknown as MetricSet
}
