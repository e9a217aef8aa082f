import type { Entry } from './journal.ts'

/** An entry's place in two orders: that of its channel, and that of its subsystem, which is a ring. */
export interface Link {
  /** Null in the sentinel alone, as `log` is. */
  readonly entry: Entry | null
  readonly log: ChannelLog | null
  readonly bytes: number
  previous: Link
  next: Link
}

/** An empty ring: its sentinel. */
export function ring(): Link {
  const sentinel = { entry: null, log: null, bytes: 0 } as unknown as Link
  sentinel.previous = sentinel
  sentinel.next = sentinel
  return sentinel
}

/** Puts an entry at the ring's end. */
export function link(sentinel: Link, entry: Entry, log: ChannelLog, bytes: number): Link {
  const node: Link = { entry, log, bytes, previous: sentinel.previous, next: sentinel }
  sentinel.previous.next = node
  sentinel.previous = node
  return node
}

export function unlink(node: Link): void {
  node.previous.next = node.next
  node.next.previous = node.previous
}

/** The entries of one channel: an array with a moving start, compacted when half of it is behind. */
export class ChannelLog {
  readonly channel: string
  /** The newest position of this channel that is gone. */
  floor: number
  /** Of a log that was emptied by `forget`: when the newest of what it held came. */
  emptied = 0
  #links: Link[] = []
  #start = 0

  constructor(channel: string, floor: number) {
    this.channel = channel
    this.floor = floor
  }

  get size(): number {
    return this.#links.length - this.#start
  }

  get first(): Link | undefined {
    return this.#links[this.#start]
  }

  push(node: Link): void {
    this.#links.push(node)
  }

  shift(): Link | null {
    const node = this.#links[this.#start]
    if (node === undefined) return null
    this.floor = node.entry!.position
    this.#start++
    if (this.#start > 32 && this.#start * 2 > this.#links.length) {
      this.#links = this.#links.slice(this.#start)
      this.#start = 0
    }
    return node
  }

  /** Takes entries out wherever they stand: void, they are not gone, and the floor stays. */
  forget(isForgotten: (position: number) => boolean): readonly Link[] {
    const forgotten: Link[] = []
    const left: Link[] = []
    for (let index = this.#start; index < this.#links.length; index++) {
      const node = this.#links[index]!
      if (isForgotten(node.entry!.position)) forgotten.push(node)
      else left.push(node)
    }
    this.#links = left
    this.#start = 0
    if (left.length === 0) this.emptied = forgotten.at(-1)?.entry?.time ?? this.emptied
    return forgotten
  }

  after(position: number, limit: number, into: Entry[]): void {
    let low = this.#start
    let high = this.#links.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#links[middle]!.entry!.position > position) high = middle
      else low = middle + 1
    }
    const end = Math.min(this.#links.length, low + limit)
    for (let index = low; index < end; index++) into.push(this.#links[index]!.entry!)
  }

  newest(count: number, into: Entry[]): void {
    const start = Math.max(this.#start, this.#links.length - count)
    for (let index = start; index < this.#links.length; index++) into.push(this.#links[index]!.entry!)
  }
}
