import { tryWriteJson } from '../../protocol/json.ts'
import { personOf } from '../../protocol/people.ts'

/** One client on one channel. */
export interface Entry {
  readonly session: string
  /** Named among those of all databases (`userKey`). */
  readonly user: string | null
  /** As JSON text, as JSON.stringify writes it. */
  readonly info: string
  readonly book: Book
  /** The round of its node's telling all that it has in which it was told last. */
  round: number
}

/** All entries of one node, summed up: two books that agree in both numbers hold the same. */
export interface Book {
  /** The node's name. */
  readonly node: string
  count: number
  /** The sum of the entries' checksums: whatever their order. */
  sum: number
}

/** The longest `info` that presence shows, as JSON. */
export const MAX_INFO = 4096

/** What a client's own data are to others: null where JSON can't carry it, or it is too long. */
export function infoText(info: unknown): string {
  if (info === null || info === undefined) return 'null'
  const json = tryWriteJson(info)
  return json === undefined || json.length > MAX_INFO ? 'null' : json
}

/** The client as events and answers show it. */
export function clientText({ session, user, info }: Entry): string {
  return `{"session":"${session}",${user === null ? '"user":null' : personText(user)},"info":${info}}`
}

/** Of the home database nothing is said. */
function personText(key: string): string {
  const { id, database } = personOf(key)
  const user = `"user":${JSON.stringify(id)}`
  return database === null ? user : `${user},"database":${JSON.stringify(database)}`
}

export function enterInto(book: Book, channel: string, entry: Entry): void {
  book.count++
  book.sum = (book.sum + checksum(channel, entry)) >>> 0
}

export function strikeFrom(book: Book, channel: string, entry: Entry): void {
  book.count--
  book.sum = (book.sum - checksum(channel, entry)) >>> 0
}

/** FNV-1a over all that the nodes must agree in. */
function checksum(channel: string, { session, user, info }: Entry): number {
  let hash = mixed(OFFSET, channel)
  hash = mixed(hash, session)
  hash = mixed(hash, user === null ? ' ' : user)
  return mixed(hash, info)
}

function mixed(start: number, text: string): number {
  let hash = start
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), PRIME)
  // What ends here must not be told from where it ends.
  return Math.imul(hash ^ 0xffff, PRIME)
}

const OFFSET = 0x811c9dc5
const PRIME = 0x01000193
