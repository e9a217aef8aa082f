import type { FrameId, ServerFrame } from '../protocol/frames.ts'

/** Where the answer to a client's frame goes: mostly to the client itself. */
export interface Answer {
  /**
   * It does not come to the client in order with what its link brings. Missed messages are then no part of the answer:
   * all of them come by the link, before what is live.
   * @default false
   */
  readonly apart?: boolean
  /** False when the client is gone. */
  send(frame: ServerFrame): boolean
}

/** The frame that asked, and where its answer goes. */
export interface Asked {
  readonly id: FrameId | undefined
  readonly answer: Answer
}

/** What no frame asked for is told to the client all the same. */
export function unasked(client: Answer): Asked {
  return { id: undefined, answer: client }
}
