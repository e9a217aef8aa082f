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
  /** The next number of those that fell silent: should they be heard again, they know what we missed. */
  readonly #silent = new Map<string, number>()
  readonly #names = new Set<string>()
  readonly #most: number

  /** Anybody may make up names: beyond `most` no new ones are taken. */
  constructor(most: number) {
    this.#most = most
  }

  get names(): ReadonlySet<string> {
    return this.#names
  }

  /** Null where there is no room for one more. */
  hear(node: string, number: number, now: number): Heard | null {
    const peer = this.#here.get(node)
    if (peer !== undefined) {
      // A number that goes back is a forger's work, or its aftermath: the latest counts, or forging could silence.
      const missed = Math.max(0, number - peer.next)
      peer.heardAt = now
      peer.next = number + 1
      return { came: false, missed }
    }
    if (this.#here.size >= this.#most) return null
    const next = this.#silent.get(node) ?? number
    this.#silent.delete(node)
    this.#here.set(node, { heardAt: now, next: number + 1 })
    this.#names.add(node)
    return { came: true, missed: Math.max(0, number - next) }
  }

  /** False when it was not there. */
  leave(node: string): boolean {
    this.#names.delete(node)
    return this.#here.delete(node)
  }

  /** Lets those go that were not heard of since; who they are. */
  expire(since: number): string[] {
    const gone: string[] = []
    for (const [node, { heardAt, next }] of this.#here) {
      if (heardAt >= since) continue
      gone.push(node)
      if (this.#silent.size >= this.#most) this.#silent.delete(this.#silent.keys().next().value!)
      this.#silent.set(node, next)
    }
    for (const node of gone) this.leave(node)
    return gone
  }
}
