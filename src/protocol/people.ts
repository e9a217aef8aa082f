/** Who somebody is where there are several databases: user 42 of one is not user 42 of another. */
export interface Person {
  readonly id: string
  /** Undefined, or null: the home one. */
  readonly database?: string | null | undefined
}

/** Stands between database and id: no id and no database's name has a control character. */
const SEPARATOR = '\u001F'

/**
 * Names a user among those of all databases. Of the home one it is the id itself. What is no id, because it holds the
 * separator, names nobody: a module may hand on what a client sent.
 */
export function userKey({ id, database }: Person): string {
  if (database !== undefined && database !== null) return `${database}${SEPARATOR}${id}`
  return id.includes(SEPARATOR) ? `${SEPARATOR}${id}` : id
}

/** Whom a key of `userKey` names. */
export function personOf(key: string): { readonly id: string; readonly database: string | null } {
  const end = key.indexOf(SEPARATOR)
  return end === -1
    ? { id: key, database: null }
    : { id: key.slice(end + SEPARATOR.length), database: key.slice(0, end) }
}
