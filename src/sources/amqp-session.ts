import { messageOf } from '../errors.ts'
import type { Channel, ConsumeMessage } from '../broker/connection.ts'
import type { Log } from '../ops/log.ts'

/** A message that was delivered, and the stay on a channel where alone it can be acknowledged. */
export interface Delivery {
  readonly message: ConsumeMessage
  readonly session: Session
}

/**
 * One stay on a channel. Deliveries are acknowledged strictly in their order: one that is settled waits for those
 * before it, so that whatever ends the session, the queue gives back an unbroken run.
 */
export class Session {
  readonly channel: Channel
  /** Aborted when the channel is closed, or the consumer stops. */
  readonly over = new AbortController()
  /** Nothing was handled yet: what is first now was first when the last session ended. */
  fresh = true
  readonly #log: Log
  /** Handed over and not acknowledged, in the order of delivery: whether each is settled. */
  readonly #open = new Map<Delivery, boolean>()
  /** The newest of the unbroken run that is settled and not acknowledged. */
  #newest: ConsumeMessage | null = null

  constructor(channel: Channel, log: Log) {
    this.channel = channel
    this.#log = log
  }

  /** It is being handled. To be called in the order of delivery. */
  open(delivery: Delivery): void {
    this.#open.set(delivery, false)
  }

  /** It is done with: journaled, or a confirmed dead letter. */
  settle(delivery: Delivery): void {
    this.#open.set(delivery, true)
    for (const [first, settled] of this.#open) {
      if (!settled) return
      this.#open.delete(first)
      // Once per turn of the event loop: the order makes one tag stand for all before it.
      if (this.#newest === null) setImmediate(() => this.acknowledge())
      this.#newest = first.message
    }
  }

  acknowledge(): void {
    const newest = this.#newest
    this.#newest = null
    if (newest === null) return
    try {
      this.channel.ack(newest, true)
    } catch (error) {
      // The channel is closed: what it delivered comes again.
      this.#log.debug({ reason: messageOf(error) }, 'acknowledgement came too late')
    }
  }
}
