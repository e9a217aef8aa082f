import { isUtf8 } from 'node:buffer'

/** How many entries a message may hold: positions leave room for so many at each of the stream's offsets. */
export const MAX_ENTRIES = 1024

/** What a message of the stream says. Those without entries announce a session or an epoch. */
export interface StreamMessage {
  /** The process that published it. */
  readonly producer: string
  /** Counts the process's channels: the first message of a session makes what is left of those before it void. */
  readonly session: number
  /** Counts the session's messages from 0, without a gap. */
  readonly seq: number
  /** When it was published, milliseconds since 1970. */
  readonly time: number
  /** The epoch as its producer knows it; null: not at all. */
  readonly epoch: string | null
  /** The epoch if the stream has none before this message. */
  readonly proposal: string | null
  /** How long the keys in it count, from `time` on. */
  readonly keyMs: number
  readonly entries: readonly StreamEntry[]
}

export interface StreamEntry {
  readonly channel: string
  /** JSON text without a line break. */
  readonly json: string
  readonly exclude: string | undefined
  readonly key: string | undefined
  readonly mark: string | undefined
  /** The lease under which it was appended. */
  readonly lease: number | undefined
  /** Appended together with the one before it, or not at all. */
  readonly joined: boolean
  /**
   * It is a tombstone: what stands before it on the channel is void, all of it or what stands at the positions that its
   * JSON says, as `{"epoch":…,"positions":[…]}`.
   */
  readonly tombstone?: boolean | undefined
}

const VERSION = 1

/*
 * Lines of text: one for the message, a JSON array; two for each entry, the second of which is its data. The first is
 * the channel's name alone, or a JSON array where there is more to say.
 */

export function encodeStreamMessage(message: StreamMessage): Buffer {
  const { producer, session, seq, time, epoch, proposal, keyMs, entries } = message
  const lines = [JSON.stringify([VERSION, producer, session, seq, time, epoch, proposal, keyMs])]
  for (const { channel, json, exclude, key, mark, lease, joined, tombstone } of entries) {
    const more = [exclude, key, mark, lease]
    const plain = !joined && tombstone !== true && more.every((field) => field === undefined)
    const flags = tombstone === true ? [joined ? 1 : 0, 1] : [joined ? 1 : 0]
    lines.push(plain ? channel : JSON.stringify([channel, ...more, ...flags]), json)
  }
  return Buffer.from(lines.join('\n'))
}

/** Null where it is none of ours: whoever may write to the broker may write to the stream. */
export function decodeStreamMessage(content: Buffer): StreamMessage | null {
  if (!isUtf8(content)) return null
  const lines = content.toString().split('\n')
  const head = array(lines[0]!)
  if (head === null || head[0] !== VERSION) return null
  const [, producer, session, seq, time, epoch, proposal, keyMs] = head
  if (typeof producer !== 'string' || !isTextOrNull(epoch) || !isTextOrNull(proposal)) return null
  if (!isCount(session) || !isCount(seq) || !isCount(time) || !isCount(keyMs)) return null
  const count = (lines.length - 1) / 2
  if (!Number.isInteger(count) || count > MAX_ENTRIES || (count > 0 && epoch === null)) return null
  const entries: StreamEntry[] = []
  for (let line = 1; line < lines.length; line += 2) {
    const entry = decodeEntry(lines[line]!, lines[line + 1]!)
    if (entry === null) return null
    entries.push(entry)
  }
  return { producer, session, seq, time, epoch, proposal, keyMs, entries }
}

function decodeEntry(line: string, json: string): StreamEntry | null {
  if (!line.startsWith('[')) {
    const none = { exclude: undefined, key: undefined, mark: undefined, lease: undefined }
    return { channel: line, json, ...none, joined: false }
  }
  const fields = array(line)
  if (fields === null) return null
  const [channel, exclude, key, mark, lease, joined, tombstone] = fields
  if (typeof channel !== 'string') return null
  if (!isTextOrNull(exclude) || !isTextOrNull(key) || !isTextOrNull(mark)) return null
  if (lease !== null && !isCount(lease)) return null
  return {
    channel,
    json,
    exclude: exclude ?? undefined,
    key: key ?? undefined,
    mark: mark ?? undefined,
    lease: lease ?? undefined,
    joined: joined === 1,
    ...(tombstone === 1 ? { tombstone: true } : {}),
  }
}

function array(text: string): readonly unknown[] | null {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? value : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string'
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
