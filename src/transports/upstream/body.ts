import { ClientError } from '../../protocol/codes.ts'
import { type Json, readJson, writeJson } from '../../protocol/json.ts'

/** How a body is written. */
export type BodyKind = 'json' | 'form'

/**
 * Marks data that came from a form, where numbers are texts too: an action's validator may take them for what they mean.
 * Modules look for it by `Symbol.for`; no JSON can forge it.
 */
const FORM = Symbol.for('livemessages.form')

/**
 * What the header `Content-Type` says that it is. A form on any page can send `text/plain` and forms without asking the
 * browser: `trusted` where it is known who wrote the page.
 * @throws {ClientError} invalid_input
 */
export function bodyKindOf(contentType: string, trusted: boolean): BodyKind {
  const [type = ''] = contentType.split(';', 1)
  const name = type.trim().toLowerCase()
  if (name === '' || name === 'application/json' || (trusted && name === 'text/plain')) return 'json'
  if (trusted && name === 'application/x-www-form-urlencoded') return 'form'
  throw new ClientError('invalid_input', 'Content-Type: expected application/json')
}

/**
 * Reads a body; null where it is empty. A form becomes an object of texts, the last of a name counting.
 * @throws {ClientError} too_large for a null: the listener's word for it; invalid_input
 */
export function readBody(bytes: Buffer | null, kind: BodyKind): Json | null {
  if (bytes === null) throw new ClientError('too_large', 'the body is too large')
  if (bytes.length === 0) return null
  if (kind === 'form') {
    const value = Object.fromEntries(new URLSearchParams(bytes.toString('utf8')))
    return { text: writeJson(value), value: markForm(value) }
  }
  const json = readJson(bytes)
  if (json === null) throw new ClientError('invalid_input', 'the body must be JSON, as UTF-8')
  return json
}

/** The same object, marked. */
export function markForm(data: object): object {
  return Object.defineProperty(data, FORM, { value: true })
}

export function isForm(data: unknown): boolean {
  return typeof data === 'object' && data !== null && Object.hasOwn(data, FORM)
}
