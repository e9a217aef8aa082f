import { customerOf, isAnybody } from './ip.ts'

export interface AddressesOptions {
  /** Connections that one address may have. */
  readonly limit: number
  /**
   * Whether `trustedProxies` are named. Without, loopback peers and the unix socket are spared: behind a
   * proxy on this machine they would be everyone.
   */
  readonly proxied: boolean
}

/** The connections of each address; an IPv6 customer's whole /64 counts as one. */
export interface Addresses {
  /** Addresses that have connections and are counted. */
  readonly size: number
  /** False when the address has all that it may have: then there is nothing to leave. */
  enter(address: string): boolean
  /** One `leave` for each `enter` that was true, with the same address. */
  leave(address: string): void
}

export function createAddresses({ limit, proxied }: AddressesOptions): Addresses {
  const counts = new Map<string, number>()
  return {
    get size() {
      return counts.size
    },
    enter(address) {
      if (isAnybody(address, proxied)) return true
      const customer = customerOf(address)
      const count = counts.get(customer) ?? 0
      if (count >= limit) return false
      counts.set(customer, count + 1)
      return true
    },
    leave(address) {
      if (isAnybody(address, proxied)) return
      const customer = customerOf(address)
      const count = counts.get(customer)
      if (count === undefined) return
      if (count > 1) counts.set(customer, count - 1)
      else counts.delete(customer)
    },
  }
}
