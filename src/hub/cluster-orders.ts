import { isCloseCode } from '../protocol/codes.ts'
import { isRecord } from '../protocol/json.ts'
import { isChannel } from '../protocol/names.ts'
import { MAX_ACK_MS } from './events.ts'

/** Whom an event goes to. */
export type Target =
  | Person
  /** All who are subscribed to it. */
  | { readonly channel: string }
  | { readonly all: true }

/** One connection, or all of a user's. */
export type Person =
  | { readonly session: string }
  /** Of the home database where none is named. */
  | { readonly user: string; readonly database?: string }

/** Connections that fulfil all that is said. */
export interface ConnectionFilter {
  readonly session?: string
  readonly user?: string
  /** Of the user. @default the home one */
  readonly database?: string
  readonly channel?: string
}

/** What a node does for itself or for another. */
export type Order =
  | {
      readonly op: 'emit'
      readonly target: Target
      readonly event: string
      /** The arguments as JSON text: numbers keep every digit. */
      readonly args: string
      readonly exclude: string | null
    }
  | {
      /** As `emit`, and waits for the clients' answers. */
      readonly op: 'ask'
      readonly target: Target
      readonly event: string
      readonly args: string
      readonly exclude: string | null
      readonly timeoutMs: number
      /** Answers that are told, at the most. */
      readonly limit: number
    }
  | { readonly op: 'disconnect'; readonly person: Person; readonly reason: string; readonly code: number }
  | { readonly op: 'connections'; readonly filter: ConnectionFilter; readonly limit: number }
  | { readonly op: 'presence'; readonly channel: string; readonly limit: number }
  | { readonly op: 'channels'; readonly prefix: string; readonly limit: number }
  | { readonly op: 'stats' }

/** A connection, as the server API shows it. */
export interface ConnectionInfo {
  readonly node: string
  readonly session: string
  readonly user: string | null
  /** Whose user it is; left out: the home one's. */
  readonly database?: string
  readonly info: unknown
  readonly address: string
  readonly transport: string
  /** Milliseconds since 1970. */
  readonly since: number
  /** The first hundred; `channelCount` says how many there are. */
  readonly channels: readonly string[]
  readonly channelCount: number
}

/** A client, as presence shows it. */
export interface PresentClient {
  readonly session: string
  readonly user: string | null
  readonly database?: string
  readonly info: unknown
}

export interface ChannelInfo {
  readonly channel: string
  readonly subscribers: number
}

/** What came of an event that asked for answers; `count` says how many did answer. */
export interface AskedListing extends Listing<Acknowledgement> {
  /** How many it was sent to. */
  readonly sent: number
}

/** A client's answer to an event. */
export interface Acknowledgement {
  readonly session: string
  readonly user: string | null
  readonly args: readonly unknown[]
}

/** Some of what there is. */
export interface Listing<Item> {
  readonly items: readonly Item[]
  /** How many there are. */
  readonly count: number
}

/** The most that an answer lists. */
export const MAX_LISTED = 1000

/** What another node asks for; null where it is nothing that can be done. */
export function decodeOrder(value: unknown): Order | null {
  if (!isRecord(value)) return null
  switch (value['op']) {
    case 'emit':
      return decodeEmit(value)
    case 'ask': {
      const { timeoutMs, limit } = value
      const emit = decodeEmit(value)
      if (emit === null || !isLimit(limit) || !isCount(timeoutMs) || timeoutMs > MAX_ACK_MS) return null
      return { ...emit, op: 'ask', timeoutMs, limit }
    }
    case 'disconnect': {
      const { person, reason, code } = value
      const whom = decodePerson(person)
      if (whom === null || !isText(reason) || !isCloseCode(code)) return null
      return { op: 'disconnect', person: whom, reason, code: code as number }
    }
    case 'connections': {
      const { filter, limit } = value
      if (!isRecord(filter) || !isLimit(limit)) return null
      const { session, user, database, channel } = filter
      if (![session, user, database, channel].every((part) => part === undefined || isText(part))) return null
      return { op: 'connections', filter: { ...filter }, limit }
    }
    case 'presence': {
      const { channel, limit } = value
      return isName(channel) && isLimit(limit) ? { op: 'presence', channel, limit } : null
    }
    case 'channels': {
      const { prefix, limit } = value
      return isText(prefix) && isLimit(limit) ? { op: 'channels', prefix, limit } : null
    }
    case 'stats':
      return { op: 'stats' }
    default:
      return null
  }
}

export function decodeCount(value: unknown): number | null {
  return isCount(value) ? value : null
}

export function decodeConnections(value: unknown): Listing<ConnectionInfo> | null {
  return decodeListing(value, (item) => {
    const { node, session, user, info = null, address, transport, since, channels, channelCount } = item
    const { database } = item
    if (database !== undefined && !isText(database)) return null
    if (!isText(node) || !isText(session) || !isText(address) || !isText(transport)) return null
    if (!isUser(user) || !isCount(since) || !isCount(channelCount)) return null
    if (!Array.isArray(channels) || !channels.every(isName)) return null
    const known = { node, session, user, info, address, transport, since, channels, channelCount }
    return database === undefined ? known : { ...known, database }
  })
}

export function decodePresence(value: unknown): Listing<PresentClient> | null {
  return decodeListing(value, ({ session, user, database, info = null }) => {
    if (!isText(session) || !isUser(user)) return null
    if (database === undefined) return { session, user, info }
    return isText(database) ? { session, user, database, info } : null
  })
}

export function decodeAsked(value: unknown): AskedListing | null {
  const listing = decodeListing(value, ({ session, user, args }) =>
    isText(session) && isUser(user) && Array.isArray(args) ? { session, user, args } : null,
  )
  if (listing === null || !isRecord(value) || !isCount(value['sent'])) return null
  return { ...listing, sent: value['sent'] }
}

export function decodeChannels(value: unknown): Listing<ChannelInfo> | null {
  return decodeListing(value, ({ channel, subscribers }) =>
    isName(channel) && isCount(subscribers) ? { channel, subscribers } : null,
  )
}

export function decodeStats(value: unknown): Readonly<Record<string, unknown>> | null {
  return isRecord(value) ? value : null
}

function decodeEmit({
  target,
  event,
  args,
  exclude,
}: Record<string, unknown>): (Order & { readonly op: 'emit' }) | null {
  const whom = decodeTarget(target)
  if (whom === null || !isText(event) || typeof args !== 'string' || !isUser(exclude)) return null
  // It goes out to clients as it is: it must be what it claims.
  return isArrayText(args) ? { op: 'emit', target: whom, event, args, exclude } : null
}

function decodeTarget(value: unknown): Target | null {
  if (!isRecord(value)) return null
  if (value['all'] === true) return { all: true }
  if (isName(value['channel'])) return { channel: value['channel'] }
  return decodePerson(value)
}

function decodePerson(value: unknown): Person | null {
  if (!isRecord(value)) return null
  if (isText(value['session'])) return { session: value['session'] }
  const { user, database } = value
  if (!isText(user)) return null
  if (database === undefined) return { user }
  return isText(database) ? { user, database } : null
}

function decodeListing<Item>(
  value: unknown,
  decode: (item: Record<string, unknown>) => Item | null,
): Listing<Item> | null {
  if (!isRecord(value)) return null
  const { items, count } = value
  if (!Array.isArray(items) || items.length > MAX_LISTED || !isCount(count)) return null
  const decoded: Item[] = []
  for (const item of items as readonly unknown[]) {
    const known = isRecord(item) ? decode(item) : null
    if (known === null) return null
    decoded.push(known)
  }
  return { items: decoded, count }
}

function isArrayText(json: string): boolean {
  try {
    return Array.isArray(JSON.parse(json))
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_TEXT
}

function isUser(value: unknown): value is string | null {
  return value === null || isText(value)
}

function isName(value: unknown): value is string {
  return isChannel(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isLimit(value: unknown): value is number {
  return isCount(value) && value <= MAX_LISTED
}

/** Far beyond any session, user or reason. */
const MAX_TEXT = 4096
