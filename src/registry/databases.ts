import type { Database } from './define.ts'

/** A database that is lent to one run of a module. */
export interface Lender {
  withSignal(signal: AbortSignal): Database
}

/** All databases by name, the home one among them. */
export interface LentDatabases {
  readonly home: string
  readonly all: ReadonlyMap<string, Lender>
}

/** The databases of one run: `databases['b']`. A name that is none throws, with those that there are. */
export function databasesOf(
  { all }: LentDatabases,
  signal: () => AbortSignal,
): Readonly<Record<string, Database>> {
  const record = Object.create(unknownNames([...all.keys()])) as Record<string, Database>
  for (const [name, lender] of all) {
    Object.defineProperty(record, name, { enumerable: true, get: () => lender.withSignal(signal()) })
  }
  return Object.freeze(record)
}

/**
 * What is asked for names that are none: a misspelled one is to be told here, and not where `undefined` has no `query`.
 * Only the prototype is a proxy: a name that is known never comes here.
 */
function unknownNames(names: readonly string[]): object {
  return new Proxy(Object.prototype, {
    get(target, name) {
      // What the language and its tools ask of every object.
      if (typeof name === 'symbol' || name in target || name === 'then' || name === 'toJSON') {
        return Reflect.get(target, name) as unknown
      }
      throw new TypeError(`databases: there is no '${name}', expected one of ${names.join(', ')}`)
    },
    has: () => false,
  })
}
