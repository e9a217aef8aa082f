import { customerOf, isAnybody } from '../../auth/ip.ts'
import { Allowance } from '../inbox.ts'

export interface CallersOptions {
  /**
   * Whether `trustedProxies` are named. Without, loopback peers and the unix socket are spared: behind a proxy on this
   * machine they would be everyone.
   */
  readonly proxied: () => boolean
  /** Callers that are remembered; who has been quiet for longest is forgotten first. @default 10000 */
  readonly maxCallers?: number
  /** Who has been quiet for so long is forgotten. @default 60000 */
  readonly idleMs?: number
}

interface Caller {
  readonly allowance: Allowance
  at: number
}

/** What users and addresses that call without a connection may still ask for. */
export class Callers {
  readonly #proxied: () => boolean
  readonly #maxCallers: number
  readonly #idleMs: number
  /** In the order in which they last called. */
  readonly #callers = new Map<string, Caller>()

  constructor({ proxied, maxCallers = 10_000, idleMs = 60_000 }: CallersOptions) {
    this.#proxied = proxied
    this.#maxCallers = maxCallers
    this.#idleMs = idleMs
  }

  get size(): number {
    return this.#callers.size
  }

  /** A user is one caller wherever it calls from; without one, an address is. */
  allowanceOf(user: string | null, address: string): Allowance {
    if (user !== null) return this.#of(`u ${user}`)
    if (isAnybody(address, this.#proxied())) return new Allowance()
    return this.#of(`a ${customerOf(address)}`)
  }

  #of(name: string): Allowance {
    const now = performance.now()
    const caller = this.#callers.get(name) ?? { allowance: new Allowance(), at: now }
    caller.at = now
    this.#callers.delete(name)
    this.#callers.set(name, caller)
    this.#forget(now)
    return caller.allowance
  }

  #forget(now: number): void {
    for (const [name, { at, allowance }] of this.#callers) {
      const idle = at + this.#idleMs < now && allowance.pendingCalls === 0
      if (!idle && this.#callers.size <= this.#maxCallers) return
      this.#callers.delete(name)
    }
  }
}
