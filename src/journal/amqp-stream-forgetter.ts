import { ClientError } from '../protocol/codes.ts'
import type { StreamDraft } from './amqp-stream-appender.ts'
import type { Forget, ForgetOutcome, Forgotten } from './journal.ts'

export interface StreamForgetterDependencies {
  /** Resolves with its position when this node has read it. */
  append(tombstone: StreamDraft): Promise<number>
  /** The epoch that positions are of. */
  epoch(): string
}

/** What is in a stream can't be taken out of it: each that reads it reads the tombstone too, and holds to it. */
export class StreamForgetter {
  readonly #deps: StreamForgetterDependencies
  /** How many each tombstone made void, by its position, while somebody waits for that. */
  readonly #counts = new Map<number, number>()
  #asking = 0

  constructor(deps: StreamForgetterDependencies) {
    this.#deps = deps
  }

  /** @throws {ClientError} `unavailable`, `conflict` */
  async forget({ channel, positions }: Forget): Promise<ForgetOutcome> {
    const epoch = this.#deps.epoch()
    const json = positions === undefined ? 'null' : JSON.stringify({ epoch, positions })
    this.#asking++
    try {
      const position = await this.#deps.append({ channel, json, tombstone: true })
      if (this.#deps.epoch() !== epoch && positions !== undefined) {
        throw new ClientError('conflict', 'positions have started anew: ask with cursors of the new epoch')
      }
      return { count: this.#counts.get(position) ?? 0, position }
    } finally {
      if (--this.#asking === 0) this.#counts.clear()
    }
  }

  /** A tombstone was read, and made so many void. It stands behind the last that it may be about. */
  told({ upTo }: Forgotten, count: number): void {
    if (this.#asking > 0) this.#counts.set(upTo + 1, count)
  }
}
