import type { Fanout, Link } from '../../hub/link.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import { Block } from './chain.ts'
import type { FeedLink } from './link.ts'

export interface FeedFanoutOptions {
  /** The longest time in which nothing is said. */
  readonly quietMs: number
}

/**
 * Gives what is for everybody on a topic to all feeds there. What comes within one turn of the event loop leaves in
 * one write a client, by buffers that those share to whom the same has come.
 */
export class FeedFanout implements Fanout {
  readonly #topics = new Map<string, Set<FeedLink>>()
  /** Everybody, in parts: who said nothing is looked for in one of them after the other. */
  readonly #parts: readonly Set<FeedLink>[] = Array.from({ length: PARTS }, () => new Set<FeedLink>())
  readonly #quietMs: number
  #waiting: FeedLink[] = []
  #flushing: NodeJS.Immediate | null = null
  #part = 0
  #timer: NodeJS.Timeout | null = null

  constructor({ quietMs }: FeedFanoutOptions) {
    this.#quietMs = quietMs
  }

  /** Topics that somebody is on. */
  get topics(): number {
    return this.#topics.size
  }

  /** Feeds that are open. */
  get size(): number {
    return this.#parts.reduce((sum, part) => sum + part.size, 0)
  }

  start(): void {
    // Each part comes up twice in the time: who said nothing since the last look is silent for that time at most.
    this.#timer ??= setInterval(() => this.#keepAlive(), this.#quietMs / 2 / PARTS).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    if (this.#flushing !== null) clearImmediate(this.#flushing)
    this.#flushing = null
    this.#waiting = []
  }

  publish(topic: string, frame: ServerFrame, except: Link | null): void {
    const links = this.#topics.get(topic)
    if (links === undefined) return
    for (const link of links) if (link !== except) link.give(link.writer.shared(frame, link.complete))
  }

  add(link: FeedLink): void {
    this.#smallestPart().add(link)
  }

  remove(link: FeedLink): void {
    for (const part of this.#parts) if (part.delete(link)) return
  }

  join(topic: string, link: FeedLink): void {
    const links = this.#topics.get(topic)
    if (links === undefined) this.#topics.set(topic, new Set([link]))
    else links.add(link)
  }

  leave(topic: string, link: FeedLink): void {
    const links = this.#topics.get(topic)
    links?.delete(link)
    if (links?.size === 0) this.#topics.delete(topic)
  }

  /**
   * Something waits for it, from now on: it is flushed with the others. Not by a microtask: that runs within uWS's
   * handler of the frame that published, where the one cork of the loop is taken, and each write is a system call.
   */
  enqueue(link: FeedLink): void {
    this.#waiting.push(link)
    this.#flushing ??= setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = null
    const links = this.#waiting
    this.#waiting = []
    for (const link of links) link.flush()
  }

  #keepAlive(): void {
    this.#part = (this.#part + 1) % PARTS
    // A new one for each time: whoever goes on from there is forgotten with it.
    const blocks = new Map<string, Block>()
    for (const link of this.#parts[this.#part]!) {
      if (!link.isQuiet()) continue
      const { keepAlive } = link.writer.format
      let block = blocks.get(keepAlive)
      if (block === undefined) blocks.set(keepAlive, (block = new Block(keepAlive)))
      link.give(block)
    }
  }

  #smallestPart(): Set<FeedLink> {
    return this.#parts.reduce((least, part) => (part.size < least.size ? part : least))
  }
}

const PARTS = 16
