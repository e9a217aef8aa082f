import type { Args } from './args.ts'
import type { ErrorCode } from './codes.ts'

/** What a client marks a frame with, to recognise the answer. */
export type FrameId = number | string

/**
 * What the daemon says to a client, whatever carries it. Message objects are JSON text already: they were written
 * once, for all transports.
 */
export type ServerFrame =
  | WelcomeFrame
  | SubscribedFrame
  | MessageFrame
  | CursorFrame
  | ReplyFrame
  | ErrorFrame
  | UnsubscribedFrame
  | PresenceFrame
  | EventFrame
  | ForgottenFrame
  | ReconnectFrame
  | PongFrame

export interface WelcomeFrame {
  readonly type: 'welcome'
  readonly session: string
  readonly user: string | null
  readonly pingMs: number
  readonly version: string
}

export interface SubscribedFrame {
  readonly type: 'subscribed'
  readonly id?: FrameId | undefined
  readonly channel: string
  /** Null on a transient channel. */
  readonly cursor: string | null
  /** The user's own cursor, where a mailbox began there. */
  readonly since?: string | undefined
  readonly recovered: boolean
  /** Message objects, encoded. */
  readonly messages: readonly string[]
  /** Something was asked for or had been promised, and some of it is gone. Not on the wire of a WebSocket. */
  readonly lost?: boolean
  /** See `MessageFrame`. */
  readonly complete?: boolean
}

export interface MessageFrame {
  readonly type: 'message'
  /** The message object, encoded. */
  readonly message: string
  /**
   * Who gets it has all that came before it on every journaled channel it is on: the message's id is a cursor for all
   * of them. On a topic, where one frame is for many: as their link's `join` of a `completeTopic` says.
   */
  readonly complete?: boolean
}

/** All subscriptions of who gets it are complete up to here. */
export interface CursorFrame {
  readonly type: 'cursor'
  readonly cursor: string
}

export interface ReplyFrame {
  readonly type: 'reply'
  /** Always there, except in the answer to an HTTP request. */
  readonly id?: FrameId | undefined
  /** The data as JSON text. */
  readonly json: string
}

export interface ErrorFrame {
  readonly type: 'error'
  readonly id?: FrameId | undefined
  readonly code: ErrorCode
  readonly message: string
  readonly details?: unknown
}

export interface UnsubscribedFrame {
  readonly type: 'unsubscribed'
  readonly channel: string
  readonly code: ErrorCode
  readonly message: string
}

export interface PresenceFrame {
  readonly type: 'presence'
  readonly channel: string
  readonly event: 'join' | 'leave'
  /** The client as JSON text: `{"session","user","info"}`. */
  readonly client: string
  /** How many are present now. */
  readonly count?: number | undefined
}

export interface EventFrame {
  readonly type: 'event'
  readonly event: string
  readonly args: Args
  /** Only where an `ack` is wanted. */
  readonly id?: FrameId | undefined
}

/** What a channel does not have any more: these messages, or the one of a key, or all that it had. */
export interface ForgottenFrame {
  readonly type: 'forgotten'
  readonly channel: string
  readonly ids?: readonly string[]
  /** Of a conflated channel. */
  readonly key?: string | number
}

export interface ReconnectFrame {
  readonly type: 'reconnect'
  readonly afterMs: number
  readonly reason: string
}

export interface PongFrame {
  readonly type: 'pong'
  readonly id?: FrameId | undefined
}
