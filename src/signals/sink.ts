import type { Client } from '../hub/client.ts'
import type { Attendance } from '../hub/hub.ts'

/** Who is told what happens at this node. Never throws, never waits; what nobody wants to hear costs one look. */
export interface SignalSink extends Attendance {
  /** It was let in. */
  connected(client: Client): void
  /** It was let in before, and has gone; its `disconnect` hook has ended. */
  disconnected(client: Client, left: Departure): void
  /** It has gone, and was not let in, or not yet. */
  refused(client: Client): void
  /** A call was taken. `data` as the action gets it. */
  called(client: Client | null, user: string | null, action: string, data: unknown): void
  /** A frame is about to be handled. */
  said(client: Client | null, user: string | null, frame: { readonly type: string }): void
}

export interface Departure {
  readonly code: number
  readonly reason: string
  /** Milliseconds since 1970. */
  readonly time: number
}

/** Tells both, in this order. */
export function bothOf(one: Attendance, other: Attendance): Attendance {
  return {
    joined(client, channel) {
      one.joined(client, channel)
      other.joined(client, channel)
    },
    left(client, channel) {
      one.left(client, channel)
      other.left(client, channel)
    },
    identified(client) {
      one.identified(client)
      other.identified(client)
    },
  }
}
