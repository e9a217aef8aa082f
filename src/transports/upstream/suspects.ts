import { customerOf, isAnybody } from '../../auth/ip.ts'
import { ClientError } from '../../protocol/codes.ts'

export interface SuspectsOptions {
  /**
   * Whether `trustedProxies` are named. Without, loopback peers and the unix socket are spared: behind a proxy on this
   * machine they would be everyone.
   */
  readonly proxied: () => boolean
  /** Wrong secrets of one address within `windowMs`, after which it is not listened to until that is over. @default 20 */
  readonly most?: number
  /** @default 60000 */
  readonly windowMs?: number
  /** Addresses that are remembered. @default 10000 */
  readonly maxAddresses?: number
}

/**
 * Addresses that showed wrong secrets for sessions of other nodes. Only that node can tell a wrong one from a right one,
 * so each costs the bus two letters: nobody may ask for that as often as he likes.
 */
export class Suspects {
  readonly #options: Required<SuspectsOptions>
  readonly #found = new Map<string, { count: number; readonly until: number }>()

  constructor(options: SuspectsOptions) {
    this.#options = { most: 20, windowMs: 60_000, maxAddresses: 10_000, ...options }
  }

  /** @throws {ClientError} rate_limited */
  check(address: string): void {
    if (isAnybody(address, this.#options.proxied())) return
    const customer = customerOf(address)
    const found = this.#found.get(customer)
    if (found === undefined) return
    if (found.until < performance.now()) this.#found.delete(customer)
    else if (found.count >= this.#options.most) {
      throw new ClientError('rate_limited', 'too many wrong secrets: come back in a minute')
    }
  }

  add(address: string): void {
    const { windowMs, maxAddresses, proxied } = this.#options
    if (isAnybody(address, proxied())) return
    const customer = customerOf(address)
    const found = this.#found.get(customer)
    if (found !== undefined) {
      found.count++
      return
    }
    const [oldest] = this.#found.keys()
    if (oldest !== undefined && this.#found.size >= maxAddresses) this.#found.delete(oldest)
    this.#found.set(customer, { count: 1, until: performance.now() + windowMs })
  }
}
