import { Bucket } from '../auth/rates.ts'

/** What somebody may still ask for. */
export class Allowance {
  /** Calls and publications. */
  readonly calls = new Bucket()
  /** Calls under way. */
  pendingCalls = 0
}

/** What one message of a client was: a text, or binary data; null where that stands for nothing. */
export type Said = string | Buffer | null

/** What one connection has sent and is still being handled; made at its first frame. */
export class Inbox extends Allowance {
  /** Frames of any kind. */
  readonly frames = new Bucket()
  /** Frames that came by requests of their own and are not answered yet. */
  pendingRequests = 0
  /** Confirms that are not durable yet. */
  pendingConfirms = 0
  /** A frame is being handled whose answer must come before the next is looked at. */
  busy = false
  #waiting: Said[] = []
  #waitingBytes = 0

  /** False when more waits than `limitBytes`. */
  push(said: Said, limitBytes: number): boolean {
    this.#waitingBytes += sizeOf(said)
    if (this.#waitingBytes > limitBytes) return false
    this.#waiting.push(said)
    return true
  }

  /** Undefined when nothing waits. */
  shift(): Said | undefined {
    const said = this.#waiting.shift()
    if (said !== undefined) this.#waitingBytes -= sizeOf(said)
    return said
  }

  /** The client is gone: nothing of it will be handled. */
  clear(): void {
    this.#waiting = []
    this.#waitingBytes = 0
  }
}

/** What a waiting frame costs beside its text: many empty ones are no small thing. */
const FRAME_BYTES = 64

function sizeOf(said: Said): number {
  if (said === null) return FRAME_BYTES
  return FRAME_BYTES + (typeof said === 'string' ? 2 : 1) * said.length
}
