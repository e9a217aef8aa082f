import type { Grants } from '../auth/access.ts'
import type { Client } from '../hub/client.ts'
import { ClientError } from '../protocol/codes.ts'
import { userRest } from '../protocol/names.ts'
import { userKey } from '../protocol/people.ts'
import type { User } from '../registry/define.ts'
import type { Rules } from '../rules.ts'
import type { Allowance } from './inbox.ts'

/** Somebody who asks without a connection. */
export interface Visitor {
  readonly identity: User | null
  readonly grants: Grants
  readonly allowance: Allowance
  readonly address: string
}

/** Who asks for a call or a publication. */
export interface Asker extends Visitor {
  readonly client: Client | null
}

/** Who asks over a connection. */
export function connected(client: Client, allowance: Allowance): Asker {
  return { client, identity: client.identity, grants: client.grants, allowance, address: client.address }
}

/** Whose idempotency keys these are: no two askers have a key in common. */
export function publisherOf({ client, identity, address }: Asker): string {
  if (identity !== null) return `user:${userRest(userKey(identity))}`
  // Nothing else is known of somebody without a name and a connection.
  return client === null ? `address:${address}` : `session:${client.session}`
}

/** Takes one of what it may ask for. @throws {ClientError} rate_limited */
export function takeCall({ allowance, identity }: Asker, rules: Rules): void {
  const now = performance.now()
  const { limits } = rules.config
  if (!allowance.calls.take(now, rules.callRate)) {
    throw new ClientError('rate_limited', `at most ${limits.callsPerSecond} calls a second`)
  }
  const { userRate } = rules
  if (userRate === null || identity === null || rules.userRates.take(identity, now, userRate)) return
  throw new ClientError('rate_limited', `at most ${limits.userCallsPerSecond} calls of a user a second`)
}
