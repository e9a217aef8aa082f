import { connect } from 'node:net'
import type { PoolClient, QueryResultRow } from 'pg'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { unavailableOr } from './failures.ts'

export interface Result<Row> {
  readonly rows: Row[]
  readonly rowCount: number | null
  readonly command: string
}

/**
 * One connection on loan from the pool, for one statement or one transaction. When the signal aborts, the
 * statement under way is cancelled at the server and the connection is given up, not given back: a cancellation
 * that comes late would hit the next borrower.
 */
export class Lease {
  readonly #client: PoolClient
  readonly #log: Log
  readonly #onAbort = () => this.#abort()
  #signal: AbortSignal | undefined
  #running = 0
  #failed = false
  #over = false
  #freed: Promise<void> = Promise.resolve()
  /** Whoever waits for a statement: one listener at the signal serves all, each costs as much as a small statement. */
  readonly #waiting = new Set<(reason: unknown) => void>()

  constructor(client: PoolClient, signal: AbortSignal | undefined, log: Log) {
    this.#client = client
    this.#signal = signal
    this.#log = log
    signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get signal(): AbortSignal | undefined {
    return this.#signal
  }

  async query<Row>(text: string, values?: readonly unknown[]): Promise<Result<Row>> {
    this.#signal?.throwIfAborted()
    if (this.#over) throw new Error('the connection was given back: this `db` can no longer be used')
    this.#running++
    try {
      const asked = this.#client.query<Row & QueryResultRow>(
        text,
        values === undefined ? undefined : [...values],
      )
      const answer: Result<Row> | Result<Row>[] = await (this.#signal === undefined
        ? asked
        : this.#orAborted(asked))
      return last(answer)
    } catch (error) {
      this.#signal?.throwIfAborted()
      const failure = unavailableOr(error)
      if (failure !== error) this.#failed = true
      throw failure
    } finally {
      this.#running--
    }
  }

  /**
   * Undoes what the transaction did, or what it did since the savepoint. A connection where that fails is
   * closed, which undoes all.
   */
  async rollback(savepoint?: string): Promise<void> {
    if (this.#over) return
    try {
      await this.query(
        savepoint === undefined
          ? 'ROLLBACK'
          : `ROLLBACK TO SAVEPOINT ${savepoint}; RELEASE SAVEPOINT ${savepoint}`,
      )
    } catch (error) {
      this.#failed = true
      this.#log.debug({ reason: messageOf(error) }, 'rollback failed, connection closed')
    }
  }

  /** From here on an abort changes nothing: a COMMIT is about to be sent. */
  settle(): void {
    this.#signal?.throwIfAborted()
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#signal = undefined
  }

  /** Ends the loan; idempotent. Resolves when the pool has the connection back, or has lost it. */
  release(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    if (!this.#over) {
      this.#over = true
      this.#client.release(this.#failed)
    }
    return this.#freed
  }

  /** Cuts the connection, whatever it does. */
  cut(): Promise<void> {
    this.#failed = true
    const ended = this.#client.end()
    return Promise.all([ended, this.release()]).then(() => undefined)
  }

  /** The answer, or the signal's reason as soon as it aborts. */
  #orAborted<T>(asked: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject)
      const settled = (): boolean => this.#waiting.delete(reject)
      asked.then(resolve, reject).then(settled, settled)
    })
  }

  #abort(): void {
    if (this.#over) return
    this.#over = true
    for (const reject of this.#waiting) reject(this.#signal?.reason)
    this.#freed = this.#running === 0 ? Promise.resolve() : this.#cancel()
    this.#freed = this.#freed.then(() => this.#client.release(true))
  }

  async #cancel(): Promise<void> {
    const failure = await cancel(this.#client)
    if (failure !== null)
      this.#log.debug({ reason: failure.message }, 'statement not cancelled at the server')
  }
}

/**
 * The promise, or the signal's reason as soon as it aborts; what the promise comes to then is of no interest to
 * anybody any more.
 */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    const settled = () => signal.removeEventListener('abort', onAbort)
    promise.then(resolve, reject).then(settled, settled)
  })
}

/** A text without values may hold several statements; the last one's result counts. */
function last<Row>(answer: Result<Row> | Result<Row>[]): Result<Row> {
  if (!Array.isArray(answer)) return answer
  return answer.at(-1) ?? { rows: [], rowCount: null, command: '' }
}

/** What `pg` knows of its server process, and its types do not. */
function hasKey(client: object): client is { processID: number; secretKey: number } {
  return (
    'processID' in client &&
    typeof client.processID === 'number' &&
    'secretKey' in client &&
    typeof client.secretKey === 'number'
  )
}

/**
 * Asks the server to cancel what the connection is doing, on a connection of its own as the protocol wants it.
 * Not by pg_cancel_backend: behind a pooler the process number is the pooler's. Resolves with what went wrong.
 */
function cancel(client: PoolClient, timeoutMs = 1000): Promise<Error | null> {
  const { host, port } = client
  return new Promise((resolve) => {
    if (!hasKey(client)) {
      resolve(new Error('the server named no key for it'))
      return
    }
    const request = Buffer.alloc(16)
    request.writeInt32BE(16, 0)
    request.writeInt32BE(80_877_102, 4) // CancelRequest, in place of a protocol version
    request.writeInt32BE(client.processID, 8)
    request.writeInt32BE(client.secretKey, 12)
    const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
    let failure: Error | null = null
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('the server did not answer in time')))
    socket.on('error', (error) => (failure = error))
    socket.on('close', () => resolve(failure)) // the server closes when it has passed the request on
    socket.on('connect', () => socket.write(request))
    socket.resume()
  })
}
