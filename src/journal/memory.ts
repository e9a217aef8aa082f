import { randomBytes } from 'node:crypto'
import { encodeMessage } from '../protocol/encode.ts'
import { subsystemOf } from '../protocol/names.ts'
import { formatCursor } from './cursor.ts'
import type { Draft, Entry, Journal, JournalHandlers, Page, Retention } from './journal.ts'

export interface MemoryJournalOptions {
  /** Memory of all entries together; the oldest go first. */
  readonly windowBytes: number
  /** How often entries past their age are dropped. @default 10_000 */
  readonly sweepMs?: number
  /** @default Date.now */
  readonly now?: () => number
}

/** What an entry costs beside its text: the objects that hold it. Measured with 128-byte data on Node 20. */
const ENTRY_OVERHEAD_BYTES = 176

/** A journal in this process: one node, a new epoch at each start, history as far as `windowBytes` reaches. */
export class MemoryJournal implements Journal {
  readonly kind = 'memory'
  readonly epoch = randomBytes(6).toString('hex')
  readonly #options: MemoryJournalOptions
  readonly #now: () => number
  readonly #channels = new Map<string, ChannelLog>()
  #retention: ReadonlyMap<string, Retention> = new Map()
  #handlers: JournalHandlers | null = null
  #head = 0
  #bytes = 0
  /** All entries, oldest first, as a ring through this sentinel: any of them leaves in O(1). */
  readonly #oldest: Node = ring()
  /** By subsystem: of a channel without a log, nothing after this position is gone. */
  readonly #forgotten = new Map<string, number>()
  #sweep: NodeJS.Timeout | null = null

  constructor(options: MemoryJournalOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  get head(): number {
    return this.#head
  }

  get ready(): boolean {
    return this.#handlers !== null
  }

  /** Memory of what is kept, estimated. */
  get bytes(): number {
    return this.#bytes
  }

  start(handlers: JournalHandlers): void {
    this.#handlers = handlers
    this.#sweep ??= setInterval(() => this.#expireAll(), this.#options.sweepMs ?? 10_000).unref()
  }

  append(draft: Draft): Entry {
    const { channel } = draft
    const position = ++this.#head
    const time = this.#now()
    const message = encodeMessage(channel, formatCursor(this.epoch, position), draft.json, time)
    const entry: Entry =
      draft.exclude === undefined
        ? { position, channel, time, message }
        : { position, channel, time, message, exclude: draft.exclude }
    this.#keep(entry)
    this.#handlers?.onEntry(entry)
    return entry
  }

  since(channels: readonly string[], position: number, limit: number): Page {
    const lost: string[] = []
    const entries: Entry[] = []
    for (const channel of channels) {
      const log = this.#channels.get(channel)
      if (log !== undefined) this.#expire(log)
      if (position < (log?.floor ?? this.#floorOf(channel)) || position > this.#head) lost.push(channel)
      else if (log !== undefined) log.after(position, limit + 1, entries)
    }
    if (channels.length > 1) entries.sort(byPosition)
    const more = entries.length > limit
    if (more) entries.length = limit
    return { entries, lost, more, upTo: more ? entries.at(-1)!.position : this.#head }
  }

  last(channels: readonly string[], count: number): Page {
    const entries: Entry[] = []
    for (const channel of channels) {
      const log = this.#channels.get(channel)
      if (log === undefined) continue
      this.#expire(log)
      log.newest(count, entries)
    }
    if (channels.length > 1) entries.sort(byPosition)
    return { entries, lost: [], more: false, upTo: this.#head }
  }

  retain(retention: ReadonlyMap<string, Retention>): void {
    this.#retention = retention
    this.#expireAll()
  }

  stop(): void {
    if (this.#sweep !== null) clearInterval(this.#sweep)
    this.#sweep = null
    this.#handlers = null
  }

  #keep(entry: Entry): void {
    let log = this.#channels.get(entry.channel)
    if (log === undefined) {
      log = new ChannelLog(entry.channel, this.#floorOf(entry.channel))
      this.#channels.set(entry.channel, log)
    }
    const bytes = entry.message.length + ENTRY_OVERHEAD_BYTES
    log.push(link(this.#oldest, entry, log, bytes))
    this.#bytes += bytes
    const retention = this.#retention.get(subsystemOf(entry.channel))
    if (log.size > (retention?.count ?? 0)) this.#dropFirst(log)
    while (this.#bytes > this.#options.windowBytes && this.#oldest.next !== this.#oldest) {
      this.#dropFirst(this.#oldest.next.log!)
    }
  }

  /** A channel's oldest entry is also the first of its log, so both orders lose the same one. */
  #dropFirst(log: ChannelLog): void {
    const node = log.shift()
    if (node === null) return
    this.#bytes -= node.bytes
    node.previous.next = node.next
    node.next.previous = node.previous
    if (log.size === 0) {
      const floor = Math.max(this.#floorOf(log.channel), log.floor)
      this.#forgotten.set(subsystemOf(log.channel), floor)
      this.#channels.delete(log.channel)
    }
  }

  #floorOf(channel: string): number {
    return this.#forgotten.get(subsystemOf(channel)) ?? 0
  }

  #expire(log: ChannelLog): void {
    const retention = this.#retention.get(subsystemOf(log.channel))
    const oldestTime = this.#now() - (retention?.maxAgeMs ?? 0)
    while (log.size > (retention?.count ?? 0)) this.#dropFirst(log)
    while (log.size > 0 && log.first!.entry!.time < oldestTime) this.#dropFirst(log)
  }

  #expireAll(): void {
    for (const log of this.#channels.values()) this.#expire(log)
  }
}

interface Node {
  readonly entry: Entry | null
  readonly log: ChannelLog | null
  readonly bytes: number
  previous: Node
  next: Node
}

function ring(): Node {
  const sentinel = { entry: null, log: null, bytes: 0 } as unknown as Node
  sentinel.previous = sentinel
  sentinel.next = sentinel
  return sentinel
}

function link(sentinel: Node, entry: Entry, log: ChannelLog, bytes: number): Node {
  const node: Node = { entry, log, bytes, previous: sentinel.previous, next: sentinel }
  sentinel.previous.next = node
  sentinel.previous = node
  return node
}

/** The entries of one channel: an array with a moving start, compacted when half of it is behind. */
class ChannelLog {
  readonly channel: string
  /** The newest position of this channel that is gone. */
  floor: number
  #nodes: Node[] = []
  #start = 0

  constructor(channel: string, floor: number) {
    this.channel = channel
    this.floor = floor
  }

  get size(): number {
    return this.#nodes.length - this.#start
  }

  get first(): Node | undefined {
    return this.#nodes[this.#start]
  }

  push(node: Node): void {
    this.#nodes.push(node)
  }

  shift(): Node | null {
    const node = this.#nodes[this.#start]
    if (node === undefined) return null
    this.floor = node.entry!.position
    this.#start++
    if (this.#start > 32 && this.#start * 2 > this.#nodes.length) {
      this.#nodes = this.#nodes.slice(this.#start)
      this.#start = 0
    }
    return node
  }

  after(position: number, limit: number, into: Entry[]): void {
    let low = this.#start
    let high = this.#nodes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#nodes[middle]!.entry!.position > position) high = middle
      else low = middle + 1
    }
    const end = Math.min(this.#nodes.length, low + limit)
    for (let index = low; index < end; index++) into.push(this.#nodes[index]!.entry!)
  }

  newest(count: number, into: Entry[]): void {
    const start = Math.max(this.#start, this.#nodes.length - count)
    for (let index = start; index < this.#nodes.length; index++) into.push(this.#nodes[index]!.entry!)
  }
}

function byPosition(a: Entry, b: Entry): number {
  return a.position - b.position
}
