import type { Counts } from '../ops/counts.ts'
import { ClientError } from '../protocol/codes.ts'
import type { FrameId } from '../protocol/frames.ts'
import { FrameError } from '../protocol/decode.ts'
import type { Client } from './client.ts'

/** Who waits for a client's answer to an event: told once, of one of both. */
export interface AckWaiter {
  acknowledged(args: readonly unknown[]): void
  /** It has gone, and will not answer. */
  gone(): void
}

/** The events of one connection that it has not acknowledged yet. */
export class PendingAcks {
  readonly #waiters = new Map<number, AckWaiter>()
  /** Never used again on this connection: a late answer must not be taken for that of another event. */
  #lastId = 0

  get size(): number {
    return this.#waiters.size
  }

  /** The event's id. */
  add(waiter: AckWaiter): number {
    this.#waiters.set(++this.#lastId, waiter)
    return this.#lastId
  }

  /** Takes it out; undefined for an id that is none, was answered or is waited for no longer. */
  take(id: FrameId): AckWaiter | undefined {
    if (typeof id !== 'number') return undefined
    const waiter = this.#waiters.get(id)
    this.#waiters.delete(id)
    return waiter
  }

  /** Nobody will answer any more. */
  end(): void {
    const waiters = [...this.#waiters.values()]
    this.#waiters.clear()
    for (const waiter of waiters) waiter.gone()
  }
}

/** What clients answer to the events that they were sent. */
export class Events {
  readonly #counts: Counts

  constructor(counts: Counts) {
    this.#counts = counts
  }

  /**
   * A client answers an event that asked for it.
   * @throws {FrameError} invalid_input, without an id: no event of this connection waits for it. It is no frame's id.
   */
  acknowledge(client: Client, id: FrameId, args: readonly unknown[] = []): void {
    if (client.acknowledge(id, args)) this.#counts.acks++
    else {
      const message = 'ack: no event with this id waits for an answer'
      throw new FrameError({ code: 'invalid_input', message }, undefined)
    }
  }
}

/** The longest that an answer can be waited for, in ms. */
export const MAX_ACK_MS = 3_600_000

/** @throws {RangeError} */
export function checkAckMs(timeoutMs: number): number {
  if (Number.isFinite(timeoutMs) && timeoutMs > 0 && timeoutMs <= MAX_ACK_MS) return timeoutMs
  throw new RangeError(`timeoutMs: expected more than 0 and at most ${MAX_ACK_MS} ms, got ${timeoutMs}`)
}

/** Waits for one client's answer. `ask` sends the event, and gives what takes the question back; null: not sent. */
export function awaitAck(
  ask: (waiter: AckWaiter) => (() => void) | null,
  timeoutMs: number,
): Promise<readonly unknown[]> {
  return new Promise((resolve, reject) => {
    let forget: (() => void) | null = null
    const deadline = setTimeout(() => {
      forget?.()
      reject(new ClientError('timeout', `not acknowledged within ${timeoutMs} ms`))
    }, timeoutMs)
    const gone = (): void => {
      clearTimeout(deadline)
      reject(new ClientError('unavailable', 'the client has gone'))
    }
    const acknowledged = (args: readonly unknown[]): void => {
      clearTimeout(deadline)
      resolve(args)
    }
    try {
      forget = ask({ acknowledged, gone })
      if (forget === null) gone()
    } catch (error) {
      clearTimeout(deadline)
      throw error
    }
  })
}
