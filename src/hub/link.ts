/** What carries a client's bytes. A listener's socket is one; after its end every method is a no-op. */
export interface Link {
  readonly bufferedBytes: number
  /** Sends one frame. False when it was dropped: nothing may be sent on this link again. */
  send(frame: string): boolean
  /** Runs `send`s so that they leave in one write. */
  cork(write: () => void): void
  /** From now on, and not a frame earlier, what is published on the channel comes over this link. */
  join(channel: string): void
  leave(channel: string): void
  publishToOthers(channel: string, frame: string): void
  close(code: number, reason: string): void
  terminate(): void
}
