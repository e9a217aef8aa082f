import type { Client } from './client.ts'

/** The channels that somebody is on, and how many are. */
export interface Occupancy {
  readonly size: number
  has(channel: string): boolean
  /** Undefined where nobody is. */
  get(channel: string): number | undefined
  keys(): Iterable<string>
}

/**
 * Who is on which channel. Most channels of many deployments have one client, a user's own: that one stands there
 * itself, for a set takes more memory than all the rest of a subscription.
 */
export class Occupants implements Occupancy {
  readonly #channels = new Map<string, Client | Set<Client>>()

  get size(): number {
    return this.#channels.size
  }

  has(channel: string): boolean {
    return this.#channels.has(channel)
  }

  get(channel: string): number | undefined {
    const there = this.#channels.get(channel)
    if (there === undefined) return undefined
    return there instanceof Set ? there.size : 1
  }

  keys(): Iterable<string> {
    return this.#channels.keys()
  }

  /** A copy: whoever goes through them may make some leave. */
  on(channel: string): readonly Client[] {
    const there = this.#channels.get(channel)
    if (there === undefined) return []
    return there instanceof Set ? [...there] : [there]
  }

  add(channel: string, client: Client): void {
    const there = this.#channels.get(channel)
    if (there === undefined) this.#channels.set(channel, client)
    else if (there instanceof Set) there.add(client)
    else if (there !== client) this.#channels.set(channel, new Set([there, client]))
  }

  delete(channel: string, client: Client): void {
    const there = this.#channels.get(channel)
    if (there === client) this.#channels.delete(channel)
    if (!(there instanceof Set)) return
    there.delete(client)
    if (there.size === 1) for (const last of there) this.#channels.set(channel, last)
  }
}
