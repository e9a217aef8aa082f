import { isDeepStrictEqual } from 'node:util'
import { createOrigins, type Origins } from './auth/origins.ts'
import { createPeers, type Peers } from './auth/peers.ts'
import { createRate, type Rate } from './auth/rates.ts'
import { Revocations } from './auth/revocations.ts'
import { createTokens, type Tokens } from './auth/tokens.ts'
import { UserRates } from './auth/user-rates.ts'
import { Whoami } from './auth/whoami.ts'
import type { Config } from './config/config.ts'
import type { Log } from './ops/log.ts'
import type { DispatchRules } from './registry/dispatch.ts'
import type { Registry } from './registry/registry.ts'

/**
 * Everything that a reload may change, in one immutable object: built aside, swapped whole. Whoever needs a
 * rule reads it from `Live.rules` at that moment, and keeps it at most until the next `await`.
 */
export interface Rules {
  readonly config: Config
  readonly registry: Registry
  readonly tokens: Tokens
  /** Who asks the application; null where it is not to be asked. */
  readonly whoami: Whoami | null
  /** Who is refused, whatever says who it is. The same through all reloads. */
  readonly revocations: Revocations
  readonly origins: Origins
  /** The same without `*` and `null`, which name nobody: whose pages may send with cookies what changes something. */
  readonly namedOrigins: Origins
  readonly peers: Peers
  /** Frames of any kind, and calls and publications, that one connection may send. */
  readonly frameRate: Rate
  readonly callRate: Rate
  /** The same for all connections of one user; null: not limited. */
  readonly userRate: Rate | null
  readonly userRates: UserRates
  readonly dispatch: DispatchRules
}

export interface Live {
  readonly rules: Rules
}

/** @throws {ConfigError} for keys, origins and proxies that are none */
export function buildRules(config: Config, registry: Registry, log: Log, before?: Rules): Rules {
  const { limits } = config
  const revocations = before?.revocations ?? new Revocations()
  const { userCallsPerSecond, userCallBurst } = limits
  // Kept where nothing changed: it holds the key set that was fetched.
  const sameKeys = before !== undefined && isDeepStrictEqual(before.config.auth.jwt, config.auth.jwt)
  return {
    config,
    registry,
    tokens: sameKeys ? before.tokens : createTokens(config.auth.jwt, { log }),
    whoami: whoamiOf(config, revocations, log, before),
    revocations,
    origins: createOrigins(config.origins),
    namedOrigins: createOrigins(config.origins.filter((origin) => origin !== '*' && origin !== 'null')),
    peers: createPeers(config),
    frameRate: createRate({ perSecond: limits.framesPerSecond, burst: limits.framesPerSecond }),
    callRate: createRate({ perSecond: limits.callsPerSecond, burst: limits.callBurst }),
    userRate:
      userCallsPerSecond === null
        ? null
        : createRate({ perSecond: userCallsPerSecond, burst: userCallBurst ?? 2 * userCallsPerSecond }),
    userRates: before?.userRates ?? new UserRates(),
    dispatch: {
      registry,
      limits,
      accessOf: (subsystem) => config.channels.get(subsystem)?.access ?? 'authenticated',
    },
  }
}

/** Kept where nothing changed: it holds what the application has answered, and asks it no more than it may. */
function whoamiOf(
  { auth: { url } }: Config,
  revocations: Revocations,
  log: Log,
  before: Rules | undefined,
): Whoami | null {
  if (url === null) return null
  if (before !== undefined && isDeepStrictEqual(before.config.auth.url, url)) return before.whoami
  const whoami = new Whoami(url, { log, vouch: (user, askedAt) => revocations.vouch(user, askedAt) })
  if (before?.whoami) whoami.takeOver(before.whoami)
  return whoami
}
