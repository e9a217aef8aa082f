import type { DatabaseNames } from '../config/config.ts'
import { ClientError } from '../protocol/codes.ts'

/**
 * Whose user is meant, as everything goes by it: null for the home database, by its own name too.
 * @throws {ClientError} invalid_input for none of the config's
 */
export function furtherOf({ home, further }: DatabaseNames, name: string | null | undefined): string | null {
  if (name === null || name === undefined || name === home) return null
  if (further.includes(name)) return name
  throw new ClientError('invalid_input', `database: expected one of the config, got '${name.slice(0, 63)}'`)
}
