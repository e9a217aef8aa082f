/** The NOTIFY name that carries publications: the one that `livemessage.publish` says. */
export const PUBLICATIONS_NOTIFY = 'livemessages'

/** A subsystem's or an action's name. */
export const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/

/** The longest rest of a channel, in characters. */
export const MAX_REST = 200

const CHANNEL = /^[A-Za-z][A-Za-z0-9_-]{0,63}:[A-Za-z0-9_.:@=-]{1,200}$/

/** Whether the text is a channel's name: `<subsystem>:<rest>`. */
export function isChannel(text: unknown): boolean {
  return typeof text === 'string' && CHANNEL.test(text)
}

/** The subsystem of a channel's name that `isChannel` has accepted. */
export function subsystemOf(channel: string): string {
  return channel.slice(0, channel.indexOf(':'))
}

/** What stands behind the subsystem. */
export function restOf(channel: string): string {
  return channel.slice(channel.indexOf(':') + 1)
}

/**
 * The channel of one user in a subsystem with `access: 'user'`: `userChannel('messages', '42')` is `messages:42`. With a
 * database, where the subsystem runs per database: `userChannel('messages', '42', 'b')` is `messages:b:42`.
 * @throws {TypeError} for nobody, which data that lacks a field can make of any type: `messages:undefined` would be
 *   somebody's
 */
export function userChannel(subsystem: string, user: string, database?: string | null): string {
  const given: unknown = user
  if (given === undefined || given === null || given === '') {
    throw new TypeError(
      `expected a user's id for a channel of '${subsystem}', got ${given === '' ? 'an empty text' : String(given)}`,
    )
  }
  const channel = `${subsystem}:${userRest(user)}`
  return database === undefined || database === null ? channel : inDatabase(channel, database)
}

/** A channel that leaves its database out, with it: `messages:42` in `b` is `messages:b:42`. */
export function inDatabase(channel: string, database: string): string {
  return `${subsystemOf(channel)}:${database}:${restOf(channel)}`
}

/** A channel that names its database, without: `messages:b:42` is `messages:42`. */
export function withoutDatabase(channel: string): string {
  const start = channel.indexOf(':') + 1
  return channel.slice(0, start) + channel.slice(channel.indexOf(':', start) + 1)
}

/** The database in the channel of a subsystem that runs per database; null where none is named. */
export function databasePartOf(channel: string): string | null {
  const start = channel.indexOf(':') + 1
  const end = channel.indexOf(':', start)
  return end === -1 ? null : channel.slice(start, end)
}

const SAFE = /^[A-Za-z0-9_.:@-]+$/

/** A user id as a channel's rest: bytes that a channel can't hold are written `=XX`. */
export function userRest(user: string): string {
  if (SAFE.test(user)) return user
  let rest = ''
  for (const byte of Buffer.from(user)) {
    const char = String.fromCharCode(byte)
    rest += SAFE.test(char) ? char : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return rest
}
