import type { MaybePromise } from '../../sources/source.ts'
import type { Incoming } from './incoming.ts'

/** What a client has emitted in one namespace, one after the other. */
export class Turns {
  /** Never rejects; a promise means that the next must wait. */
  readonly #handle: (incoming: Incoming) => MaybePromise<void>
  #waiting: Incoming[] = []
  #waitingBytes = 0
  #busy = false

  constructor(handle: (incoming: Incoming) => MaybePromise<void>) {
    this.#handle = handle
  }

  /** False when more waits than `limitBytes`. */
  take(incoming: Incoming, limitBytes: number): boolean {
    if (!this.#busy) {
      this.#run(incoming)
      return true
    }
    this.#waitingBytes += EVENT_BYTES + incoming.bytes
    if (this.#waitingBytes > limitBytes) return false
    this.#waiting.push(incoming)
    return true
  }

  /** Everything waits for this, which never rejects. */
  hold(until: Promise<void>): void {
    this.#busy = true
    void until.then(() => this.#next())
  }

  /** The client has gone: nothing of it will be handled. */
  clear(): void {
    this.#waiting = []
    this.#waitingBytes = 0
  }

  #run(incoming: Incoming): void {
    const result = this.#handle(incoming)
    if (result instanceof Promise) this.hold(result)
  }

  #next(): void {
    this.#busy = false
    while (!this.#busy) {
      const incoming = this.#waiting.shift()
      if (incoming === undefined) return
      this.#waitingBytes -= EVENT_BYTES + incoming.bytes
      this.#run(incoming)
    }
  }
}

/** What a waiting event costs beside its arguments. */
const EVENT_BYTES = 128
