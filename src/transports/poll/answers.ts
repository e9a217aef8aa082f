import { createHash } from 'node:crypto'

/** What one request is answered with. */
export interface Answer {
  /** Null where there is no journal yet, and nothing that was asked for needs one. */
  readonly cursor: string | null
  readonly recovered: boolean
  readonly lost: readonly string[]
  /** Message objects, encoded. */
  readonly messages: readonly string[]
  /** Further members with a comma before each, or nothing. */
  readonly more: string
}

/** Writes answers. Thousands who waited for the same get the same bytes: the last body is kept for the next one. */
export class Answers {
  #last: { readonly answer: Answer; readonly body: Buffer } | null = null
  #written = 0

  /** How many bodies were written. */
  get written(): number {
    return this.#written
  }

  /** The body; shared, so nobody may change it. */
  body(answer: Answer): Buffer {
    if (this.#last !== null && isSame(this.#last.answer, answer)) return this.#last.body
    const body = Buffer.from(write(answer))
    this.#written++
    // Large ones would be kept for nobody.
    this.#last = answer.more === '' && body.length <= KEPT_BYTES ? { answer, body } : null
    return body
  }
}

/** A weak tag over what an answer brings: a later one with the same brings nothing new, wherever its cursor is. */
export function tagOf({ lost, messages, more }: Answer): string {
  const hash = createHash('sha1')
  for (const channel of lost) hash.update(`${channel}\n`)
  for (const message of messages) hash.update(`\n${message}`)
  return `W/"${hash.update(`\n\n${more}`).digest('base64url')}"`
}

/** Whether an `If-None-Match` names the tag. */
export function namesTag(header: string, tag: string): boolean {
  const wanted = opaque(tag)
  return header.split(',').some((one) => one.trim() === '*' || opaque(one.trim()) === wanted)
}

const KEPT_BYTES = 1024 * 1024

function isSame(one: Answer, other: Answer): boolean {
  return (
    one.cursor === other.cursor &&
    one.recovered === other.recovered &&
    one.more === other.more &&
    areSame(one.lost, other.lost) &&
    areSame(one.messages, other.messages)
  )
}

function areSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, index) => text === other[index])
}

function write({ cursor, recovered, lost, messages, more }: Answer): string {
  const place = cursor === null ? 'null' : `"${cursor}"`
  const gone = lost.length === 0 ? '' : `"${lost.join('","')}"`
  return `{"cursor":${place},"recovered":${recovered},"lost":[${gone}],"messages":[${messages.join(',')}]${more}}`
}

/** The comparison is weak: as if no tag had `W/`. */
function opaque(tag: string): string {
  return tag.startsWith('W/') ? tag.slice(2) : tag
}
