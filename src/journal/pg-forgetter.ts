import { unavailable } from '../database/failures.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import type { Forget, ForgetOutcome } from './journal.ts'
import type { ForgetCall, ForgottenPart, Store } from './pg-store.ts'

export interface ForgetterDependencies {
  readonly store: Pick<Store, 'forgetSome' | 'forgetQueued' | 'forgetTraces'>
  /** The epoch that the positions are of. */
  epoch(): string
  /** Resolves when this node has handed on everything that there is now. */
  caughtUp(): Promise<void>
  readonly log: Log
  /** How many rows go in one transaction. @default 2000 */
  readonly rows?: number
}

/**
 * Makes publications void, some thousands a transaction, each with its own tombstone: whatever ends it half-way, what
 * was done is done on all nodes, and who asks again has the rest done.
 */
export class Forgetter {
  readonly #deps: ForgetterDependencies

  constructor(deps: ForgetterDependencies) {
    this.#deps = deps
  }

  /** @throws {ClientError} `unavailable`, `conflict` */
  async forget({ channel, positions: some }: Forget): Promise<ForgetOutcome> {
    const positions = some ?? null
    const { store, rows = 2000 } = this.#deps
    const epoch = this.#deps.epoch()
    let count = positions === null ? await this.#ask(() => store.forgetQueued(channel)) : 0
    let position = 0
    let after = 0
    let until: number | null = null
    for (let more = true; more;) {
      const call: ForgetCall = { channel, positions, after, until, rows, epoch }
      const part: ForgottenPart = await this.#ask(() => store.forgetSome(call))
      count += part.count
      position = part.place ?? Math.max(position, part.until)
      until = part.until
      after = part.upTo
      more = part.more
    }
    await this.#ask(() => store.forgetTraces(channel, positions))
    // The window of this node too, before anyone is told.
    await this.#ask(() => this.#deps.caughtUp())
    return { count, position }
  }

  async #ask<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'LM002') {
        throw new ClientError('conflict', 'positions have started anew: ask with cursors of the new epoch')
      }
      // The pool tells of connections; this is the server refusing what should work.
      if (!isClientError(error)) this.#deps.log.error({ reason: messageOf(error) }, 'not forgotten')
      throw unavailable(error)
    }
  }
}
