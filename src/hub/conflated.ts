import { parseJson } from '../protocol/json.ts'

/** The value of the conflating field: whose latest message stands for all before it. */
export type Key = string | number

/** A key's newest message. */
export interface Latest {
  readonly key: Key
  /** The message object as JSON text. */
  readonly message: string
  /** A session that is not to get it. */
  readonly exclude: string | undefined
}

export interface ConflatedOptions {
  /** Keys of one channel; those that changed longest ago go first. */
  maxKeys(): number
  /** Memory of all channels together; those that were published to longest ago go first. @default 67_108_864 */
  readonly maxBytes?: number
}

/** What changed on a channel since some number of `Conflated.number`. */
export interface Changes {
  /** Oldest change first. */
  readonly keys: readonly Key[]
  /** Publications with a key, since ever. */
  readonly published: number
}

/** In a ring through its channel, in the order of their changes. */
interface Node extends Latest {
  message: string
  exclude: string | undefined
  number: number
  previous: Node
  next: Node
}

interface Channel {
  readonly field: string
  readonly nodes: Map<Key, Node>
  readonly ring: Node
  /** All that came after this number is here, or something newer of its key. */
  floor: number
  published: number
}

/** What a key and a channel cost beside the text of the message. */
const NODE_BYTES = 160
const CHANNEL_BYTES = 320

const MAX_BYTES = 64 * 1024 * 1024

/**
 * The latest message of each key of the conflated channels. Every publication gets a number; who has seen all up to
 * a number is brought up to date by what changed after it, unless something of that had to go.
 */
export class Conflated {
  readonly #options: ConflatedOptions
  /** The one that was published to longest ago is the first. */
  readonly #channels = new Map<string, Channel>()
  #bytes = 0
  #number = 0
  /** Of a channel that is not kept, nothing is known of what came up to here. */
  #forgotten = 0

  constructor(options: ConflatedOptions) {
    this.#options = options
  }

  /** Of the newest publication. */
  get number(): number {
    return this.#number
  }

  /** Memory of what is kept, estimated. */
  get bytes(): number {
    return this.#bytes
  }

  /** Takes the next publication of a channel; what has no key is not kept. */
  put(channel: string, field: string, message: string, exclude: string | undefined): void {
    const number = ++this.#number
    const state = this.#stateOf(channel, field)
    const key = keyOf(message, field)
    if (key === null) {
      // Nothing newer will stand for it: who has missed it has a gap.
      state.floor = number
      return
    }
    state.published++
    const known = state.nodes.get(key)
    if (known === undefined) {
      const node = { key, message, exclude, number } as unknown as Node
      state.nodes.set(key, node)
      this.#bytes += NODE_BYTES + message.length
      append(state.ring, node)
    } else {
      this.#bytes += message.length - known.message.length
      known.message = message
      known.exclude = exclude
      known.number = number
      unlink(known)
      append(state.ring, known)
    }
    if (state.nodes.size > this.#options.maxKeys()) this.#dropOldest(channel, state)
    const { maxBytes = MAX_BYTES } = this.#options
    while (this.#bytes > maxBytes && this.#channels.size > 0) {
      const [name, oldest] = this.#channels.entries().next().value!
      this.#dropOldest(name, oldest)
    }
  }

  get(channel: string, key: Key): Latest | undefined {
    return this.#channels.get(channel)?.nodes.get(key)
  }

  /** What came after `number`; null where some of it is gone, or was kept by another field. */
  since(channel: string, field: string, number: number): Changes | null {
    const state = this.#channels.get(channel)
    if (state === undefined) return number < this.#forgotten ? null : NOTHING
    if (state.field !== field || number < state.floor) return null
    const keys: Key[] = []
    for (let node = state.ring.previous; node !== state.ring && node.number > number; node = node.previous) {
      keys.push(node.key)
    }
    return { keys: keys.toReversed(), published: state.published }
  }

  /** The newest of every key that is kept, oldest change first. */
  all(channel: string): readonly Latest[] {
    const state = this.#channels.get(channel)
    const found: Latest[] = []
    if (state === undefined) return found
    for (let node = state.ring.next; node !== state.ring; node = node.next) found.push(node)
    return found
  }

  /** How many publications with a key the channel had. */
  published(channel: string): number {
    return this.#channels.get(channel)?.published ?? 0
  }

  /**
   * Makes a key void, or all of the channel's: what is forgotten is not gone, and nobody misses it. False where there was
   * nothing.
   */
  forget(channel: string, key: Key | null): boolean {
    const state = this.#channels.get(channel)
    if (state === undefined) return false
    let some = false
    for (const known of key === null ? [...state.nodes.keys()] : [key]) {
      const node = state.nodes.get(known)
      if (node === undefined) continue
      unlink(node)
      state.nodes.delete(known)
      this.#bytes -= NODE_BYTES + node.message.length
      some = true
    }
    return some
  }

  #stateOf(channel: string, field: string): Channel {
    let state = this.#channels.get(channel)
    if (state !== undefined && state.field !== field) {
      this.#forget(channel, state)
      state = undefined
    }
    if (state === undefined) {
      this.#bytes += CHANNEL_BYTES
      state = { field, nodes: new Map(), ring: ring(), floor: this.#forgotten, published: 0 }
    } else this.#channels.delete(channel)
    this.#channels.set(channel, state)
    return state
  }

  #dropOldest(channel: string, state: Channel): void {
    const oldest = state.ring.next
    if (oldest === state.ring) return this.#forget(channel, state)
    unlink(oldest)
    state.nodes.delete(oldest.key)
    state.floor = Math.max(state.floor, oldest.number)
    this.#bytes -= NODE_BYTES + oldest.message.length
  }

  #forget(channel: string, state: Channel): void {
    for (const { message } of state.nodes.values()) this.#bytes -= NODE_BYTES + message.length
    this.#bytes -= CHANNEL_BYTES
    this.#forgotten = Math.max(this.#forgotten, state.floor, state.ring.previous.number)
    this.#channels.delete(channel)
  }
}

const NOTHING: Changes = { keys: [], published: 0 }

/** Null for data without the field, or with one that is neither text nor number. */
function keyOf(message: string, field: string): Key | null {
  const data: unknown = (parseJson(message)?.value as { readonly data: unknown } | undefined)?.data
  if (typeof data !== 'object' || data === null || Array.isArray(data) || !Object.hasOwn(data, field)) {
    return null
  }
  const key: unknown = (data as Record<string, unknown>)[field]
  return typeof key === 'string' || typeof key === 'number' ? key : null
}

function ring(): Node {
  const sentinel = { key: '', message: '', exclude: undefined, number: 0 } as unknown as Node
  sentinel.previous = sentinel
  sentinel.next = sentinel
  return sentinel
}

function append(sentinel: Node, node: Node): void {
  node.previous = sentinel.previous
  node.next = sentinel
  sentinel.previous.next = node
  sentinel.previous = node
}

function unlink(node: Node): void {
  node.previous.next = node.next
  node.next.previous = node.previous
}
