import { ClientError } from '../protocol/codes.ts'
import { type Json, readJson, tryWriteJson } from '../protocol/json.ts'
import { memberText } from '../protocol/json-text.ts'

/** The fields of a request's JSON body. What is wrong with one is told with its name. */
export class Body {
  readonly #json: Json
  readonly #fields: Readonly<Record<string, unknown>>

  /**
   * @param names the fields that there may be
   * @throws {ClientError} invalid_input; too_large for a null: the listener's word for it
   */
  constructor(bytes: Buffer | null, names: readonly string[]) {
    if (bytes === null) throw new ClientError('too_large', 'the body is too large')
    const json = readJson(bytes)
    const value = json?.value
    if (json === null || typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalid(`the body must be an object as JSON, of ${names.join(', ')}`)
    }
    this.#json = json
    this.#fields = value as Record<string, unknown>
    refuseUnknown(Object.keys(this.#fields), names)
  }

  /** Undefined where it is not there, or null. */
  value(name: string): unknown {
    return Object.hasOwn(this.#fields, name) ? (this.#fields[name] ?? undefined) : undefined
  }

  /** A field's JSON text, as it was written; undefined where it is not there. */
  json(name: string): string | undefined {
    if (!Object.hasOwn(this.#fields, name)) return undefined
    const text = memberText(this.#json.text, name) ?? tryWriteJson(this.#fields[name])
    if (text === undefined) throw invalid(`${name}: nested too deeply`)
    return text
  }

  /** @throws {ClientError} for anything but a text of at least one and at most `max` characters */
  text(name: string, max: number): string | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    if (typeof value !== 'string') throw invalid(`${name}: expected a text`)
    return textOf(name, value, max)
  }
}

/** The parameters behind a request's path. */
export class Query {
  readonly #parameters: URLSearchParams

  /** @throws {ClientError} for others than `names`, and for one that is there twice */
  constructor(query: string, names: readonly string[]) {
    this.#parameters = new URLSearchParams(query)
    refuseUnknown(this.#parameters.keys(), names)
    for (const name of names) {
      if (this.#parameters.getAll(name).length > 1) throw invalid(`${name}: only one`)
    }
  }

  /** Undefined where it is not there, or empty. */
  text(name: string, max: number): string | undefined {
    const value = this.#parameters.get(name)
    return value === null || value === '' ? undefined : textOf(name, value, max)
  }

  /** A number of 1 to `max`. */
  count(name: string, max: number): number | undefined {
    const text = this.text(name, 16)
    if (text === undefined) return undefined
    const count = /^\d+$/.test(text) ? Number(text) : 0
    if (count < 1 || count > max) throw invalid(`${name}: expected a number of 1 to ${max}, got: ${text}`)
    return count
  }
}

export function invalid(message: string): ClientError {
  return new ClientError('invalid_input', message)
}

function textOf(name: string, value: string, max: number): string {
  if (value === '') throw invalid(`${name}: is empty`)
  if (value.length > max) throw invalid(`${name}: at most ${max} characters`)
  return value
}

function refuseUnknown(found: Iterable<string>, names: readonly string[]): void {
  for (const name of found) {
    if (names.includes(name)) continue
    const known = names.length === 0 ? 'none' : names.join(', ')
    throw invalid(`'${name.slice(0, 40)}' is not known here; there are: ${known}`)
  }
}
