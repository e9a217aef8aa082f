import { isNodeName } from './node-name.ts'

/**
 * What crosses the server in one piece: a head, `<version> <node> <number>`, and letters, a line each. The number goes
 * up by one with each of a node's packets, so that a receiver sees what it missed; it also makes equal packets differ,
 * for PostgreSQL hands out equal NOTIFYs of one transaction only once.
 */
export interface Packet {
  readonly node: string
  readonly number: number
  readonly letters: readonly string[]
}

const VERSION = '1'

/** The longest head, in bytes. */
export const HEAD_BYTES = 32

export function encodePacket(node: string, number: number, letters: readonly string[]): string {
  return `${VERSION} ${node} ${number}\n${letters.join('\n')}`
}

/** Null for what is no packet, or one of another version. */
export function decodePacket(text: string): Packet | null {
  const [head = '', ...letters] = text.split('\n')
  const [version, node, digits = '', more] = head.split(' ')
  if (version !== VERSION || !isNodeName(node) || more !== undefined || !NUMBER.test(digits)) return null
  return { node, number: Number(digits), letters }
}

const NUMBER = /^[1-9][0-9]{0,14}$/
