import { messageOf } from '../errors.ts'
import type { Lease } from './lease.ts'

/** A publication of a transaction, until that is over. */
export interface TransactionPublication {
  readonly channel: string
  /** The data as JSON text, as it was when it was published. */
  readonly json: string
  readonly key?: string | undefined
  readonly exclude?: string | undefined
}

/** Who publishes for transactions, once they have something to publish. */
export interface TransactionPublisher {
  /**
   * Whether SQL can publish it inside the transaction.
   * @throws what a publication to nowhere, or one that is too large, throws of a module
   */
  check(publication: TransactionPublication): boolean
  /** The channel as SQL is told it. @default as it is */
  sqlChannel?(channel: string): string
  /** These were published by SQL, and are committed. */
  committed(count: number): void
  /** Publishes what SQL could not, after the commit. Never rejects: the transaction is done, whatever comes of them. */
  publish(publications: readonly TransactionPublication[]): Promise<void>
}

/** Of one statement. */
const MAX_BATCH = 500

/** What a transaction publishes, in its order. */
export class Publications {
  readonly #publisher: TransactionPublisher | null
  readonly #all: { readonly publication: TransactionPublication; readonly bySql: boolean }[] = []

  constructor(publisher: TransactionPublisher | null) {
    this.#publisher = publisher
  }

  /** How many there are: what `forget` goes back to. */
  get length(): number {
    return this.#all.length
  }

  add(publication: TransactionPublication): void {
    if (this.#publisher === null)
      throw new Error('this database can not publish: use `publish` of the context')
    this.#all.push({ publication, bySql: this.#publisher.check(publication) })
  }

  /** A savepoint was rolled back. */
  forget(length: number): void {
    this.#all.length = length
  }

  /**
   * The last statements before COMMIT: publishes inside the transaction what SQL can publish. Resolves with what is to be
   * done once it is committed; null where that is nothing.
   */
  async write(lease: Lease): Promise<(() => Promise<void>) | null> {
    const publisher = this.#publisher
    if (publisher === null || this.#all.length === 0) return null
    const inside: TransactionPublication[] = []
    const after: TransactionPublication[] = []
    // What follows one that has to wait waits too: a channel's publications keep their order.
    const waiting = new Set<string>()
    for (const { publication, bySql } of this.#all) {
      if (bySql && !waiting.has(publication.channel)) inside.push(publication)
      else {
        waiting.add(publication.channel)
        after.push(publication)
      }
    }
    await writeAll(lease, inside, publisher)
    return async () => {
      if (inside.length > 0) publisher.committed(inside.length)
      if (after.length > 0) await publisher.publish(after)
    }
  }
}

async function writeAll(
  lease: Lease,
  publications: readonly TransactionPublication[],
  publisher: TransactionPublisher,
): Promise<void> {
  const channelOf = ({ channel }: TransactionPublication): string =>
    publisher.sqlChannel?.(channel) ?? channel
  try {
    for (let from = 0; from < publications.length; from += MAX_BATCH) {
      const [first, ...others] = publications.slice(from, from + MAX_BATCH)
      if (first === undefined) return
      if (others.length === 0) {
        await lease.query('SELECT livemessage.publish($1, $2::jsonb)', [channelOf(first), first.json])
      } else {
        const items = [first, ...others].map((one) => `{"channel":"${channelOf(one)}","data":${one.json}}`)
        await lease.query('SELECT livemessage.publish_many($1::jsonb)', [`[${items.join(',')}]`])
      }
    }
  } catch (error) {
    throw isAborted(error) ? rolledBack(error) : error
  }
}

/** What a COMMIT after a failed statement comes to. */
export function rolledBack(cause?: unknown): Error {
  const message = 'the transaction was rolled back: a statement in it had failed'
  return cause === undefined ? new Error(message) : new Error(`${message}: ${messageOf(cause)}`, { cause })
}

/** in_failed_sql_transaction */
function isAborted(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '25P02'
}
