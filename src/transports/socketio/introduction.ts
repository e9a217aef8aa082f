import type { Range } from '../../hub/subscriber.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { Credentials } from '../../registry/define.ts'
import type { Rules } from '../../rules.ts'
import { checkUrl } from '../handshake.ts'
import type { Carrier } from '../engineio/carrier.ts'

/** What a client gives when it enters a namespace (`auth` of the JavaScript client). */
export type Introduction = Readonly<Record<string, unknown>>

/** What it wants to be subscribed to at once. */
export interface Wishes {
  readonly channels: readonly string[]
  readonly range: Range
}

/** Its token wins over those of the connection's first request. Null where there is nothing to go by. */
export function credentialsOf(
  { handshake, address }: Carrier,
  auth: Introduction,
  { registry, tokens, config }: Rules,
): Credentials | null {
  const asked = registry.hooks.authenticate !== null
  const given = config.auth.url !== null || config.auth.header !== null
  if (!asked && !given && !tokens.configured && !config.auth.required) return null
  const first = handshake?.credentials ?? { token: null, headers: {}, cookies: {}, query: {}, address }
  const token = typeof auth['token'] === 'string' && auth['token'] !== '' ? auth['token'] : first.token
  return asked ? { ...first, token, auth } : { ...first, token }
}

/**
 * Null where it wants nothing.
 * @param subsystem whose channels may be named without it
 * @throws {ClientError} for channels, cursors and counts that are none
 */
export function wishesOf(auth: Introduction, subsystem: string | null): Wishes | null {
  const { channels: named, since, last } = auth
  if (named === undefined || named === null) return null
  const list: readonly unknown[] = Array.isArray(named) ? named : [named]
  const channels = list.map((channel) => {
    if (typeof channel !== 'string') throw new ClientError('invalid_input', 'auth.channels: expected texts')
    return subsystem === null || channel.includes(':') ? channel : `${subsystem}:${channel}`
  })
  if (since !== undefined && since !== null && typeof since !== 'string') {
    throw new ClientError('invalid_input', 'auth.since: expected a cursor')
  }
  const count = last === undefined || last === null ? undefined : typeof last === 'number' ? last : NaN
  const range: Range = { since: since ?? undefined, last: count }
  const wishes = { channels: [...new Set(channels)], range }
  checkUrl({ credentials: null, ...wishes })
  return wishes.channels.length === 0 ? null : wishes
}
