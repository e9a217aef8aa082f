/** Takes one field's value; says what it would have taken where it can't. */
export type Field<T> = (value: unknown) => { readonly value: T } | { readonly expected: string }

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
        const issues: Issue[] = []
        const output: Record<string, unknown> = {}
        for (const [name, field] of Object.entries(shape)) {
          const value: unknown = Object.hasOwn(given, name) ? Reflect.get(given, name) : undefined
          const taken = field(value)
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

/** A row's `bigint GENERATED AS IDENTITY`, as far as JSON carries it. */
export const id: Field<number> = (value) =>
  Number.isSafeInteger(value) && Number(value) > 0
    ? { value: Number(value) }
    : { expected: 'a whole number from 1 to 2^53 - 1' }

/** A whole number. Left out it is `otherwise`; what is beyond `most` becomes `most`. */
export function whole(least: number, most: number, otherwise: number): Field<number> {
  return (value = otherwise) =>
    Number.isSafeInteger(value) && Number(value) >= least
      ? { value: Math.min(Number(value), most) }
      : { expected: `a whole number from ${least}` }
}

/** A text of 1 to `most` characters that are not all blank. */
export function text(most: number): Field<string> {
  return (value) =>
    typeof value === 'string' && value.trim() !== '' && value.length <= most
      ? { value }
      : { expected: `a text of 1 to ${most} characters` }
}

/** What the pattern matches. Left out it is `otherwise`. */
export function matching(pattern: RegExp, expected: string, otherwise: string): Field<string> {
  return (value = otherwise) => (typeof value === 'string' && pattern.test(value) ? { value } : { expected })
}

/** The field, or undefined where it is left out. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return (value) => (value === undefined ? { value: undefined } : field(value))
}

/** What came, in a word or two: a client's own data goes back to it, but not all of it. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  const json = JSON.stringify(value)
  return json.length > 42 ? `${json.slice(0, 40)}…` : json
}
