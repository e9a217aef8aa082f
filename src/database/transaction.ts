import type { Database } from '../registry/define.ts'
import { orAborted } from './lease.ts'
import type { Lease } from './lease.ts'

/** Runs `work` between BEGIN and COMMIT of this connection. */
export async function runTransaction<T>(lease: Lease, work: (db: Database) => Promise<T>): Promise<T> {
  await lease.query('BEGIN')
  const level = new Level(lease, 0)
  let result: T
  try {
    // The signal ends it even where `work` waits for something else, or it would keep its connection for ever.
    result = await orAborted(work(level.db), lease.signal)
  } catch (error) {
    level.close()
    await lease.rollback()
    throw error
  }
  level.close()
  lease.settle()
  const { command } = await lease.query('COMMIT')
  // After a failed statement that `work` caught, the server answers COMMIT with a rollback, and no error.
  if (command === 'ROLLBACK') throw new Error('the transaction was rolled back: a statement in it had failed')
  return result
}

/** The transaction, or a savepoint in it. */
class Level {
  readonly #lease: Lease
  readonly #depth: number
  #open = true
  #nested = false

  constructor(lease: Lease, depth: number) {
    this.#lease = lease
    this.#depth = depth
  }

  readonly db: Database = {
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
  }

  close(): void {
    this.#open = false
  }

  #check(): void {
    if (!this.#open) throw new Error('this transaction has ended: its `db` can no longer be used')
  }

  async #savepoint<T>(work: (db: Database) => Promise<T>): Promise<T> {
    const name = `livemessage_${this.#depth + 1}`
    await this.#lease.query(`SAVEPOINT ${name}`)
    const level = new Level(this.#lease, this.#depth + 1)
    try {
      const result = await work(level.db)
      await this.#lease.query(`RELEASE SAVEPOINT ${name}`)
      return result
    } catch (error) {
      await this.#lease.rollback(name)
      throw error
    } finally {
      level.close()
    }
  }
}
