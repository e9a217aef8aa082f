import type { SignalName, SignalTargetConfig } from '../config/signals-config.ts'
import type { Registry } from '../registry/registry.ts'
import { HOOKS_TARGET } from './module-hooks.ts'
import { wants } from './signal.ts'

/** What somebody wants to hear, by the config and the modules of this moment. */
export interface Wants {
  /** Whether anything of connections is. */
  readonly connections: boolean
  /** Whether the database is to know who is connected, and to what. */
  readonly roster: boolean
  readonly occupancy: boolean
  readonly calls: boolean
  readonly messages: boolean
  /** Any of these, or the start. */
  readonly any: boolean
}

export function wantsOf(
  targets: readonly SignalTargetConfig[],
  { hooks, unsubscribe, occupied, vacated }: Registry,
  hasDatabase: boolean,
): Wants {
  const told = (...names: SignalName[]): boolean =>
    targets.some(({ events }) => names.some((name) => events.includes(name)))
  const ends = told('disconnect', 'unsubscribe')
  const roster = hasDatabase && (ends || hooks.disconnect !== null || unsubscribe.size > 0)
  const connections = roster || ends || told('connect', 'subscribe')
  const occupancy = occupied.size > 0 || vacated.size > 0 || told('occupied', 'vacated')
  const calls = told('call')
  const messages = told('message')
  return {
    connections,
    roster,
    occupancy,
    calls,
    messages,
    any: connections || occupancy || calls || messages || told('start'),
  }
}

/** The names of those who are told. `lost`: of a connection that ended with its node, which no hook was told yet. */
export function routeOf(
  targets: readonly SignalTargetConfig[],
  { hooks, unsubscribe, occupied, vacated }: Registry,
  { name, subsystem, lost = false }: { name: SignalName; subsystem?: string | undefined; lost?: boolean },
): readonly string[] {
  const names = targets.filter((target) => wants(target, name, subsystem)).map((target) => target.name)
  const hooked =
    subsystem === undefined
      ? lost && name === 'disconnect' && hooks.disconnect !== null
      : (name === 'occupied' && occupied.has(subsystem)) ||
        (name === 'vacated' && vacated.has(subsystem)) ||
        (lost && name === 'unsubscribe' && unsubscribe.has(subsystem))
  if (hooked) names.push(HOOKS_TARGET)
  return names
}
