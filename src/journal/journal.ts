import type { MaybePromise } from '../sources/source.ts'

/** A publication that has its place in the journal. */
export interface Entry {
  /** Strictly increasing in commit order; the first is 1. */
  readonly position: number
  readonly channel: string
  /** Milliseconds since 1970. */
  readonly time: number
  /** The message object of PROTOCOL.md as JSON text: `{"channel":…,"id":…,"data":…,"time":…}`. */
  readonly message: string
  /** A session that is not to get it. */
  readonly exclude?: string
}

/** What is to be appended. `json` is the data's JSON text, on one line. */
export interface Draft {
  readonly channel: string
  readonly json: string
  /** A session that is not to get it. */
  readonly exclude?: string
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
  /** The limit cut it: ask again from `upTo`. */
  readonly more: boolean
  /** The position up to which this page is complete. */
  readonly upTo: number
}

/**
 * The totally ordered log of publications. Delivery semantics: `onEntry` sees every entry of every node in
 * the order of positions, each once. A subscriber that reads pages until `upTo` equals `head`, and joins
 * the live stream in that same turn of the event loop, misses nothing and sees nothing twice.
 */
export interface Journal {
  readonly kind: 'memory' | 'postgres' | 'rabbitmq'
  /** Changes when positions start anew; a cursor is `<epoch>-<position>`. */
  readonly epoch: string
  /** The position up to which this node has handed everything to `onEntry`. */
  readonly head: number
  /** Whether appends and reads can be served now; `/readyz` shows it. */
  readonly ready: boolean
  start(handlers: JournalHandlers): MaybePromise<void>
  /** Resolves when the entry is durable as promised by this kind. The entry comes by `onEntry` too. */
  append(draft: Draft): MaybePromise<Entry>
  /** What came on these channels after `position` (exclusive), at most `limit` entries. */
  since(channels: readonly string[], position: number, limit: number): MaybePromise<Page>
  /** The newest `count` entries of each channel, merged. `lost` is empty: nobody asked for all. */
  last(channels: readonly string[], count: number): MaybePromise<Page>
  /** The retention of each journaled subsystem; it may change while it runs. */
  retain(retention: ReadonlyMap<string, Retention>): void
  /** Idempotent. */
  stop(): MaybePromise<void>
}

export interface JournalHandlers {
  onEntry(entry: Entry): void
}
