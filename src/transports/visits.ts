import type { Client } from '../hub/client.ts'
import type { Counts } from '../ops/counts.ts'
import type { Services } from '../registry/context.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import type { SignalSink } from '../signals/sink.ts'
import { reasonOf } from './endings.ts'

/** What is known of one connection's visit. */
export interface Visit {
  /** The `connect` hook let it in, or there is none. */
  letIn: boolean
  /** The code it left with; 0 while it is here. */
  leftWith: number
}

export interface VisitsDependencies {
  readonly live: Live
  readonly services: Services
  readonly counts: Counts
  /** Told of those who were let in. @default nobody */
  readonly signals?: SignalSink
}

/**
 * Tells the application who comes and goes: who was let in has one `disconnect`, after its `connect` has ended;
 * who was refused has none.
 */
export class Visits {
  readonly #deps: VisitsDependencies
  readonly #running = new Set<Promise<void>>()

  constructor(deps: VisitsDependencies) {
    this.#deps = deps
  }

  /** Asks the `connect` hook. @throws {ClientError} when it refuses */
  async come(visit: Visit, client: Client): Promise<void> {
    const { registry, config } = this.#deps.live.rules
    const { connect } = registry.hooks
    if (connect !== null) {
      const call = { place: 'hooks.connect', connection: client, deadlineMs: config.limits.callMs }
      await runHook(call, this.#deps.services, (run) => connect(client, run))
    }
    this.letIn(visit, client)
    if (visit.leftWith !== 0) this.#tell(client, visit.leftWith)
  }

  /** Nobody is to be asked, or has said yes. */
  letIn(visit: Visit, client: Client): void {
    visit.letIn = true
    this.#deps.signals?.connected(client)
  }

  left(visit: Visit, client: Client, code: number): void {
    visit.leftWith = code
    if (visit.letIn) this.#tell(client, code)
    else this.#deps.signals?.refused(client)
  }

  /** Waits for the hooks that are running. Each has a deadline of its own. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  #tell(client: Client, code: number): void {
    const { signals, live, counts } = this.#deps
    const left = { code, reason: reasonOf(code), time: Date.now() }
    if (live.rules.registry.hooks.disconnect === null) return signals?.disconnected(client, left)
    const told = this.#disconnect(client, code)
      // What it throws is logged where hooks are run; there is nobody left to tell.
      .catch(() => counts.error('hook', 'disconnect'))
      .finally(() => {
        this.#running.delete(told)
        // Afterwards: dies the process while the hook runs, another node runs it again.
        signals?.disconnected(client, left)
      })
    this.#running.add(told)
  }

  async #disconnect(client: Client, code: number): Promise<void> {
    // A connection may be ended in the midst of a delivery: a hook that publishes then would overtake it.
    await Promise.resolve()
    const { registry, config } = this.#deps.live.rules
    const { disconnect } = registry.hooks
    if (disconnect === null) return
    const call = { place: 'hooks.disconnect', connection: client, deadlineMs: config.limits.callMs }
    await runHook(call, this.#deps.services, (run) =>
      disconnect(client, { code, reason: reasonOf(code) }, run),
    )
  }
}
