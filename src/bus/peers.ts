/** What a packet tells of its sender. */
export interface Heard {
  /** It was not known before, or was thought gone. */
  readonly came: boolean
  /** Packets of it that should have come before this one. */
  readonly missed: number
}

interface Peer {
  heardAt: number
  next: number
}

/** The other nodes: who was heard of, when, and which of their packets comes next. */
export class Peers {
  readonly #here = new Map<string, Peer>()
  /** The next number of those that left or fell silent: should they be heard again, it tells what we missed. */
  readonly #silent = new Map<string, number>()
  readonly #names = new Set<string>()
  readonly #most: number
  readonly #sealed: boolean

  /**
   * Anybody may make up names: beyond `most` no new ones are taken. `sealed`: nobody but the nodes can make packets, and
   * one whose number goes back was said before, by somebody who repeats it.
   */
  constructor(most: number, sealed: boolean) {
    this.#most = most
    this.#sealed = sealed
  }

  get names(): ReadonlySet<string> {
    return this.#names
  }

  /** Null for what does not count: there is no room for one more node, or it is a repetition. */
  hear(node: string, number: number, now: number): Heard | null {
    const peer = this.#here.get(node)
    if (peer !== undefined) {
      if (this.#sealed && number < peer.next) return null
      // A number that goes back is a forger's work, or its aftermath: the latest counts, or forging could silence.
      const missed = Math.max(0, number - peer.next)
      peer.heardAt = now
      peer.next = number + 1
      return { came: false, missed }
    }
    if (this.#here.size >= this.#most) return null
    const next = this.#silent.get(node) ?? number
    if (this.#sealed && number < next) return null
    this.#silent.delete(node)
    this.#here.set(node, { heardAt: now, next: number + 1 })
    this.#names.add(node)
    return { came: true, missed: Math.max(0, number - next) }
  }

  /** False when it was not there. */
  leave(node: string): boolean {
    const peer = this.#here.get(node)
    if (peer === undefined) return false
    if (this.#silent.size >= this.#most) this.#silent.delete(this.#silent.keys().next().value!)
    this.#silent.set(node, peer.next)
    this.#names.delete(node)
    return this.#here.delete(node)
  }

  /** Lets those go that were not heard of since; who they are. */
  expire(since: number): string[] {
    const gone: string[] = []
    for (const [node, { heardAt }] of this.#here) if (heardAt < since) gone.push(node)
    for (const node of gone) this.leave(node)
    return gone
  }
}
