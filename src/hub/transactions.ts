import type { TransactionPublisher } from '../database/publications.ts'
import { LivemessageError } from '../errors.ts'
import type { Journal } from '../journal/journal.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { isClientError } from '../protocol/codes.ts'
import { databasePartOf, withoutDatabase } from '../protocol/names.ts'
import type { Live } from '../rules.ts'
import { policyOf } from './policies.ts'
import type { Publisher } from './publisher.ts'

export interface TransactionsDependencies {
  readonly publisher: Publisher
  readonly journal: Pick<Journal, 'kind'>
  readonly counts: Counts
  readonly log: Log
}

/** What JSON may hold and PostgreSQL's jsonb may not: NUL, halves of surrogate pairs. */
const NOT_FOR_JSONB = /\\u(?:0000|d[89a-f])/i

/**
 * Publishes what modules publish in their transactions: into the journal within the transaction, where it is the
 * database's, and anything else after the commit. The bus is not told by NOTIFY in the transaction: what the same module
 * publishes next would overtake it, and both promise no more than at most once.
 */
export function createTransactionPublisher({
  publisher,
  journal,
  counts,
  log,
}: TransactionsDependencies): TransactionPublisher {
  return {
    check({ channel, json, key, exclude }) {
      let journaled: boolean
      try {
        journaled = publisher.check(channel, json)
      } catch (error) {
        throw refusedPublication(channel, error)
      }
      if (journal.kind !== 'postgres' || key !== undefined || exclude !== undefined) return false
      return journaled && !NOT_FOR_JSONB.test(json)
    },
    committed(count) {
      for (let n = 0; n < count; n++) counts.published('action')
    },
    async publish(publications) {
      // All are on their way, in their order, before the first is waited for.
      const sent = publications.map(async (one) => publisher.publish({ ...one, source: 'action' }))
      for (const [index, outcome] of (await Promise.allSettled(sent)).entries()) {
        if (outcome.status === 'fulfilled') continue
        const error: unknown = outcome.reason
        counts.error('action', isClientError(error) ? error.code : 'internal')
        const { channel } = publications[index]!
        log.error({ channel, err: error }, 'lost: a publication of a transaction that is committed')
      }
    },
  }
}

/**
 * The same in transactions of one database. SQL leaves the database out of the channels of a subsystem that runs per
 * database: another one's is published after the commit.
 */
export function publisherIn(
  database: string,
  live: Live,
  publisher: TransactionPublisher,
): TransactionPublisher {
  const isPerDatabase = (channel: string): boolean => policyOf(live, channel)?.databases !== undefined
  return {
    ...publisher,
    check: (publication) => {
      const { channel } = publication
      const bySql = publisher.check(publication)
      return bySql && (!isPerDatabase(channel) || databasePartOf(channel) === database)
    },
    sqlChannel: (channel) => (isPerDatabase(channel) ? withoutDatabase(channel) : channel),
  }
}

/**
 * What a module sees of a publication that failed. A channel that can't be is the module's own mistake, of which
 * the client must not be told as if it were the client's: no ClientError, therefore logged where nobody catches
 * it. What the client's data or an outage may be the cause of stays as it is.
 */
export function refusedPublication(channel: string, error: unknown): unknown {
  if (!isClientError(error) || error.code !== 'unknown_channel') return error
  return new LivemessageError('PUBLISH_REFUSED', `publish to '${channel}': ${error.message}`, {
    cause: error,
  })
}
