import type { Log } from '../ops/log.ts'
import { Hub, type HubDependencies } from './hub.ts'

/** At `trace` the log says to how many of this node's clients each publication went. At any other level it is a hub. */
export function createHub(log: Log, deps: HubDependencies): Hub {
  return log.level === 'trace' ? new LoggedHub(log, deps) : new Hub(deps)
}

class LoggedHub extends Hub {
  readonly #counts: HubDependencies['counts']
  readonly #log: Log

  constructor(log: Log, deps: HubDependencies) {
    super(deps)
    this.#counts = deps.counts
    this.#log = log
  }

  override deliver(channel: string, message: string, exclude?: string): boolean {
    const before = this.#counts.deliveries
    const heard = super.deliver(channel, message, exclude)
    this.#log.trace({ channel, clients: this.#counts.deliveries - before }, 'delivered')
    return heard
  }
}
