import type { Duration, Size } from './units.ts'

/** Limits; every one counts what it refuses. */
export interface LimitsInput {
  /**
   * A client's message.
   * @default '64kb'
   */
  frameBytes?: Size
  /**
   * A publication's data, and an HTTP body.
   * @default '64kb'
   */
  publicationBytes?: Size
  /**
   * Subscriptions of one connection.
   * @default 128
   */
  subscriptions?: number
  /**
   * Characters of a channel's name; no more than the default.
   * @default 265
   */
  channelLength?: number
  /**
   * Calls and publications of one connection a second.
   * @default 100
   */
  callsPerSecond?: number
  /**
   * How many of them a quiet connection may save up.
   * @default twice `callsPerSecond`
   */
  callBurst?: number
  /**
   * Calls and publications of all connections of one user on a node together, those by HTTP included.
   * @default no limit
   */
  userCallsPerSecond?: number
  /**
   * How many of them a quiet user may save up.
   * @default twice `userCallsPerSecond`
   */
  userCallBurst?: number
  /**
   * Frames of any kind of one connection a second.
   * @default 1000
   */
  framesPerSecond?: number
  /**
   * Calls of one connection under way at once.
   * @default 64
   */
  pendingCalls?: number
  /**
   * Bytes that may wait for a slow client before it is closed with 4450.
   * @default '1mb'
   */
  bufferBytes?: Size
  /**
   * Connections of this node.
   * @default 100000
   */
  connections?: number
  /**
   * Connections of one address; loopback peers are spared while no `trustedProxies` are named.
   * @default 1000
   */
  connectionsPerAddress?: number
  /**
   * How long a client may take to authenticate.
   * @default '10s'
   */
  authenticationMs?: Duration
  /**
   * An action's deadline where it names none.
   * @default '10s'
   */
  callMs?: Duration
  /**
   * What an action answers, as JSON; more is `too_large`.
   * @default '4mb'
   */
  replyBytes?: Size
  /**
   * How long a module may hold up the event loop, and with it everyone, before it is named in the log and in
   * `livemessages_blocked_seconds_total`.
   * @default '100ms'
   */
  blockMs?: Duration
  /**
   * Messages in the first answer to a recovering subscription.
   * @default 1000
   */
  recoveryMessages?: number
  /**
   * Bytes of it.
   * @default '256kb'
   */
  recoveryBytes?: Size
  /**
   * Memory of the recent publications, all channels together.
   * @default '64mb'
   */
  windowBytes?: Size
  /**
   * How long an idempotency key is remembered.
   * @default '5m'
   */
  idempotencyMs?: Duration
  /**
   * How many are.
   * @default 100000
   */
  idempotencyKeys?: number
  /**
   * How long the body of a request may take, from its first byte to its last.
   * @default '30s'
   */
  bodyMs?: Duration
  /**
   * How long a client of a streamed answer may take nothing while bytes wait for it.
   * @default '10s'
   */
  stallMs?: Duration
  /**
   * How long a publication may wait for a journal that can't be reached, before its publisher is told
   * `unavailable`. A queue's messages wait for as long as it takes.
   * @default '5s'
   */
  publishMs?: Duration
  /**
   * Different values of `conflate` that are kept of one channel; the oldest go first.
   * @default 10000
   */
  conflateKeys?: number
  /**
   * Events of one connection that wait for the client's answer.
   * @default 256
   */
  pendingAcks?: number
  /**
   * How long they wait where nothing is said.
   * @default '10s'
   */
  ackMs?: Duration
  /**
   * How many may be on a channel for them to be told who comes and leaves: every one is told of every other. With more
   * there, ask for `presence`.
   * @default 1000
   */
  presenceEvents?: number
  /**
   * Entries of presence that are kept of one other node.
   * @default 1000000
   */
  presenceEntries?: number
}
