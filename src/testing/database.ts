import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { ConfigInput } from '../config/input.ts'
import type { PostgresInput } from '../config/servers-input.ts'
import type { Log } from '../ops/log.ts'

/** A database for one test daemon. */
export interface TestDatabase {
  /** For the config. */
  readonly postgres: NonNullable<ConfigInput['postgres']>
  /** Null: none. */
  readonly url: string | null
  /** Ends what was started for it and removes its data; of a database that was given by its URL nothing. */
  remove(): Promise<void>
}

/** Nothing of a test outlives a power failure: the disk need not be waited for. */
const SETTINGS = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }

/**
 * The database that a test asked for: none, a URL, or a server of its own in a temporary folder.
 * @throws {LivemessageError} DATABASE_… where there can't be one
 */
export async function openTestDatabase(
  asked: false | string | PostgresInput | undefined,
  log: Log,
): Promise<TestDatabase> {
  if (asked === undefined || asked === false) {
    return { postgres: false, url: null, remove: () => Promise.resolve() }
  }
  const { embedded: _embedded, directory: _directory, ...settings } = typeof asked === 'string' ? {} : asked
  const url = typeof asked === 'string' && asked !== 'embedded' ? asked : settings.url
  if (url !== undefined) {
    return { postgres: { ...settings, url }, url, remove: () => Promise.resolve() }
  }
  const server = await startServer(log)
  return { ...server, postgres: { ...settings, url: server.url } }
}

async function startServer(log: Log): Promise<{ readonly url: string; remove(): Promise<void> }> {
  const { startEmbedded } = await import('../database/embedded.ts')
  const directory = await mkdtemp(path.join(tmpdir(), 'livemessages-testing-'))
  try {
    // As root the server runs under another user, who has to enter it.
    await chmod(directory, 0o711)
    const server = await startEmbedded({ directory }, log, { settings: SETTINGS })
    return {
      url: server.url,
      async remove() {
        await server.stop()
        // Its data may lie elsewhere: where its user can go.
        await discard(server.directory)
        await discard(directory)
      },
    }
  } catch (error) {
    await discard(directory)
    throw error
  }
}

/** A server that has just ended may still be writing its last words. */
function discard(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
}
