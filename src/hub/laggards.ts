import type { Limits } from '../config/config.ts'
import type { Counts } from '../ops/counts.ts'
import type { Live } from '../rules.ts'
import type { Client } from './client.ts'
import type { Conflated, Key, Latest } from './conflated.ts'
import { highWaterOf } from './pacing.ts'
import { conflateOf } from './policies.ts'

export interface LaggardsDependencies {
  readonly live: Live
  readonly conflated: Conflated
  readonly counts: Counts
  /** What such a client missed can't be made good any more. */
  close(client: Client): void
  /** It is up to date, or on no conflated channel any more. */
  released(client: Client): void
}

/** One channel of a client that is behind. */
interface Behind {
  /** The publications up to this number are either sent or their keys are in `keys`. */
  number: number
  published: number
  /** Keys whose latest is to be sent, the one that has waited longest first. */
  readonly keys: Set<Key>
}

interface Laggard {
  readonly channels: Map<string, Behind>
  busy: boolean
}

/**
 * Clients that fell behind on conflated channels. They are off those topics; when they have read on they get the
 * latest of each key that changed meanwhile, as much as they can take, and join again in the same turn in which
 * nothing is left. Keys are sent in the order in which they first changed, so that none starves.
 */
export class Laggards {
  readonly #deps: LaggardsDependencies
  readonly #laggards = new Map<Client, Laggard>()
  /** How many clients are behind on a channel. */
  readonly #counts = new Map<string, number>()

  constructor(deps: LaggardsDependencies) {
    this.#deps = deps
  }

  get size(): number {
    return this.#laggards.size
  }

  /** How many are off the channel's topic. */
  on(channel: string): number {
    return this.#counts.get(channel) ?? 0
  }

  has(client: Client, channel: string): boolean {
    return this.#laggards.get(client)?.channels.has(channel) === true
  }

  /** Takes a client off its conflated channels; false when it is on none. */
  setAside(client: Client): boolean {
    const { live, counts } = this.#deps
    let some = false
    for (const channel of client.subscriptions.keys()) {
      if (conflateOf(live, channel) === null) continue
      some = true
      // What is due on a channel already stays due.
      if (!this.has(client, channel)) this.#leave(client, channel, [])
    }
    if (some) counts.setAside++
    return some
  }

  /** A client that has just joined is to get these first; it gets what it can take at once. */
  feed(client: Client, channel: string, latest: readonly Latest[]): void {
    this.#leave(client, channel, latest)
    this.resume(client)
  }

  /** Whether the client must get more than what comes by its topics. */
  isBehind(client: Client): boolean {
    return this.#laggards.has(client)
  }

  /** Some of what waited for the client has left. */
  resume(client: Client): void {
    const laggard = this.#laggards.get(client)
    if (laggard === undefined || laggard.busy) return
    laggard.busy = true
    this.#feed(client, laggard)
    laggard.busy = false
  }

  /** Looks after those of whom no drain tells. */
  resumeAll(): void {
    for (const client of [...this.#laggards.keys()]) this.resume(client)
  }

  /** A key of the channel, or all of them, is not due any more. */
  spare(channel: string, key: Key | null): void {
    if (this.on(channel) === 0) return
    for (const { channels } of this.#laggards.values()) {
      if (key === null) channels.get(channel)?.keys.clear()
      else channels.get(channel)?.keys.delete(key)
    }
  }

  /** The client has left the channel. */
  forget(client: Client, channel: string): void {
    const laggard = this.#laggards.get(client)
    if (laggard === undefined || !this.#drop(laggard, channel) || laggard.channels.size > 0) return
    this.#release(client)
  }

  /** The client is gone. */
  remove(client: Client): void {
    const laggard = this.#laggards.get(client)
    if (laggard === undefined) return
    for (const channel of [...laggard.channels.keys()]) this.#drop(laggard, channel)
    this.#release(client)
  }

  #leave(client: Client, channel: string, latest: readonly Latest[]): void {
    const { conflated } = this.#deps
    let laggard = this.#laggards.get(client)
    if (laggard === undefined) this.#laggards.set(client, (laggard = { channels: new Map(), busy: false }))
    this.#drop(laggard, channel)
    // What is published from now on; what the listener still holds back for the client comes all the same.
    client.link.leave(channel)
    laggard.channels.set(channel, {
      number: conflated.number,
      published: conflated.published(channel),
      keys: new Set(latest.map(({ key }) => key)),
    })
    this.#counts.set(channel, this.on(channel) + 1)
  }

  #feed(client: Client, laggard: Laggard): void {
    const limits = this.#deps.live.rules.config.limits
    const most = highWaterOf(limits)
    while (client.open && client.link.bufferedBytes <= most) {
      for (const [channel, behind] of laggard.channels) {
        if (!this.#collect(channel, behind)) return this.#deps.close(client)
      }
      if (isEmpty(laggard)) return this.#rejoin(client, laggard)
      let whole = true
      client.link.cork(() => (whole = this.#send(client, laggard, limits)))
      if (!whole) return this.#deps.close(client)
    }
  }

  /** Adds what changed since the last time; false where some of it is gone. */
  #collect(channel: string, behind: Behind): boolean {
    const { live, conflated, counts } = this.#deps
    const field = conflateOf(live, channel)
    const changes = field === null ? null : conflated.since(channel, field, behind.number)
    if (changes === null) return false
    const before = behind.keys.size
    for (const key of changes.keys) behind.keys.add(key)
    const published = Math.max(0, changes.published - behind.published)
    counts.conflated += Math.max(0, published - (behind.keys.size - before))
    behind.published = changes.published
    behind.number = conflated.number
    return true
  }

  /** Sends a part of what is due; false when a key is gone. */
  #send(client: Client, laggard: Laggard, limits: Limits): boolean {
    const { conflated, counts } = this.#deps
    const batch = highWaterOf(limits) / 4
    let size = 0
    for (const [channel, { keys }] of laggard.channels) {
      for (const key of keys) {
        const latest = conflated.get(channel, key)
        if (latest === undefined) return false
        keys.delete(key)
        if (latest.exclude === client.session) continue
        size += latest.message.length
        if (!client.send({ type: 'message', message: latest.message })) return true
        counts.deliveries++
        if (size >= batch) return true
      }
    }
    return true
  }

  #rejoin(client: Client, laggard: Laggard): void {
    for (const channel of [...laggard.channels.keys()]) {
      this.#drop(laggard, channel)
      client.link.join(channel)
    }
    this.#release(client)
  }

  #drop(laggard: Laggard, channel: string): boolean {
    if (!laggard.channels.delete(channel)) return false
    const left = this.on(channel) - 1
    if (left === 0) this.#counts.delete(channel)
    else this.#counts.set(channel, left)
    return true
  }

  #release(client: Client): void {
    this.#laggards.delete(client)
    this.#deps.released(client)
  }
}

function isEmpty({ channels }: Laggard): boolean {
  for (const { keys } of channels.values()) if (keys.size > 0) return false
  return true
}
