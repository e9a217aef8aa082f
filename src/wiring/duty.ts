import type { Backbone } from '../backbone.ts'
import type { Log } from '../ops/log.ts'
import type { Live } from '../rules.ts'
import type { Duty } from '../sources/duty.ts'

/** Who of the nodes answers for what all of them hear; null where there is one node, or nothing that all hear. */
export async function createDuty(
  { leadership, journal }: Backbone,
  live: Live,
  log: Log,
): Promise<Duty | null> {
  if (leadership === null || journal.kind === 'memory') return null
  const { Duty } = await import('../sources/duty.ts')
  return new Duty({
    leadership,
    isJournaled: (subsystem) => live.rules.config.channels.get(subsystem)?.history !== null,
    caughtUp: async () => journal.caughtUp(),
    log,
  })
}
