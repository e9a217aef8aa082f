import { ClientError } from 'livemessages'

/**
 * Takes one field's value; says what it would have taken where it can't. From a form all values come as texts: a number
 * is one written in digits then, and an empty text is nothing.
 */
export type Field<T> = (
  value: unknown,
  fromForm?: boolean,
) => { readonly value: T } | { readonly expected: string }

/** What the daemon marks data with that came as `application/x-www-form-urlencoded`. */
const FORM = Symbol.for('livemessages.form')

export interface Issue {
  readonly message: string
  readonly path?: readonly PropertyKey[]
}

/** A Standard Schema (standardschema.dev): what `defineAction({ input })` takes from any validator. */
export interface Schema<T> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    validate(value: unknown): { readonly value: T } | { readonly issues: readonly Issue[] }
    readonly types?: { readonly input: unknown; readonly output: T }
  }
}

/** What a schema gives. */
export type Output<S> = S extends Schema<infer T> ? T : never

/**
 * A validator of an object's fields, for modules that bring no validator package: `input: fields({ id })`. Other
 * fields are dropped; an action that is called without data gets what it would for an empty object.
 */
export function fields<Shape extends Readonly<Record<string, Field<unknown>>>>(
  shape: Shape,
): Schema<{ [Name in keyof Shape]: Shape[Name] extends Field<infer T> ? T : never }> {
  type Output = { [Name in keyof Shape]: Shape[Name] extends Field<infer T> ? T : never }
  return {
    '~standard': {
      version: 1,
      vendor: 'livemessages',
      validate(data) {
        const given = data ?? {}
        if (typeof given !== 'object' || Array.isArray(given)) {
          return { issues: [{ message: `expected an object, got ${shown(given)}` }] }
        }
        const fromForm = Object.hasOwn(given, FORM)
        const issues: Issue[] = []
        const output: Record<string, unknown> = {}
        for (const [name, field] of Object.entries(shape)) {
          const value: unknown = Object.hasOwn(given, name) ? Reflect.get(given, name) : undefined
          const taken = field(value, fromForm)
          if ('value' in taken) output[name] = taken.value
          else issues.push({ path: [name], message: `expected ${taken.expected}, got ${shown(value)}` })
        }
        // Every field of the shape is there: each was taken, or is an issue.
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion
        return issues.length > 0 ? { issues } : { value: output as Output }
      },
    },
  }
}

/**
 * The data as the schema takes it, for modules that no dispatch has checked it for: senders.
 * @throws {ClientError} invalid_input
 */
export function check<T>(schema: Schema<T>, data: unknown): T {
  const verdict = schema['~standard'].validate(data)
  if ('value' in verdict) return verdict.value
  const told = verdict.issues.map(({ path = [], message }) => [...path.map(String), message].join(': '))
  throw new ClientError('invalid_input', told.join('; '), verdict.issues)
}

/** A row's `bigint GENERATED AS IDENTITY`, as far as JSON carries it. */
export const id: Field<number> = (value, fromForm) => {
  const number = numberOf(value, fromForm)
  return Number.isSafeInteger(number) && Number(number) > 0
    ? { value: Number(number) }
    : { expected: 'a whole number from 1 to 2^53 - 1' }
}

/** A whole number. Left out it is `otherwise`; what is beyond `most` becomes `most`. */
export function whole(least: number, most: number, otherwise: number): Field<number> {
  return (value, fromForm) => {
    const number = numberOf(value, fromForm) ?? otherwise
    // null is a value, and none that it could be.
    return value !== null && Number.isSafeInteger(number) && Number(number) >= least
      ? { value: Math.min(Number(number), most) }
      : { expected: `a whole number from ${least}` }
  }
}

/** A number from `least` to `most`. */
export function between(least: number, most: number): Field<number> {
  return (value) =>
    typeof value === 'number' && value >= least && value <= most
      ? { value }
      : { expected: `a number from ${least} to ${most}` }
}

/** A text of 1 to `most` characters that are not all blank. */
export function text(most: number): Field<string> {
  return (value) =>
    typeof value === 'string' && value.trim() !== '' && value.length <= most
      ? { value }
      : { expected: `a text of 1 to ${most} characters` }
}

/** Any text that PostgreSQL can hold: without U+0000. */
export const anyText: Field<string> = (value) =>
  typeof value === 'string' && !value.includes('\0') ? { value } : { expected: 'a text without U+0000' }

/** A user's id: a text, or a whole number as applications count their users. */
export const userId: Field<string> = (value) => {
  if (Number.isSafeInteger(value)) return { value: String(value) }
  return typeof value === 'string' && value !== '' && value.length <= 1024 && !value.includes('\0')
    ? { value }
    : { expected: "a user's id: a text of 1 to 1024 characters" }
}

/** What the pattern matches. Left out it is `otherwise`. */
export function matching(pattern: RegExp, expected: string, otherwise: string): Field<string> {
  return (value = otherwise) => (typeof value === 'string' && pattern.test(value) ? { value } : { expected })
}

/** One of these texts. */
export function oneOf<const T extends string>(...texts: readonly T[]): Field<T> {
  return (value) => {
    const found = texts.find((one) => one === value)
    return found === undefined ? { expected: `one of ${texts.join(', ')}` } : { value: found }
  }
}

/** Anything that JSON can say. */
export const anything: Field<unknown> = (value) => ({ value })

/** The field, or undefined where it is left out. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return (value, fromForm) => (value === undefined ? { value: undefined } : field(value, fromForm))
}

/** The field; null counts as left out, as other languages write what is not there. */
export function nullable<T>(field: Field<T>): Field<T | undefined> {
  return (value, fromForm) => optional(field)(value ?? undefined, fromForm)
}

function numberOf(value: unknown, fromForm: boolean | undefined): unknown {
  if (fromForm !== true || typeof value !== 'string') return value
  if (value === '') return undefined
  return /^-?\d{1,16}$/.test(value) ? Number(value) : value
}

/** What came, in a word or two: a client's own data goes back to it, but not all of it. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  const json = JSON.stringify(value)
  return json.length > 42 ? `${json.slice(0, 40)}…` : json
}
