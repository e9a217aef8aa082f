import { oneLine } from '../protocol/json-text.ts'
import { isChannel } from '../protocol/names.ts'
import type { Memo, Parcel } from './bus.ts'
import { isNodeName } from './node-name.ts'

/*
 * A letter is one line of text, its kind in the first character:
 *
 *   p <channel> <message>             a publication
 *   x <channel> <exclude> <message>   … that one session is not to get
 *   m <topic> <json>                  a memo to all
 *   t <node> <topic> <json>           … to one node
 *   ? ! .                             hello, and answer; here I am; good-bye
 *
 * JSON on one line has no line break in it, and none of the words before has a space. Publications are not parsed on
 * the way: their text goes to the sockets as it is.
 */

/** What a node says of itself: `hello` wants every other node's `here`. */
export type Sign = 'hello' | 'here' | 'bye'

/** A memo as it came: parsed only by those whom it is for. */
export interface SealedMemo {
  readonly kind: 'memo'
  readonly topic: string
  readonly to: string | null
  readonly json: string
}

export type Letter = Parcel | SealedMemo | { readonly kind: 'sign'; readonly sign: Sign }

/** @throws {TypeError} for a memo whose body JSON can't carry */
export function encodeLetter(letter: Parcel | Memo): string {
  if (letter.kind === 'memo') {
    const { topic, to } = letter
    // What comes from JSON.stringify is on one line.
    const json = JSON.stringify(letter.body) ?? 'null'
    return to === undefined ? `m ${topic} ${json}` : `t ${to} ${topic} ${json}`
  }
  const message = oneLine(letter.message)
  const { channel, exclude } = letter
  // What can't be a session's name excludes nobody.
  return exclude === undefined || !SESSION.test(exclude)
    ? `p ${channel} ${message}`
    : `x ${channel} ${exclude} ${message}`
}

export function encodeSign(sign: Sign): string {
  return SIGNS[sign]
}

/** Null for what is no letter. */
export function decodeLetter(line: string): Letter | null {
  const [first] = line
  switch (first) {
    case 'p':
    case 'x':
      return decodeParcel(line)
    case 'm':
    case 't':
      return decodeMemo(line)
    case SIGNS.hello:
    case SIGNS.here:
    case SIGNS.bye:
      return line.length === 1 ? SIGN_LETTERS[first] : null
    default:
      return null
  }
}

/** A memo's contents; undefined where they are no JSON. */
export function openMemo({ topic, to, json }: SealedMemo): Memo | undefined {
  let body: unknown
  try {
    body = JSON.parse(json)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
  return to === null ? { kind: 'memo', topic, body } : { kind: 'memo', topic, body, to }
}

function decodeParcel(line: string): Parcel | null {
  const words = new Words(line)
  const channel = words.next()
  const exclude = line[0] === 'x' ? words.next() : undefined
  const message = words.rest()
  if (!isChannel(channel)) return null
  if (!message.startsWith('{"channel":"') || !message.endsWith('}')) return null
  if (exclude === undefined) return { kind: 'publication', channel, message }
  return SESSION.test(exclude) ? { kind: 'publication', channel, message, exclude } : null
}

function decodeMemo(line: string): SealedMemo | null {
  const words = new Words(line)
  const to = line[0] === 't' ? words.next() : null
  const topic = words.next()
  const json = words.rest()
  if (!TOPIC.test(topic) || (to !== null && !isNodeName(to))) return null
  return { kind: 'memo', topic, to, json }
}

/** The words behind the first character; empty where there are no more. */
class Words {
  readonly #line: string
  #at = 1

  constructor(line: string) {
    this.#line = line
  }

  next(): string {
    if (this.#line[this.#at] !== ' ') return ''
    const start = this.#at + 1
    const end = this.#line.indexOf(' ', start)
    this.#at = end === -1 ? this.#line.length : end
    return this.#line.slice(start, this.#at)
  }

  rest(): string {
    return this.#line[this.#at] === ' ' ? this.#line.slice(this.#at + 1) : ''
  }
}

const SIGNS = { hello: '?', here: '!', bye: '.' } as const
const SIGN_LETTERS = {
  '?': { kind: 'sign', sign: 'hello' },
  '!': { kind: 'sign', sign: 'here' },
  '.': { kind: 'sign', sign: 'bye' },
} as const
const SESSION = /^[A-Za-z0-9_-]{1,64}$/
const TOPIC = /^[a-z][a-z0-9-]{0,31}$/
