import type { Home } from '../database/home.ts'
import type { Emitter } from '../hub/emitter.ts'
import type { Hub } from '../hub/hub.ts'
import type { Publisher } from '../hub/publisher.ts'
import { createTransactionPublisher, refusedPublication } from '../hub/transactions.ts'
import type { Journal } from '../journal/journal.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { writeJson } from '../protocol/json.ts'
import type { Services } from '../registry/context.ts'
import { callWithin } from '../registry/dispatch.ts'
import type { Live } from '../rules.ts'
import { lendDatabases } from '../several-databases.ts'

export interface ServicesDependencies {
  readonly live: Live
  readonly home: Home
  readonly hub: Hub
  readonly publisher: Publisher
  readonly journal: Journal
  /** Made later: it is asked when a module runs. */
  emitter(): Emitter
  readonly turns: Services['turns']
  /** Aborted when the daemon stops. */
  readonly signal: AbortSignal
  readonly counts: Counts
  readonly log: Log
}

/** What modules are lent: the parts of the node as the context names them. */
export function createServices(deps: ServicesDependencies): Services {
  const { live, home, hub, publisher, journal, emitter, turns, signal, counts, log } = deps
  const transactions = createTransactionPublisher({ publisher, journal, counts, log })
  const services: Services = {
    log,
    ...lendDatabases(live, home, transactions),
    connections: hub,
    signal,
    async publish(channel, data, options) {
      const { key, exclude } = options ?? {}
      const json = writeJson(data)
      try {
        return { id: await publisher.publish({ channel, json, source: 'action', key, exclude }) }
      } catch (error) {
        throw refusedPublication(channel, error)
      }
    },
    emit: (target, event, args, options) => emitter().emit(target, event, args, options),
    presence: (channel) => emitter().presence(channel),
    call: (outer, name, data, options) =>
      callWithin(outer, name, data, options, live.rules.dispatch, services),
    turns,
  }
  return services
}
