import type { Access, ChannelPolicy, DatabaseNames } from '../config/config.ts'
import { databasePartOf, restOf, userRest } from '../protocol/names.ts'
import type { User } from '../registry/define.ts'

/** `unauthenticated`: a user might. `forbidden`: this one may not. Both are codes that clients are told. */
export type Decision = 'yes' | 'unauthenticated' | 'forbidden'

/** What a channel's policy says. `hook`: the subsystem's `subscribe` hook alone decides; without one, nobody may. */
export function mayBy(
  access: Exclude<Access, 'hook'>,
  user: User | null,
  channel: string,
  databases?: DatabaseNames,
): Decision
export function mayBy(
  access: Access,
  user: User | null,
  channel: string,
  databases?: DatabaseNames,
): Decision | 'hook'
export function mayBy(
  access: Access,
  user: User | null,
  channel: string,
  databases?: DatabaseNames,
): Decision | 'hook' {
  switch (access) {
    case 'public':
      return 'yes'
    case 'authenticated':
      return user === null ? 'unauthenticated' : 'yes'
    case 'user':
      if (user === null) return 'unauthenticated'
      return restOf(channel) === ownRest(user, databases) ? 'yes' : 'forbidden'
    case 'hook':
      return 'hook'
    case 'none':
      return 'forbidden'
    default:
      return closed(access)
  }
}

/** The rest of the user's own channel; null where there is none: elsewhere user 42 of a further database has none. */
function ownRest({ id, database }: User, databases: DatabaseNames | undefined): string | null {
  if (databases === undefined) return database === undefined ? userRest(id) : null
  return `${database ?? databases.home}:${userRest(id)}`
}

/**
 * Whether the channel is another database's than the user's, in a subsystem that runs per database. Nothing opens it
 * then: neither a policy, but `public`, nor a token, nor a hook.
 */
function isElsewhere(databases: DatabaseNames | undefined, user: User | null, channel: string): boolean {
  if (databases === undefined || user === null) return false
  return databasePartOf(channel) !== (user.database ?? databases.home)
}

/** What a user's token opens beside the policies, compiled once a user. */
export interface Grants {
  subscribe(channel: string): boolean
  publish(channel: string): boolean
}

/** Shared by all who have none. */
export const NO_GRANTS: Grants = { subscribe: () => false, publish: () => false }

export function grantsOf(user: User | null): Grants {
  const subscribe = user?.channels?.subscribe ?? []
  const publish = user?.channels?.publish ?? []
  if (subscribe.length === 0 && publish.length === 0) return NO_GRANTS
  return { subscribe: compile(subscribe), publish: compile(publish) }
}

/**
 * May this user subscribe? A token opens what the policy keeps closed, `none` included, but it doesn't
 * speak for a `hook`.
 */
export function maySubscribe(
  policy: Pick<ChannelPolicy, 'access' | 'databases'>,
  user: User | null,
  grants: Grants,
  channel: string,
): Decision | 'hook' {
  const { access, databases } = policy
  if (access !== 'public' && isElsewhere(databases, user, channel)) return 'forbidden'
  const decision = mayBy(access, user, channel, databases)
  if (decision === 'yes' || decision === 'hook') return decision
  return grants.subscribe(channel) ? 'yes' : decision
}

/** May this user publish from the client? */
export function mayPublish(
  policy: Pick<ChannelPolicy, 'publish' | 'databases'>,
  user: User | null,
  grants: Grants,
  channel: string,
): Decision {
  const { publish, databases } = policy
  if (publish !== 'public' && isElsewhere(databases, user, channel)) return 'forbidden'
  const decision = mayBy(publish, user, channel, databases)
  if (decision === 'yes') return decision
  return grants.publish(channel) ? 'yes' : decision
}

const PATTERN = /^(?:\*|[A-Za-z][A-Za-z0-9_-]{0,63}:[A-Za-z0-9_.:@=*-]{1,200})$/

/**
 * Whether the text is a pattern of channels: `*` (all), a channel, or a channel with `*` in its rest for any
 * characters, none and colons included. The subsystem is always named in full.
 */
export function isPattern(text: unknown): text is string {
  return typeof text === 'string' && PATTERN.test(text)
}

/** A predicate for channels; what is no pattern matches nothing. */
function compile(patterns: readonly string[]): (channel: string) => boolean {
  const exact = new Set<string>()
  const globs: string[][] = []
  for (const pattern of patterns) {
    if (!isPattern(pattern)) continue
    if (pattern === '*') return () => true
    if (pattern.includes('*')) globs.push(pattern.split('*'))
    else exact.add(pattern)
  }
  if (globs.length === 0) return (channel) => exact.has(channel)
  return (channel) => exact.has(channel) || globs.some((parts) => matches(parts, channel))
}

// No RegExp: many stars would backtrack exponentially there. Taking each inner part at its first place is
// enough, for a later place never leaves more room for the parts behind it.
function matches(parts: readonly string[], channel: string): boolean {
  const first = parts[0] ?? ''
  const last = parts.at(-1) ?? ''
  const end = channel.length - last.length
  let at = first.length
  if (end < at || !channel.startsWith(first) || !channel.endsWith(last)) return false
  for (let index = 1; index < parts.length - 1; index++) {
    const part = parts[index] ?? ''
    const found = channel.indexOf(part, at)
    if (found === -1 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}

function closed(_access: never): Decision {
  return 'forbidden'
}
