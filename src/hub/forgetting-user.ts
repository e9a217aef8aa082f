import { lacksSchema } from '../database/refusals.ts'
import { withDeadline } from '../deadline.ts'
import { unavailable } from '../database/failures.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { isClientError } from '../protocol/codes.ts'
import { isChannel, userChannel } from '../protocol/names.ts'
import { userKey } from '../protocol/people.ts'
import type { Services } from '../registry/context.ts'
import type { Database } from '../registry/define.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import { furtherOf } from './database-names.ts'

export interface ForgettingUserOptions {
  readonly live: Live
  /** What the subsystems' hooks are lent. */
  readonly services: Services
  /** The daemon's own connections to the home database; null: there is none. */
  readonly pool: { withSignal(signal: AbortSignal): Pick<Database, 'query'> } | null
  readonly log: Log
  /** Deadline of a subsystem's hook. @default 60_000 */
  readonly hookMs?: number
  /** Deadline of a statement. @default 10_000 */
  readonly statementMs?: number
}

/** What there was of a user beside the channels. */
export interface UserRecords {
  /** What the subsystems' hooks have forgotten, as they count it. */
  readonly records: number
  /** Places in mailboxes. */
  readonly mailboxes: number
}

/** What is kept of a user: which channels are the user's own, and what stands in tables. */
export class ForgettingUser {
  readonly #options: ForgettingUserOptions

  constructor(options: ForgettingUserOptions) {
    this.#options = options
  }

  /**
   * The database by the name that everything here goes by: null for the home one.
   * @throws {ClientError} invalid_input for none of the config's
   */
  databaseOf(name: string | null): string | null {
    return furtherOf(this.#options.live.rules.config.databases, name)
  }

  /** The user's own channel in every subsystem that has such. */
  channelsOf(user: string, database: string | null): readonly string[] {
    const channels: string[] = []
    for (const [subsystem, policy] of this.#options.live.rules.config.channels) {
      if (policy.access !== 'user' && policy.publish !== 'user') continue
      const part = policy.databases === undefined ? null : (database ?? policy.databases.home)
      // What all databases share is of the home one's users.
      if (database !== null && part === null) continue
      const channel = userChannel(subsystem, user, part)
      // Too long an id has no channel.
      if (isChannel(channel)) channels.push(channel)
    }
    return channels
  }

  /**
   * Asks every subsystem that has a `forget` hook; how many records they say there were.
   * @throws {ClientError} what a hook throws, `internal`, `timeout`
   */
  async askHooks(user: string, database: string | null): Promise<number> {
    const { live, services, hookMs = 60_000 } = this.#options
    const { registry, config } = live.rules
    let records = 0
    for (const [subsystem, hook] of registry.forget) {
      const perDatabase = config.channels.get(subsystem)?.databases !== undefined
      if (database !== null && !perDatabase) continue
      const call = { place: `${subsystem}.forget`, connection: null, user, database, deadlineMs: hookMs }
      const count = await runHook(call, services, (run) => hook({ user, database }, run))
      if (typeof count === 'number' && count > 0) records += count
    }
    return records
  }

  /**
   * How many places in mailboxes there were.
   * @throws {ClientError} unavailable
   */
  async forgetMailboxes(user: string, database: string | null): Promise<number> {
    if (user.includes('\0')) return 0
    const name = userKey(database === null ? { id: user } : { id: user, database })
    const gone = await this.#query('DELETE FROM livemessage.mailbox WHERE user_id = $1', [name])
    return gone.rowCount ?? 0
  }

  /**
   * How many dead letters of these channels the database had.
   * @throws {ClientError} unavailable
   */
  async forgetLetters(channels: readonly string[]): Promise<number> {
    if (channels.length === 0) return 0
    const gone = await this.#query('DELETE FROM livemessage.dead WHERE channel = ANY ($1::text[])', [
      channels,
    ])
    return gone.rowCount ?? 0
  }

  async #query(
    text: string,
    values: readonly unknown[],
  ): Promise<{ readonly rows: readonly Record<string, unknown>[]; readonly rowCount: number | null }> {
    const { pool, log, statementMs = 10_000 } = this.#options
    if (pool === null) return NOTHING
    try {
      return await withDeadline(statementMs, [], (signal) => pool.withSignal(signal).query(text, values))
    } catch (error) {
      // A database that the daemon has no tables in has nothing of anybody.
      if (lacksSchema(error)) return NOTHING
      if (!isClientError(error)) log.error({ reason: messageOf(error) }, 'not forgotten')
      throw unavailable(error)
    }
  }
}

const NOTHING = { rows: [], rowCount: 0 }
