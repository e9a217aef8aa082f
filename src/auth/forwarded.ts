import { canonicalAddress } from './ip.ts'
import type { Ranges } from './ip.ts'

/** Hops that are walked at most. */
const MAX_HOPS = 32

/**
 * The client behind a chain of proxies. The list grows on the right, each proxy adding whom it heard from:
 * so it is read from there, and the first address that isn't trusted is the client. What stands left of it
 * anyone may have written.
 * @param list the values of X-Forwarded-For, or of Forwarded, all headers of the name joined by commas
 * @param peer who sent it; returned when the list says nothing readable
 */
export function walkForwarded(list: string, peer: string, trusted: Ranges): string {
  let client = peer
  let end = list.length
  for (let hop = 0; hop < MAX_HOPS && end >= 0; hop++) {
    const comma = end === 0 ? -1 : list.lastIndexOf(',', end - 1)
    const element = list.slice(comma + 1, end).trim()
    end = comma
    if (element === '') continue
    const address = addressOf(element)
    if (address === '') return client
    client = address
    if (!trusted.has(address)) return client
  }
  return client
}

/** `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`, or `for=` one of them; else empty. */
export function addressOf(element: string): string {
  const node = element.includes('=') ? forOf(element) : element
  if (node.startsWith('[')) {
    const match = /^\[([^\]]+)\](?::[\w.-]+)?$/.exec(node)
    return match?.[1] === undefined ? '' : canonicalAddress(match[1])
  }
  const colon = node.indexOf(':')
  const withPort = colon !== -1 && colon === node.lastIndexOf(':')
  return canonicalAddress(withPort ? node.slice(0, colon) : node)
}

// A list is cut at every comma and an element at every semicolon, those in quotes too: no address holds one,
// and an unclosed quote of the client's would otherwise swallow what the proxy added behind it. What such a
// cut leaves (an odd number of quotes, two `for`s) is not believed.
function forOf(element: string): string {
  if (element.includes('\\') || element.split('"').length % 2 === 0) return ''
  let node = ''
  for (const pair of element.split(';')) {
    const match = /^\s*for\s*=\s*("?)([^"\s]*)\1\s*$/i.exec(pair)
    if (match === null) continue
    if (node !== '') return ''
    node = match[2] ?? ''
  }
  return node
}
