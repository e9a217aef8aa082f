import { randomInt } from 'node:crypto'

/** Names a process among the nodes. */
export function newNodeName(): string {
  return Array.from({ length: 12 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
}

/** Whether the text is a node's name. */
export function isNodeName(text: unknown): text is string {
  return typeof text === 'string' && NODE.test(text)
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'
const NODE = /^[a-z0-9]{12}$/
