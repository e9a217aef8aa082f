import type { MaybePromise } from '../sources/source.ts'

/** A publication that has its place in the journal. */
export interface Entry {
  /** Strictly increasing in the journal's order, from 1; some may be missing. */
  readonly position: number
  readonly channel: string
  /** Milliseconds since 1970. */
  readonly time: number
  /** The message object of PROTOCOL.md as JSON text: `{"channel":…,"id":…,"data":…,"time":…}`. */
  readonly message: string
  /** A session that is not to get it. */
  readonly exclude?: string
  /** The mark of the bare notification that it came from; see `Draft.mark`. */
  readonly mark?: string
}

/** What is to be appended. `json` is the data's JSON text, on one line, without a line break in it. */
export interface Draft {
  readonly channel: string
  readonly json: string
  /** A session that is not to get it. */
  readonly exclude?: string
  /**
   * An idempotency key, scoped to its publisher: the second draft with the key on the same channel, within the
   * journal's `idempotencyMs`, is answered with the place of the first, whatever node took that. The same key with
   * other data is a `conflict`.
   */
  readonly key?: string
  /** Names a bare notification that every node heard: nodes that did not journal it learn from it that it was. */
  readonly mark?: string
  /**
   * The lease under which it is appended (see database/leadership.ts): refused with `LeaseLost` when another node
   * has it by now.
   */
  readonly lease?: number
  /**
   * What an unreachable journal means to the publisher. `wait`: it waits in its place, for as long as it takes (a
   * queue's message, which can't be answered otherwise). Default: `unavailable` after the journal's `patienceMs`.
   */
  readonly patience?: 'wait'
}

/** Where a draft went. */
export interface Placed {
  readonly position: number
  /** Its key was known: `position` is that of the first, and nothing was appended. */
  readonly duplicate: boolean
}

/** What is to be forgotten: some of a channel's publications, or all that it has at the time of the call. */
export interface Forget {
  readonly channel: string
  /** Those that are of another channel, or nobody's, are passed over. Left out: all of the channel. */
  readonly positions?: readonly number[]
}

/** What is forgotten, as every node learns it, in its place in the journal's order. */
export interface Forgotten {
  readonly channel: string
  /** Null: all of the channel's at or below `upTo`. */
  readonly positions: readonly number[] | null
  readonly upTo: number
  /** It is forgotten in several parts, and this is not the last one. */
  readonly more: boolean
}

/** What came of it. */
export interface ForgetOutcome {
  /** How many publications: of a journal that keeps them in memory alone, of those that this node had. */
  readonly count: number
  /** A node that has handed on all up to here has forgotten them too. */
  readonly position: number
}

/** The lease under which a draft was to be appended belongs to another node. */
export class LeaseLost extends Error {
  constructor() {
    super('the lease belongs to another node')
    this.name = 'LeaseLost'
  }
}

/** How much of a subsystem's publications is kept, at the most. */
export interface Retention {
  readonly count: number
  readonly maxAgeMs: number
}

/** A part of some channels' past, oldest first, merged into one order. */
export interface Page {
  readonly entries: readonly Entry[]
  /**
   * The asked channels of which something after the asked position may be gone; none of their entries are
   * in here. For every other one `entries` is a proof: it had exactly these up to `upTo`, and no others.
   */
  readonly lost: readonly string[]
  /** A limit cut it: ask again from `upTo`. Of a `last`, its older part is missing: see `starts`. */
  readonly more: boolean
  /** The position up to which this page is complete. */
  readonly upTo: number
  /** Of a `last` that was cut: for each channel that has some, the position before the oldest that was asked for. */
  readonly starts?: ReadonlyMap<string, number>
}

/** What is left of some channels' past, for who wants it although it may be no proof; `lost` is empty. */
export interface Remains extends Page {
  /** For each channel the position at or below which something may be gone; 0 where nothing is. */
  readonly gone: ReadonlyMap<string, number>
}

/**
 * The totally ordered log of publications. Delivery semantics: `onEntry` sees every entry of every node in
 * the order of positions, each once. A subscriber that reads pages until `upTo` equals `head`, and joins
 * the live stream in that same turn of the event loop, misses nothing and sees nothing twice.
 */
export interface Journal {
  readonly kind: 'memory' | 'postgres' | 'rabbitmq'
  /**
   * Changes when positions start anew; a cursor is `<epoch>-<position>`. Empty until the journal was reached for the
   * first time: nothing can be subscribed, read or proved before.
   */
  readonly epoch: string
  /** The position up to which this node has handed everything to `onEntry`. */
  readonly head: number
  /** Whether appends can be served now; `/readyz` shows it. What the window holds can be read all the same. */
  readonly ready: boolean
  /** Why it is not ready; null while it is. */
  readonly reason: string | null
  /** Memory of the window, estimated. */
  readonly bytes: number
  /** What it has done, for the metrics. */
  readonly counts?: Readonly<Record<string, number>>
  /**
   * Resolves after the first attempt to reach it, whatever came of it; it goes on trying for ever.
   * @throws {LivemessageError} DATABASE_NOT_INSTALLED, DATABASE_INCOMPATIBLE: waiting would not help
   */
  start(handlers: JournalHandlers): MaybePromise<void>
  /**
   * Resolves when the entry is durable as promised by this kind. Drafts of this node get their places in the order
   * of the calls. The entry comes by `onEntry` too, before or after.
   * @throws {ClientError} `conflict`, `unavailable`; `timeout` where it is not known whether it was appended, and it is
   *   not tried again; `invalid_input` for data that the store can't hold, `too_large` for more than it takes together
   * @throws {LeaseLost}
   */
  append(draft: Draft): MaybePromise<Placed>
  /** Appends all or none, at adjacent places. */
  appendAll(drafts: readonly Draft[]): MaybePromise<readonly Placed[]>
  /**
   * What came on these channels after `position` (exclusive), at most `limit` entries. At once where the window
   * reaches so far back. A position above `head` may come from a node that is ahead: it is waited for.
   * @throws {ClientError} `unavailable` where the store must be asked and can't be
   */
  since(channels: readonly string[], position: number, limit: number): MaybePromise<Page>
  /**
   * What is still kept of each channel after its own position, as `since` gives it: what is gone is passed over, and
   * `gone` tells how far that reaches.
   * @throws {ClientError} `unavailable` as `since`
   */
  left(after: ReadonlyMap<string, number>, limit: number): MaybePromise<Remains>
  /**
   * The newest `count` entries of each channel, merged. `lost` is empty: nobody asked for all. Where they are more bytes
   * than one answer takes, it has the newest of them, and `more`.
   */
  last(channels: readonly string[], count: number): MaybePromise<Page>
  /**
   * Resolves when everything that was in the journal at the time of the call has been handed to `onEntry`.
   * @throws when it stops before
   */
  caughtUp(): MaybePromise<void>
  /**
   * Makes publications void: resolves when that is durable, and this node has forgotten them; the others do when they
   * hand on `position`. From then on no read gives them, on any node, whatever is restarted; what was read before may
   * still be on its way. Void is not gone: a cursor before them is as good a proof as it was. Where there is nothing
   * to forget, nothing happens.
   * @throws {ClientError} `unavailable`, `timeout`: it may be done, in part or all; to be asked again. `conflict`:
   *   positions have started anew meanwhile
   */
  forget(what: Forget): MaybePromise<ForgetOutcome>
  /** The retention of each journaled subsystem; it may change while it runs. */
  retain(retention: ReadonlyMap<string, Retention>): void
  /** Idempotent. */
  stop(): MaybePromise<void>
}

export interface JournalHandlers {
  onEntry(entry: Entry): void
  /** Publications were forgotten: comes in the order of the entries. */
  onForget?(forgotten: Forgotten): void
  /** An entry with a mark was forgotten before this node saw it. */
  onVoid?(mark: string): void
  /** Positions start anew: what was delivered before may be gone, and old cursors prove nothing. */
  onEpoch(): void
  /** `ready` has changed. */
  onReady(): void
}
