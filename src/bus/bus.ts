import type { MaybePromise } from '../sources/source.ts'

/** A transient publication, encoded. */
export interface Parcel {
  readonly kind: 'publication'
  readonly channel: string
  /** The message object as JSON text. */
  readonly message: string
  /** A session that is not to get it. */
  readonly exclude?: string
}

/** What one node tells the others, or asks them: commands of the server API, presence. `body` is JSON. */
export interface Memo {
  readonly kind: 'memo'
  /** Who is to look at it: `cluster`, … Names of rooms, not of nodes. */
  readonly topic: string
  readonly body: unknown
  /** One node only; all others when left out. */
  readonly to?: string
}

/**
 * Carries between nodes that which is not journaled. Delivery semantics: at most once, in each node's order. A
 * parcel comes to every node: to the sending one within `send`, to the others as soon as the server brings it. A
 * memo comes to the others only.
 */
export interface Bus {
  readonly kind: 'memory' | 'postgres' | 'rabbitmq'
  /** Names this process among the nodes; new at each start. `[a-z0-9]{12}` */
  readonly node: string
  /** The other nodes that were heard of within the last `peerMs`. */
  readonly peers: ReadonlySet<string>
  readonly ready: boolean
  /** Why it is not ready; null while it is. */
  readonly reason: string | null
  readonly counts: Readonly<BusCounts>
  /** Resolves after the first attempt, whatever came of it; it goes on trying for ever. */
  start(handlers: BusHandlers): MaybePromise<void>
  /** Never waits: what finds no room any more is dropped and counted. With no other node nothing leaves the process. */
  send(letter: Parcel | Memo): void
  stop(): MaybePromise<void>
}

/** What this node's bus has done. Letters: parcels and memos. */
export interface BusCounts {
  /** Letters handed to the server. */
  sent: number
  /** Letters of other nodes. */
  received: number
  /** Letters that never left: no room, too large, or too old after an outage. */
  dropped: number
  /** What came and is no letter: anybody may say something on a shared server. */
  malformed: number
  /** Times at which letters of others may have been missed. */
  gaps: number
}

export interface BusHandlers {
  onParcel(parcel: Parcel): void
  onMemo(memo: Memo, from: string): void
  /** A node came (`true`), or has not been heard of for `peerMs`, or said good-bye. */
  onPeer(node: string, here: boolean): void
  /**
   * Letters of other nodes may be missing: after a reconnect, or when there was no room. So many `times` since the last
   * call, which was at least `gapMs` ago: anybody on a shared server may make gaps up.
   */
  onGap(reason: string, times: number): void
}
