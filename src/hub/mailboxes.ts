import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import { Errands } from './errands.ts'

export interface MailboxesOptions {
  /** Asks the home database; the statement ends with the signal. */
  query(
    text: string,
    values: readonly unknown[],
    signal: AbortSignal,
  ): Promise<{ readonly rows: readonly Record<string, unknown>[] }>
  /** How long the database is waited for, in ms. */
  patienceMs(): number
  readonly log: Log
  /** Pause before a statement that failed for an outage is tried again. @default 100 */
  readonly retryMs?: number
}

interface Place {
  readonly user: string
  readonly channel: string
}

interface Confirm extends Place {
  readonly position: number
}

/**
 * Where the users are in their mailboxes: a position for each user and channel, in the database, common to all nodes
 * and devices. It only moves forward. What is asked in one turn, or while a statement is under way, goes in one
 * statement: ten thousand who come back cost some tens.
 *
 * Positions need no epoch here: they are kept beside the journal, in the same database, and go back with it when an
 * older state of it is restored.
 */
export class Mailboxes {
  readonly #confirms: Errands<Confirm, void>
  readonly #reads: Errands<Place, number | null>
  /** Confirms that are not durable yet: who reads meanwhile waits for them. */
  readonly #open = new Map<string, Promise<void>>()

  constructor(options: MailboxesOptions) {
    const { query, patienceMs, log, retryMs } = options
    const shared = { patienceMs, isOutage: isUnavailable, unavailable: () => away(), retryMs: retryMs ?? 100 }
    const noteOutage = (error: unknown): void => {
      log.warn({ reason: messageOf(error) }, 'mailboxes can not be reached')
    }
    const noteRecovery = (): void => log.info('mailboxes are reached again')
    this.#confirms = new Errands({
      ...shared,
      noteOutage,
      noteRecovery,
      async run(items, signal) {
        await query(
          'SELECT livemessage.confirm($1::text[], $2::text[], $3::bigint[])',
          [items.map((i) => i.user), items.map((i) => i.channel), items.map((i) => i.position)],
          signal,
        )
        return items.map(() => undefined)
      },
    })
    this.#reads = new Errands({
      ...shared,
      noteOutage,
      noteRecovery,
      async run(items, signal) {
        const { rows } = await query(READ, [items.map((i) => i.user), items.map((i) => i.channel)], signal)
        const found: (number | null)[] = items.map(() => null)
        for (const row of rows) found[Number(row['n']) - 1] = Number(row['position'])
        return found
      },
    })
  }

  /**
   * The position up to which the user has confirmed; null where that was never done.
   * @throws {ClientError} `unavailable`
   */
  async read(user: string, channel: string): Promise<number | null> {
    checkUser(user)
    // Its own failure is told to those who confirmed.
    await this.#open.get(keyOf(user, channel))?.catch(() => undefined)
    return this.#reads.add({ user, channel })
  }

  /**
   * Resolves when it is durable. Where the user has confirmed more already, nothing moves.
   * @throws {ClientError} `unavailable`: it may be durable all the same
   */
  confirm(user: string, channel: string, position: number): Promise<void> {
    checkUser(user)
    const key = keyOf(user, channel)
    const done = this.#confirms.add({ user, channel, position })
    this.#open.set(key, done)
    const forget = (): void => {
      if (this.#open.get(key) === done) this.#open.delete(key)
    }
    done.then(forget, forget)
    return done
  }

  /** What is under way ends; what waits is told `unavailable`. Idempotent. */
  async stop(): Promise<void> {
    await Promise.all([this.#confirms.stop(), this.#reads.stop()])
  }
}

const READ = `SELECT asked.n, mailbox.position
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked(user_id, channel, n)
JOIN livemessage.mailbox USING (user_id, channel)`

function keyOf(user: string, channel: string): string {
  // A channel's name holds no space.
  return `${channel} ${user}`
}

/** PostgreSQL's texts can't hold it: in a statement that many share it would fail them all. */
function checkUser(user: string): void {
  if (user.includes('\0')) throw new ClientError('invalid_input', 'a user id with \\u0000 has no mailbox')
}

function isUnavailable(error: unknown): boolean {
  return isClientError(error) && error.code === 'unavailable'
}

function away(): ClientError {
  return new ClientError('unavailable', 'mailboxes can not be reached at the moment')
}
