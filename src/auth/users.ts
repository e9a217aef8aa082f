import type { User } from '../registry/define.ts'
import { isPattern } from './access.ts'

/** The longest user id, in characters. */
const MAX_ID = 255

/** PostgreSQL cuts longer names. */
const MAX_DATABASE = 63

/** What a token's claims or an `authenticate` hook's answer say of a user, not believed yet. */
export interface UserClaims {
  readonly id: unknown
  readonly info?: unknown
  /** Milliseconds since 1970. */
  readonly expires?: unknown
  /** Milliseconds since 1970. */
  readonly issued?: unknown
  readonly token?: unknown
  readonly database?: unknown
  readonly channels?: unknown
}

/**
 * The user that the claims describe, or a sentence about what is wrong with them. `names` is what the
 * sentence calls the id (`sub`, `id`).
 */
export function checkUser(claims: UserClaims, names: { readonly id: string }): User | string {
  const id = checkId(claims.id)
  if (id === null) {
    return `${names.id} must be text of 1 to ${MAX_ID} characters without control characters, or a whole number below 2^53`
  }
  const { expires } = claims
  if (expires !== undefined && (typeof expires !== 'number' || !Number.isFinite(expires))) {
    return 'the time at which it expires must be a number'
  }
  const { issued, token, database } = claims
  if (issued !== undefined && (typeof issued !== 'number' || !Number.isFinite(issued))) {
    return 'the time at which it was issued must be a number'
  }
  if (token !== undefined && !isName(token, MAX_ID)) {
    return `the token's own id must be text of 1 to ${MAX_ID} characters without control characters`
  }
  if (database !== undefined && !isName(database, MAX_DATABASE)) {
    return `database must be text of 1 to ${MAX_DATABASE} characters without control characters`
  }
  const channels = checkChannels(claims.channels)
  if (typeof channels === 'string') return channels
  return {
    id,
    ...(claims.info === undefined ? {} : { info: claims.info }),
    ...(expires === undefined ? {} : { expires }),
    ...(issued === undefined ? {} : { issued }),
    ...(token === undefined ? {} : { token }),
    ...(database === undefined ? {} : { database }),
    ...(channels === null ? {} : { channels }),
  }
}

function checkId(id: unknown): string | null {
  // Beyond 2^53 JSON.parse has rounded already: two users would be one.
  if (typeof id === 'number') return Number.isSafeInteger(id) ? String(id) : null
  return isName(id, MAX_ID) ? id : null
}

function isName(value: unknown, max: number): value is string {
  if (typeof value !== 'string' || value === '' || value.length > max) return false
  // PostgreSQL's text can't hold a NUL, and all lone surrogates become the same bytes in a channel's name.
  return !/[\p{Cc}\p{Cs}]/u.test(value)
}

function checkChannels(channels: unknown): NonNullable<User['channels']> | string | null {
  if (channels === undefined || channels === null) return null
  if (typeof channels !== 'object' || Array.isArray(channels)) {
    return 'channels must be an object with subscribe and publish'
  }
  const result: { subscribe?: readonly string[]; publish?: readonly string[] } = {}
  for (const key of ['subscribe', 'publish'] as const) {
    if (!Object.hasOwn(channels, key)) continue
    const patterns: unknown = Reflect.get(channels, key)
    if (!Array.isArray(patterns) || !patterns.every(isPattern)) {
      return `channels.${key} must be a list of patterns such as 'chat:general', 'chat:*' or '*'`
    }
    result[key] = patterns
  }
  return result
}
