import type { Counts } from '../ops/counts.ts'
import { restOf } from '../protocol/names.ts'
import type { Run, Services } from '../registry/context.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import { LostConnection } from './lost-connection.ts'
import type { RosterDetail, Signal } from './signal.ts'
import type { SignalTarget, Verdict, Waiting } from './target.ts'

/** The name under which what modules are to be told waits. Webhooks can't have it. */
export const HOOKS_TARGET = ' hooks'

export interface ModuleHooksOptions {
  readonly live: Live
  readonly services: () => Services
  readonly counts: Counts
}

/** What is kept for hooks: a signal, with what modules may know of a connection. */
type HookSignal = Signal & { readonly info?: unknown }

/**
 * Runs the modules' hooks for what happens once on all nodes: a channel occupied or vacated, and what became of the
 * connections of a node that was lost. A hook that throws was run all the same.
 */
export class ModuleHooks implements SignalTarget {
  readonly name = HOOKS_TARGET
  readonly #options: ModuleHooksOptions

  constructor(options: ModuleHooksOptions) {
    this.#options = options
  }

  start(): void {
    // Nothing to be opened.
  }

  async deliver(waiting: readonly Waiting[], signal: AbortSignal): Promise<Verdict> {
    // What has nothing to do with one another need not wait for it.
    const lines = new Map<string, HookSignal[]>()
    for (const { body } of waiting) {
      const told = JSON.parse(body) as HookSignal
      const key = told.session ?? told.channel ?? ''
      const line = lines.get(key)
      if (line === undefined) lines.set(key, [told])
      else line.push(told)
    }
    await Promise.all(
      [...lines.values()].map(async (line) => {
        for (const told of line) {
          signal.throwIfAborted()
          await this.#run(told)
        }
      }),
    )
    return { taken: true }
  }

  stop(): Promise<void> {
    return Promise.resolve()
  }

  async #run(told: HookSignal): Promise<void> {
    try {
      if (told.name === 'occupied' || told.name === 'vacated') await this.#occupancy(told, told.name)
      else if (told.name === 'unsubscribe') await this.#unsubscribe(told)
      else if (told.name === 'disconnect') await this.#disconnect(told)
    } catch {
      // Logged where hooks are run.
      this.#options.counts.error('hook', told.name)
    }
  }

  async #occupancy({ channel, subsystem, time }: HookSignal, name: 'occupied' | 'vacated'): Promise<void> {
    const { registry, config } = this.#options.live.rules
    if (channel === undefined || subsystem === undefined) return
    const hook = registry[name].get(subsystem)
    if (hook === undefined) return
    const call = { place: `${subsystem}.${name}`, connection: null, deadlineMs: config.limits.callMs }
    const event = { channel, subsystem, rest: restOf(channel), time }
    await runHook(call, this.#options.services(), (run: Run) => hook(event, run))
  }

  async #unsubscribe(told: HookSignal): Promise<void> {
    const { registry, config } = this.#options.live.rules
    const { channel, subsystem } = told
    if (channel === undefined || subsystem === undefined) return
    const hook = registry.unsubscribe.get(subsystem)
    if (hook === undefined) return
    const connection = new LostConnection(detailOf(told))
    const call = { place: `${subsystem}.unsubscribe`, connection, deadlineMs: config.limits.callMs }
    const event = { channel, subsystem, rest: restOf(channel), reason: 'node lost' } as const
    await runHook(call, this.#options.services(), (run) => hook(event, run))
  }

  async #disconnect(told: HookSignal): Promise<void> {
    const { registry, config } = this.#options.live.rules
    const { disconnect } = registry.hooks
    if (disconnect === null) return
    const connection = new LostConnection(detailOf(told))
    const call = { place: 'hooks.disconnect', connection, deadlineMs: config.limits.callMs }
    const why = { code: told.code ?? 1006, reason: told.reason ?? 'node lost' }
    await runHook(call, this.#options.services(), (run) => disconnect(connection, why, run))
  }
}

function detailOf(told: HookSignal): RosterDetail {
  return {
    session: told.session ?? '',
    user: told.user ?? null,
    database: told.database ?? null,
    info: told.info ?? null,
    address: told.address ?? '',
    transport: told.transport ?? '',
    since: told.since ?? 0,
  }
}
