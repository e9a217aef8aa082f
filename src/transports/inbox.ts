import { Bucket } from '../auth/rates.ts'

/** What somebody may still ask for. */
export class Allowance {
  /** Calls and publications. */
  readonly calls = new Bucket()
  /** Calls under way. */
  pendingCalls = 0
}

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
  #waiting: (string | null)[] = []
  #waitingBytes = 0

  /** False when more waits than `limitBytes`. */
  push(text: string | null, limitBytes: number): boolean {
    this.#waitingBytes += sizeOf(text)
    if (this.#waitingBytes > limitBytes) return false
    this.#waiting.push(text)
    return true
  }

  /** Undefined when nothing waits. */
  shift(): string | null | undefined {
    const text = this.#waiting.shift()
    if (text !== undefined) this.#waitingBytes -= sizeOf(text)
    return text
  }

  /** The client is gone: nothing of it will be handled. */
  clear(): void {
    this.#waiting = []
    this.#waitingBytes = 0
  }
}

/** What a waiting frame costs beside its text: many empty ones are no small thing. */
const FRAME_BYTES = 64

function sizeOf(text: string | null): number {
  return FRAME_BYTES + (text === null ? 0 : 2 * text.length)
}
