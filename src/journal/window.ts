import { subsystemOf } from '../protocol/names.ts'
import { ChannelLog, type Link, link, ring, unlink } from './channel-log.ts'
import type { Entry, Forgotten, Page, Remains, Retention } from './journal.ts'

export interface WindowOptions {
  /** Memory of all entries together. */
  readonly windowBytes: number
  /** How often entries past their age are dropped. @default 10_000 */
  readonly sweepMs?: number
  /** @default Date.now */
  readonly now?: () => number
}

/** What an entry costs beside its text: the objects that hold it. Measured with 128-byte data on Node 20. */
const ENTRY_OVERHEAD_BYTES = 176

/** One subsystem's part of the window. */
interface Room {
  readonly logs: Map<string, ChannelLog>
  /** All of its entries, oldest first, as a ring through this sentinel: any of them leaves in O(1). */
  readonly oldest: Link
  retention: Retention
  bytes: number
  /** Of a channel without a log, nothing after this position is gone. */
  forgotten: number
}

/**
 * The newest entries, in memory: what a page is made of without asking a store. It knows what it does not know: for
 * each channel a floor, above which it has everything. A channel that is quiet keeps the floor of its subsystem, so
 * that a cursor younger than all that left it is still a proof.
 *
 * Room is shared: each subsystem may fill what the others leave free, but when there is no more, none loses an entry
 * to another while it has less than an equal share.
 */
export class Window {
  readonly #options: WindowOptions
  readonly #now: () => number
  readonly #rooms = new Map<string, Room>()
  #head = 0
  #bytes = 0
  #sweep: NodeJS.Timeout | null = null

  constructor(options: WindowOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** The position of the newest entry that was pushed, or what `reset` said. */
  get head(): number {
    return this.#head
  }

  /** Memory of what is kept, estimated. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether another entry would push older ones out. */
  get full(): boolean {
    return this.#bytes >= this.#options.windowBytes
  }

  start(): void {
    this.#sweep ??= setInterval(() => this.#expireAll(), this.#options.sweepMs ?? 10_000).unref()
  }

  stop(): void {
    if (this.#sweep !== null) clearInterval(this.#sweep)
    this.#sweep = null
  }

  /** Forgets all: empty, and complete from `position` on. */
  reset(position: number): void {
    this.#head = position
    this.#bytes = 0
    for (const [name, { retention }] of this.#rooms) this.#rooms.set(name, room(retention, position))
  }

  /** Takes the next entry; its position is above the head, and nothing else is between them. */
  push(entry: Entry): void {
    this.#head = entry.position
    const space = this.#rooms.get(subsystemOf(entry.channel))
    if (space === undefined || space.retention.count === 0) {
      if (space !== undefined) space.forgotten = entry.position
      return
    }
    let log = space.logs.get(entry.channel)
    if (log === undefined) {
      log = new ChannelLog(entry.channel, space.forgotten)
      space.logs.set(entry.channel, log)
    }
    const bytes = entry.message.length + ENTRY_OVERHEAD_BYTES
    log.push(link(space.oldest, entry, log, bytes))
    space.bytes += bytes
    this.#bytes += bytes
    if (log.size > space.retention.count) this.#dropFirst(space, log)
    while (this.#bytes > this.#options.windowBytes) {
      const largest = this.#overShare(space) ? space : this.#largest(space)
      this.#dropFirst(largest, largest.oldest.next.log!)
    }
  }

  /** Goes past positions at which there is nothing to keep. */
  pass(position: number): void {
    this.#head = position
  }

  /** Makes entries of a channel void: all at or below `upTo`, or some. Returns how many were here. */
  forget({ channel, positions, upTo }: Pick<Forgotten, 'channel' | 'positions' | 'upTo'>): number {
    const space = this.#rooms.get(subsystemOf(channel))
    const log = space?.logs.get(channel)
    if (space === undefined || log === undefined) return 0
    const some = positions === null ? null : new Set(positions)
    const forgotten = log.forget((position) => (some === null ? position <= upTo : some.has(position)))
    for (const node of forgotten) {
      unlink(node)
      this.#bytes -= node.bytes
      space.bytes -= node.bytes
    }
    return forgotten.length
  }

  /** The entries after `position`. `lost` are the channels of which it may not have all. */
  since(channels: readonly string[], position: number, limit: number): Page {
    const lost: string[] = []
    const entries: Entry[] = []
    for (const channel of channels) {
      const space = this.#rooms.get(subsystemOf(channel))
      const log = space?.logs.get(channel)
      if (log !== undefined) this.#expire(space!, log)
      const floor = log?.floor ?? space?.forgotten ?? this.#head
      if (position < floor || position > this.#head) lost.push(channel)
      else if (log !== undefined) log.after(position, limit + 1, entries)
    }
    if (channels.length > 1) entries.sort(byPosition)
    const more = entries.length > limit
    if (more) entries.length = limit
    return { entries, lost, more, upTo: more ? entries.at(-1)!.position : this.#head }
  }

  /** The entries of each channel after its own position, as far as they are still here. */
  left(after: ReadonlyMap<string, number>, limit: number): Remains {
    const gone = new Map<string, number>()
    const entries: Entry[] = []
    for (const [channel, position] of after) {
      const space = this.#rooms.get(subsystemOf(channel))
      const log = space?.logs.get(channel)
      if (log !== undefined) this.#expire(space!, log)
      // A position that was never reached proves nothing.
      const floor = log?.floor ?? space?.forgotten ?? this.#head
      gone.set(channel, position > this.#head ? position + 1 : floor)
      log?.after(position, limit + 1, entries)
    }
    if (after.size > 1) entries.sort(byPosition)
    const more = entries.length > limit
    if (more) entries.length = limit
    return { entries, lost: [], gone, more, upTo: more ? entries.at(-1)!.position : this.#head }
  }

  /** The newest `count` of each channel. `lost` are the channels that may have had others before these. */
  last(channels: readonly string[], count: number): Page {
    const lost: string[] = []
    const entries: Entry[] = []
    for (const channel of channels) {
      const space = this.#rooms.get(subsystemOf(channel))
      const log = space?.logs.get(channel)
      if (log !== undefined) this.#expire(space!, log)
      const wanted = Math.min(count, space?.retention.count ?? 0)
      if ((log?.size ?? 0) < wanted && (log?.floor ?? space!.forgotten) > 0) lost.push(channel)
      log?.newest(count, entries)
    }
    if (channels.length > 1) entries.sort(byPosition)
    return { entries, lost, more: false, upTo: this.#head }
  }

  /** What is to be kept; of subsystems that are not named, nothing is. */
  retain(retention: ReadonlyMap<string, Retention>): void {
    for (const [name, space] of this.#rooms) {
      if (retention.has(name)) continue
      this.#bytes -= space.bytes
      this.#rooms.delete(name)
    }
    for (const [name, policy] of retention) {
      const space = this.#rooms.get(name)
      if (space === undefined) this.#rooms.set(name, room(policy, this.#head))
      else space.retention = policy
    }
    this.#expireAll()
  }

  #overShare(space: Room): boolean {
    return space.bytes * this.#rooms.size > this.#options.windowBytes
  }

  #largest(than: Room): Room {
    let largest = than
    for (const space of this.#rooms.values()) if (space.bytes > largest.bytes) largest = space
    return largest
  }

  /** The oldest entry of a channel; where it is the oldest of its subsystem too, both orders lose the same one. */
  #dropFirst(space: Room, log: ChannelLog): void {
    const node = log.shift()
    if (node === null) return
    this.#bytes -= node.bytes
    space.bytes -= node.bytes
    unlink(node)
    if (log.size === 0) this.#leave(space, log)
  }

  /** A channel without entries shares its subsystem's floor. */
  #leave(space: Room, log: ChannelLog): void {
    space.forgotten = Math.max(space.forgotten, log.floor)
    space.logs.delete(log.channel)
  }

  #expire(space: Room, log: ChannelLog): void {
    const { count, maxAgeMs } = space.retention
    const oldestTime = this.#now() - maxAgeMs
    while (log.size > count || (log.size > 0 && log.first!.entry!.time < oldestTime)) {
      this.#dropFirst(space, log)
    }
    // Emptied by `forget`, it keeps its own floor for as long as it would have kept what was forgotten.
    if (log.size === 0 && log.emptied < oldestTime) this.#leave(space, log)
  }

  #expireAll(): void {
    for (const space of this.#rooms.values()) for (const log of space.logs.values()) this.#expire(space, log)
  }
}

function room(retention: Retention, position: number): Room {
  return { logs: new Map(), oldest: ring(), retention, bytes: 0, forgotten: position }
}

function byPosition(a: Entry, b: Entry): number {
  return a.position - b.position
}
