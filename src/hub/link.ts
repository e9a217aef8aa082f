import type { ServerFrame } from '../protocol/frames.ts'

/** What carries one client's frames: each transport has its own. After its end every method is a no-op. */
export interface Link {
  /** Bytes that wait for the client. */
  readonly bufferedBytes: number
  /**
   * The client is here for one answer, and comes back as another one: presence neither counts it nor tells it. Two who
   * wait so would wake one another for ever, by leaving and coming. @default false
   */
  readonly fleeting?: boolean
  /**
   * Sends one frame, in the transport's own form; what that has no form for is left out.
   * False when it was dropped: nothing may be sent on this link again.
   * @throws {TypeError} where JSON can't carry an event's arguments
   */
  send(frame: ServerFrame): boolean
  /** Runs `send`s so that they leave in one write. */
  cork(write: () => void): void
  /**
   * From now on, and not a frame earlier, what its `Fanout` publishes on the topic comes over this link. A topic is a
   * channel's name, or a `completeTopic`: whoever is on one of these has a journaled subscription and misses nothing on
   * any.
   */
  join(topic: string): void
  leave(topic: string): void
  /** Says why, as far as the transport can, and ends; whatever waits goes first. */
  close(code: number, reason: string): void
  /** Ends at once. */
  terminate(): void
}

/** How all clients of one kind of link get what is for everybody on a topic: by one call, encoded once. */
export interface Fanout {
  /** Nothing happens where nobody is on the topic. `except` is of any kind: not to get it. */
  publish(topic: string, frame: ServerFrame, except: Link | null): void
}
