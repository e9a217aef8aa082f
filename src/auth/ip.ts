import { BlockList, isIP, isIPv4, SocketAddress } from 'node:net'
import { ConfigError } from '../errors.ts'
import type { Problem } from '../errors.ts'

/**
 * One spelling for one address: `::ffff:10.0.0.1` becomes `10.0.0.1`, IPv6 becomes short and lower case and
 * loses its zone. Empty for what is no address.
 */
export function canonicalAddress(text: string): string {
  if (isIPv4(text)) return text
  const zone = text.indexOf('%')
  const bare = zone === -1 ? text : text.slice(0, zone)
  if (isIP(bare) !== 6) return ''
  const address = new SocketAddress({ address: bare, family: 'ipv6' }).address
  const mapped = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : ''
  return isIPv4(mapped) ? mapped : address
}

/** Whether the address is this machine's own: 127.0.0.0/8, `::1`, `::ffff:127.…`. */
export function isLoopback(address: string): boolean {
  if (address === '127.0.0.1' || address === '::1') return true
  const canonical = canonicalAddress(address)
  return canonical === '::1' || canonical.startsWith('127.')
}

/**
 * Whether it may stand for everyone: this machine's own address, or the unix socket, where no `trustedProxies` are
 * named. Behind a proxy on this machine all clients have it; nobody is limited for what others do.
 */
export function isAnybody(address: string, proxied: boolean): boolean {
  return !proxied && (address === '' || isLoopback(address))
}

/**
 * What one customer has: an IPv4 address, or the /64 of an IPv6 address, for whoever has one of those has
 * 2^64 addresses. Text that is no address stays as it is.
 */
export function customerOf(address: string): string {
  const canonical = canonicalAddress(address)
  if (!canonical.includes(':')) return canonical === '' ? address : canonical
  const [head = '', tail = ''] = canonical.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === '' ? [] : tail.split(':')
  // A dotted tail (`64:ff9b::192.0.2.1`) stands for two groups; it can't reach into the first four.
  const length = right.length + (tail.includes('.') ? 1 : 0)
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - length) }, () => '0')
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`
}

/** A set of address ranges. */
export interface Ranges {
  readonly empty: boolean
  /** The peer's address as the listener gives it; empty text is a unix socket. */
  has(address: string): boolean
}

/**
 * Ranges from `10.0.0.0/8`, `2001:db8::/32`, single addresses, and `unix` for whoever comes over the unix
 * socket.
 * @param key where the list stands in the config, for the error
 * @throws {ConfigError} naming every entry that is none of these
 */
export function createRanges(list: readonly string[], key: string): Ranges {
  const ranges = new BlockList()
  const problems: Problem[] = []
  let unix = false
  for (const [index, entry] of list.entries()) {
    if (entry === 'unix') unix = true
    else if (!add(ranges, entry)) {
      problems.push({
        code: 'CONFIG_INVALID',
        key: `${key}[${index}]`,
        message: `expected an address, a range such as 10.0.0.0/8 or fd00::/8, or 'unix'; got '${entry}'`,
      })
    }
  }
  if (problems.length > 0) throw new ConfigError(problems, null)
  return {
    empty: list.length === 0,
    has(address) {
      if (address === '') return unix
      const canonical = canonicalAddress(address)
      if (canonical === '') return false
      return ranges.check(canonical, canonical.includes(':') ? 'ipv6' : 'ipv4')
    },
  }
}

function add(ranges: BlockList, entry: string): boolean {
  const [text = '', bits, ...rest] = entry.split('/')
  const address = text.includes('%') ? '' : canonicalAddress(text)
  if (address === '' || rest.length > 0) return false
  const family = address.includes(':') ? 'ipv6' : 'ipv4'
  if (bits === undefined) {
    ranges.addAddress(address, family)
    return true
  }
  // `::ffff:10.0.0.0/104` is 10.0.0.0/8: its first 96 bits say only that it is IPv4.
  const skipped = family === 'ipv4' && text.includes(':') ? 96 : 0
  const prefix = /^\d{1,3}$/.test(bits) ? Number(bits) - skipped : -1
  if (prefix < 0 || prefix > (family === 'ipv4' ? 32 : 128)) return false
  ranges.addSubnet(address, prefix, family)
  return true
}
