import { writeJson } from '../protocol/json.ts'
import type { Transaction } from '../registry/define.ts'
import { orAborted } from './lease.ts'
import type { Lease } from './lease.ts'
import { Publications, rolledBack, type TransactionPublisher } from './publications.ts'

/** A transaction that is committed. */
export interface Committed<T> {
  readonly result: T
  /** What is published only now: to be called when the connection has been given back. Null: nothing. */
  readonly publish: (() => Promise<void>) | null
}

/** Runs `work` between BEGIN and COMMIT of this connection. */
export async function runTransaction<T>(
  lease: Lease,
  work: (tx: Transaction) => Promise<T>,
  publisher: TransactionPublisher | null = null,
): Promise<Committed<T>> {
  await lease.query('BEGIN')
  const publications = new Publications(publisher)
  const level = new Level(lease, publications, 0)
  let publish: Committed<T>['publish']
  let result: T
  try {
    // The signal ends it even where `work` waits for something else, or it would keep its connection for ever.
    result = await orAborted(work(level.tx), lease.signal)
    level.close()
    publish = await publications.write(lease)
  } catch (error) {
    level.close()
    await lease.rollback()
    throw error
  }
  lease.settle()
  const { command } = await lease.query('COMMIT')
  // After a failed statement that `work` caught, the server answers COMMIT with a rollback, and no error.
  if (command === 'ROLLBACK') throw rolledBack()
  return { result, publish }
}

/** The transaction, or a savepoint in it. */
class Level {
  readonly #lease: Lease
  readonly #publications: Publications
  readonly #depth: number
  #open = true
  #nested = false

  constructor(lease: Lease, publications: Publications, depth: number) {
    this.#lease = lease
    this.#publications = publications
    this.#depth = depth
  }

  readonly tx: Transaction = {
    query: async (text, values) => {
      this.#check()
      const { rows, rowCount } = await this.#lease.query<never>(text, values)
      return { rows, rowCount }
    },
    transaction: async (work) => {
      this.#check()
      // Two at once would share one stack of savepoints, and queueing them could wait for itself.
      if (this.#nested) {
        throw new Error(
          'a transaction within this one is open already: await it, or use the `db` it was given',
        )
      }
      this.#nested = true
      try {
        return await this.#savepoint(work)
      } finally {
        this.#nested = false
      }
    },
    // Throws at once: what is refused must undo the transaction also where nobody awaits it.
    publish: (channel, data, options = {}) => {
      this.#check()
      const { key, exclude } = options
      this.#publications.add({ channel, json: writeJson(data), key, exclude })
      return Promise.resolve()
    },
  }

  close(): void {
    this.#open = false
  }

  #check(): void {
    if (!this.#open) throw new Error('this transaction has ended: its `db` can no longer be used')
  }

  async #savepoint<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const name = `livemessage_${this.#depth + 1}`
    await this.#lease.query(`SAVEPOINT ${name}`)
    const publications = this.#publications
    const { length } = publications
    const level = new Level(this.#lease, publications, this.#depth + 1)
    try {
      const result = await work(level.tx)
      await this.#lease.query(`RELEASE SAVEPOINT ${name}`)
      return result
    } catch (error) {
      publications.forget(length)
      await this.#lease.rollback(name)
      throw error
    } finally {
      level.close()
    }
  }
}
