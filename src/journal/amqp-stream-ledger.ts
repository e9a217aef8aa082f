import { isClientError } from '../protocol/codes.ts'
import { isRecord, parseJson } from '../protocol/json.ts'
import type { ClientError } from '../protocol/codes.ts'
import { decodeStreamMessage, MAX_ENTRIES } from './amqp-stream-message.ts'
import type { StreamEntry, StreamMessage } from './amqp-stream-message.ts'
import { Dedupe } from './dedupe.ts'
import { makeEntry } from './entry.ts'
import { LeaseLost } from './journal.ts'
import type { Draft, Entry, Forgotten, Placed } from './journal.ts'
import { Window } from './window.ts'
import type { WindowOptions } from './window.ts'

/** What is told of the messages, while it is the ledger that clients see. */
export interface LedgerHandlers {
  onEntry(entry: Entry): void
  /** `count`: how many of them were in the window. */
  onForget?(forgotten: Forgotten, count: number): void
  onEpoch(): void
}

/** What became of a message: of each of its entries in turn, or null: it is void, and none of them counts. */
export interface Verdict {
  readonly message: StreamMessage
  readonly placed: readonly Place[] | null
}

/** Where an entry went, or why it went nowhere. */
export type Place = Placed | ClientError | LeaseLost

/** Keys that are remembered. The same on every node, or they would not drop the same entries. */
const MAX_KEYS = 100_000

/** Processes whose sessions are remembered. */
const MAX_PRODUCERS = 10_000

/** What may come late, of a channel that its producer has given up, comes within this time. */
const LATE_MS = 60_000

/**
 * What a node makes of the stream: a function of its messages alone, with no clock and no chance in it, so that all
 * nodes number the same entries alike and drop the same ones.
 *
 * A position is `offset * 1024 + n`, n counting the message's entries from 1. Of each producer the messages of its
 * newest session count, in an unbroken sequence: whatever the broker or the network does twice, late or out of order
 * is void on every node. A key's second entry is dropped, and with it the group it stands in where its data differs; so
 * is what was appended under a lease that another node has taken over and used.
 */
export class Ledger {
  readonly window: Window
  readonly #sessions = new Map<string, { session: number; seq: number }>()
  readonly #dedupe: Dedupe<number>
  /** The newest lease under which something was appended, and until when it shuts out older ones. */
  #lease = { token: 0, until: 0 }
  #now = 0
  #keyMs = 0
  #epoch = ''
  #proposal: string | null = null
  #first = -1
  #offset = -1
  #content: Buffer = Buffer.alloc(0)
  /** Who began in the middle knows neither keys nor sessions of before: until this time it keeps nothing. */
  #warmUntil: number | null = null

  constructor(options: WindowOptions) {
    this.window = new Window(options)
    this.#dedupe = new Dedupe({
      windowMs: () => this.#keyMs,
      maxKeys: () => MAX_KEYS,
      now: () => this.#now,
    })
  }

  /** Empty until a message has said it. */
  get epoch(): string {
    return this.#epoch
  }

  /** The first proposal of those who found no epoch. */
  get proposal(): string | null {
    return this.#proposal
  }

  /** The first offset that was read; -1: none. */
  get first(): number {
    return this.#first
  }

  /** The last message that was read, by which the stream is known again. */
  get last(): { readonly offset: number; readonly content: Buffer } {
    return { offset: this.#offset, content: this.#content }
  }

  /** Nothing is kept yet. */
  get warming(): boolean {
    return this.#warmUntil !== null
  }

  /** Takes the next message. Null: it is none of ours. */
  take(offset: number, content: Buffer, handlers: LedgerHandlers | null): Verdict | null {
    const message = decodeStreamMessage(content)
    const begins = this.#first < 0
    this.#offset = offset
    this.#content = content
    if (begins) {
      this.#first = offset
      this.window.reset(offset * MAX_ENTRIES)
    }
    if (message === null) return null
    if (begins && offset > 0) this.#warmUntil = message.time + message.keyMs + LATE_MS
    if (!this.#counts(message)) return { message, placed: null }
    this.#now = message.time
    this.#keyMs = message.keyMs
    this.#learn(message, offset, handlers)
    if (this.#warmUntil !== null && message.time >= this.#warmUntil) this.settle()
    return { message, placed: this.#place(message, offset * MAX_ENTRIES, handlers) }
  }

  /** All was read that was there: what comes from now on is kept in any case. */
  settle(): void {
    this.#warmUntil = null
  }

  /**
   * Where the draft's key went already, as far as was read.
   * @throws {ClientError} `conflict`
   */
  find(draft: Draft, now: number): Placed | null {
    if (draft.key === undefined) return null
    this.#now = now
    const known = this.#dedupe.find(draft.key, draft.channel, draft.json)
    return known === undefined ? null : { position: known.id, duplicate: true }
  }

  #counts({ producer, session, seq }: StreamMessage): boolean {
    const known = this.#sessions.get(producer)
    if (known === undefined) {
      this.#sessions.set(producer, { session, seq })
      for (const oldest of this.#sessions.keys()) {
        if (this.#sessions.size <= MAX_PRODUCERS) break
        this.#sessions.delete(oldest)
      }
      return true
    }
    if (session === known.session ? seq !== known.seq + 1 : session < known.session || seq !== 0) return false
    known.session = session
    known.seq = seq
    return true
  }

  #learn({ epoch, proposal }: StreamMessage, offset: number, handlers: LedgerHandlers | null): void {
    if (epoch === null) {
      this.#proposal ??= proposal
    } else if (this.#epoch === '') {
      this.#epoch = epoch
    } else if (generationOf(epoch) > generationOf(this.#epoch)) {
      this.#epoch = epoch
      this.window.reset(offset * MAX_ENTRIES)
      handlers?.onEpoch()
    }
  }

  #place({ entries, time }: StreamMessage, base: number, handlers: LedgerHandlers | null): readonly Place[] {
    const placed: Place[] = []
    let position = base
    for (let start = 0, end; start < entries.length; start = end) {
      end = start + 1
      while (entries[end]?.joined) end++
      const group = entries.slice(start, end)
      const refusal = group.map((entry) => this.#known(entry)).find((known) => known instanceof Error)
      for (const entry of group) {
        const known = refusal ?? this.#known(entry)
        if (known === null) this.#keep(entry, ++position, time, handlers)
        placed.push(known ?? { position, duplicate: false })
      }
    }
    if (this.#warmUntil !== null) this.window.reset(position)
    return placed
  }

  #known({ key, channel, json, lease }: StreamEntry): Place | null {
    // Who had the lease before may not know yet that it is over. Not for ever: a database may be restored.
    if (lease !== undefined && lease < this.#lease.token && this.#now < this.#lease.until)
      return new LeaseLost()
    if (key === undefined) return null
    try {
      const known = this.#dedupe.find(key, channel, json)
      return known === undefined ? null : { position: known.id, duplicate: true }
    } catch (error) {
      if (isClientError(error)) return error
      throw error
    }
  }

  #keep(entry: StreamEntry, position: number, time: number, handlers: LedgerHandlers | null): void {
    const { channel, json, exclude, key, mark, lease } = entry
    if (key !== undefined) this.#dedupe.remember(key, channel, json, position)
    if (lease !== undefined) this.#lease = { token: lease, until: time + LATE_MS }
    if (entry.tombstone === true) return this.#forget(entry, position, handlers)
    if (this.#warmUntil !== null) return
    const kept = makeEntry(this.#epoch, position, channel, time, json, exclude, mark)
    this.window.push(kept)
    handlers?.onEntry(kept)
  }

  #forget({ channel, json }: StreamEntry, position: number, handlers: LedgerHandlers | null): void {
    this.window.pass(position)
    const positions = positionsOf(json, this.#epoch)
    if (positions === undefined) return
    const forgotten = { channel, positions, upTo: position - 1, more: false }
    const count = this.window.forget(forgotten)
    handlers?.onForget?.(forgotten, count)
  }
}

/** What a tombstone is about; null: all of its channel, undefined: nothing of this epoch. */
function positionsOf(json: string, epoch: string): readonly number[] | null | undefined {
  const said = parseJson(json)?.value
  if (said === null) return null
  if (!isRecord(said) || said['epoch'] !== epoch || !Array.isArray(said['positions'])) return undefined
  return said['positions'].filter((one): one is number => Number.isSafeInteger(one))
}

/** An epoch's text begins with its number among those of one stream: a later one counts, whoever minted it. */
export function mintEpoch(former: string | null, random: string): string {
  return `${former === null ? 1 : generationOf(former) + 1}x${random}`
}

function generationOf(epoch: string): number {
  return Number.parseInt(epoch, 10) || 0
}
