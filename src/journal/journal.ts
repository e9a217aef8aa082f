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
}

/** What is to be appended. `json` is the data's JSON text, on one line. */
export interface Draft {
  readonly channel: string
  readonly json: string
}

/** How much of a subsystem's publications is kept, at the most. */
export interface Retention {
  readonly count: number
  readonly maxAgeMs: number
}

/**
 * A part of a channel's past, oldest first. `complete` is a proof: between the asked position and `upTo`
 * the channel had exactly these entries and no others. `more` says that the limit cut it: ask again from
 * the last entry's position.
 */
export interface Page {
  readonly entries: readonly Entry[]
  readonly complete: boolean
  readonly more: boolean
  /** Every entry of the channel up to this position is in here or was before the asked position. */
  readonly upTo: number
}

/**
 * The totally ordered log of publications. Delivery semantics: `onEntry` sees every entry of every node in
 * the order of positions, each once, and a subscriber that reads a page and joins the live stream in the
 * turn in which `upTo` equals `head` misses nothing and sees nothing twice.
 */
export interface Journal {
  readonly kind: 'memory' | 'postgres' | 'rabbitmq'
  /** Changes when positions start anew; a cursor is `<epoch>-<position>`. */
  readonly epoch: string
  /** The position up to which this node has handed everything to `onEntry`. */
  readonly head: number
  /** Whether appends and reads can be served now; `/readyz` shows it. */
  readonly ready: boolean
  start(handlers: { onEntry(entry: Entry): void }): MaybePromise<void>
  /** Resolves when the entry is durable as promised by this kind. The entry comes by `onEntry` too. */
  append(draft: Draft): MaybePromise<Entry>
  /** What came on a channel after `position` (exclusive), at most `limit` entries. */
  since(channel: string, position: number, limit: number): MaybePromise<Page>
  /** The newest `count` entries of a channel, oldest first. */
  last(channel: string, count: number): MaybePromise<Page>
  /** Policies may change while it runs. */
  retain(retention: ReadonlyMap<string, Retention>): void
  stop(): MaybePromise<void>
}
