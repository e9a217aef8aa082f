import { isDeepStrictEqual } from 'node:util'
import type { Config } from './config/config.ts'
import { renameDatabases } from './config/databases.ts'
import type { Hub } from './hub/hub.ts'
import type { Subscriber } from './hub/subscriber.ts'

/** What is built once: a change needs a new process. */
const FROZEN = [
  'host',
  'port',
  'socket',
  'journal',
  'workers',
  'postgres',
  'broker',
  'predecessors',
  'listener',
  'calls',
  'compression',
  'signals',
  'socketio',
  'engineio',
  'pingMs',
  'pongMs',
  'dev',
  'log',
] as const satisfies readonly (keyof Config)[]

const FROZEN_LIMITS = [
  'frameBytes',
  'bufferBytes',
  'windowBytes',
  'connectionsPerAddress',
  'bodyMs',
  'stallMs',
] as const

/** What a process keeps of its config for as long as it lives: plain data. */
export interface Fixed {
  readonly config: Pick<Config, (typeof FROZEN)[number]>
  readonly limits: Pick<Config['limits'], (typeof FROZEN_LIMITS)[number]>
}

export function fixedOf(config: Config): Fixed {
  return { config: pick(config, FROZEN), limits: pick(config.limits, FROZEN_LIMITS) }
}

/** This config with what is fixed already. */
export function withFixed(config: Config, fixed: Fixed): Config {
  return renameDatabases({ ...config, ...fixed.config, limits: { ...config.limits, ...fixed.limits } })
}

/**
 * The new config with what can't change while the daemon runs as it is; `changed` are the keys where it differs.
 * A wish that is not granted must not be told to clients either.
 */
export function keepFrozen(
  running: Config,
  wanted: Config,
): { readonly kept: Config; readonly changed: readonly string[] } {
  const keys = FROZEN.filter((key) => !isDeepStrictEqual(running[key], wanted[key]))
  const limits = FROZEN_LIMITS.filter((key) => running.limits[key] !== wanted.limits[key])
  const kept = withFixed(wanted, fixedOf(running))
  // A header is believed on the listener that it asks for, and on no other.
  const header = keys.includes('listener') && running.auth.header === null && wanted.auth.header !== null
  return {
    kept: header ? { ...kept, auth: { ...kept.auth, header: null } } : kept,
    changed: [...keys, ...limits.map((key) => `limits.${key}`), ...(header ? ['auth.header'] : [])],
  }
}

/** How many clients are asked about at once: a hook that hangs holds up no more, and the database is not flooded. */
const AT_ONCE = 32

/** Asks the present policies about every open subscription that one let in; ends those that are refused. */
export async function recheck(hub: Hub, subscriber: Subscriber): Promise<number> {
  const clients = [...hub].values()
  let ended = 0
  const work = async (): Promise<void> => {
    for (const client of clients) {
      const count = await subscriber.recheck(client)
      ended += count
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return ended
}

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, from[key]])) as Pick<T, K>
}
