import type { LabelledReading, Reading } from '../ops/metrics.ts'
import type { Signalling } from './create.ts'
import type { Outcome } from './tally.ts'

/** What is measured of signals, by target. */
export function signalReadings(signals: Pick<Signalling, 'tally' | 'unnoted'>): LabelledReading[] {
  const { tally } = signals
  const label = 'target'
  const total = (outcome: Outcome, name: string, help: string): LabelledReading => ({
    name: `livemessages_signals_${name}_total`,
    help,
    kind: 'total',
    label,
    read: () =>
      [...tally].filter(([, what]) => what === outcome).map(([target, , count]) => [nameOf(target), count]),
  })
  return [
    total('taken', 'taken', 'Signals that a target took'),
    total('failed', 'failed_attempts', 'Attempts at a target that were in vain'),
    total('given_up', 'given_up', 'Signals that were given up: too old, or too many'),
    {
      name: 'livemessages_signals_waiting',
      help: 'Signals that wait for a target; with a database on the node that leads',
      kind: 'gauge',
      aggregator: 'max',
      label,
      read: () => [...tally.waiting].map(([target, count]) => [nameOf(target), count]),
    },
  ]
}

/** What grows while the database is away, whatever waits for targets. */
export function unnotedReading(signals: Pick<Signalling, 'unnoted'>): Reading {
  return {
    name: 'livemessages_signals_unnoted',
    help: 'Signals of this node that the database does not have yet',
    kind: 'gauge',
    read: () => signals.unnoted,
  }
}

/** That of the modules has a space in front, so that no webhook can have it. */
function nameOf(target: string): string {
  return target.trim()
}
