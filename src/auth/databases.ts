import type { DatabaseNames } from '../config/config.ts'
import { ClientError } from '../protocol/codes.ts'
import type { User } from '../registry/define.ts'

/**
 * The user among those of its database: of the home one nothing is said, so that nobody is two users.
 * @throws {ClientError} unauthenticated for a database that the config does not have
 */
export function placeUser(user: User, { home, further }: DatabaseNames): User {
  const { database } = user
  if (database === undefined || further.includes(database)) return user
  if (database !== home) {
    throw new ClientError(
      'unauthenticated',
      `the user's database '${database.slice(0, 63)}' is not served here`,
    )
  }
  // In place: what was said for the user before is known by the object.
  if (Reflect.deleteProperty(user, 'database')) return user
  const { database: _, ...others } = user // a hook's own, which it has frozen
  return others
}
