import { makeEntry } from './entry.ts'
import type { Draft, Entry, Forgotten } from './journal.ts'
import { decodeNotice, readLines } from './pg-notice.ts'
import { Recent } from './pg-recent.ts'
import { decodeTombstone, isVoid } from './pg-void.ts'
import type { Anchor, Row } from './pg-store.ts'
import type { Window } from './window.ts'

export interface TailDependencies {
  readonly window: Window
  onEntry(entry: Entry): void
  onForget(forgotten: Forgotten): void
  /** An entry with a mark was forgotten before this node saw it. */
  onVoid(mark: string): void
  /** Positions are missing, or were announced without their data: they must be read from the table. */
  onGap(): void
  /** What was announced contradicts what this node has at that position. */
  onDoubt(position: number): void
  /** Another node says that positions start anew. */
  onEpoch(epoch: string): void
}

/** How much may wait while the table is read; what comes beyond is read from there too. */
const MAX_HELD_BYTES = 4 * 1024 * 1024

/**
 * Puts what comes into the one order: from NOTIFYs, from this node's own appends, from the table. What stands right
 * behind the head is delivered at once; anything else holds all up until the table has been read. The head moves by
 * what is there, never by what a payload claims.
 */
export class Tail {
  readonly #deps: TailDependencies
  readonly #window: Window
  readonly #recent = new Recent()
  #epoch = ''
  #tag: string | null = null
  #open = false
  /** NOTIFYs that came while the table is read; null while they are delivered at once. */
  #held: string[] | null = []
  #heldBytes = 0
  #overflowed = false
  /** Payloads that contradicted, or were none. */
  contradictions = 0
  /**
   * Whether what a NOTIFY says is believed. Where NOTIFYs are to carry positions only, anybody's is no more than a hint
   * that there is something to read.
   */
  withData = true
  /** Payloads that could not be delivered as they were. */
  jumps = 0

  constructor(deps: TailDependencies) {
    this.#deps = deps
    this.#window = deps.window
  }

  /** The newest place that was delivered. */
  get anchor(): Anchor {
    return { position: this.#window.head, tag: this.#tag }
  }

  get epoch(): string {
    return this.#epoch
  }

  /** Positions that are called into question must not be taken for granted before `reset` or `release`. */
  get open(): boolean {
    return this.#open
  }

  /** Whether NOTIFYs wait for the table to be read. */
  get holding(): boolean {
    return this.#held !== null
  }

  /** The tag of what was delivered at this position, as long as it is remembered. */
  tagAt(position: number): string | undefined {
    return this.#recent.find(position)
  }

  /** Nothing is delivered any more, from whatever side, until `reset` or `release`. */
  close(): void {
    this.#open = false
    this.hold()
  }

  /** NOTIFYs wait from now on. */
  hold(): void {
    this.#held ??= []
  }

  /** What waits is given up: the connection that brought it is gone, and the table will be read. */
  forget(): void {
    this.hold()
    this.#held = []
    this.#heldBytes = 0
    this.#overflowed = false
  }

  /** Begins an epoch: `entries` is all that there is between `base` and `top`, the newest place that was read. */
  reset(epoch: string, base: number, head: Anchor, entries: readonly Entry[], top: number): void {
    this.#epoch = epoch
    this.#window.reset(base)
    for (const entry of entries) this.#window.push(entry)
    // What was forgotten is no entry, and nothing is missing there.
    if (top > this.#window.head) this.#window.pass(top)
    if (head.position > this.#window.head) this.#window.reset(head.position)
    this.#tag = head.tag
    this.#recent.reset(head.position, head.tag)
    this.#open = true
  }

  /** Goes on after `close`: all was well. `gone`: of the entry at the head, nothing is left to compare. */
  reopen(gone: boolean): void {
    if (gone) this.#tag = null
    this.#open = true
  }

  /** Takes a row from the table; false for one that came otherwise meanwhile. */
  read(row: Row): boolean {
    const position = Number(row.position)
    if (!this.#open || position <= this.#window.head) return false
    if (isVoid(row)) {
      this.#pass(position, row)
      return true
    }
    this.#deliver(
      makeEntry(
        this.#epoch,
        position,
        row.channel,
        Number(row.time),
        row.data,
        row.exclude ?? undefined,
        row.mark ?? undefined,
      ),
      row.tag,
    )
    return true
  }

  /** The table was read to its end: what waited follows. False when more must be read. */
  release(): boolean {
    const held = this.#held ?? []
    this.#held = null
    this.#heldBytes = 0
    if (this.#overflowed) {
      this.#overflowed = false
      this.#held = []
      return false
    }
    for (let index = 0; index < held.length; index++) {
      if (this.#held !== null) {
        // One of them could not be delivered: the later ones wait again.
        for (const payload of held.slice(index)) this.#hold(payload)
        return false
      }
      this.#take(held[index]!)
    }
    return this.#held === null
  }

  /** A NOTIFY: whatever role of the database said it. */
  notify(payload: string): void {
    if (payload.startsWith('epoch ')) this.#deps.onEpoch(payload.slice(6))
    else if (this.#held === null) this.#take(payload)
    else this.#hold(payload)
  }

  /** This node's own drafts have their places. Delivers them where they stand right behind the head. */
  placed(first: number, time: number, tag: string, drafts: readonly Draft[]): void {
    if (!this.#open) return
    const head = this.#window.head
    if (first <= head) {
      const known = this.#recent.find(first)
      if (known !== undefined && known !== tag) this.#doubt(first)
      return
    }
    if (first !== head + 1) return // what is between has been announced, and so are these
    for (const [index, { channel, json, exclude, mark }] of drafts.entries()) {
      this.#deliver(makeEntry(this.#epoch, first + index, channel, time, json, exclude, mark), tag)
    }
  }

  #take(payload: string): void {
    const notice = decodeNotice(payload)
    if (notice === null) {
      this.contradictions++
      return
    }
    const { first, count, tag } = notice
    const head = this.#window.head
    if (first <= head) {
      const known = this.#recent.find(first)
      if (known !== undefined && known !== tag) return this.#doubt(first)
      if (first + count - 1 <= head) return
    }
    if (first > head + 1 || notice.lines === -1 || !this.withData) return this.#gap()
    const entries = readLines(payload, notice, this.#epoch)
    if (entries === null) {
      this.contradictions++
      return this.#gap()
    }
    for (const entry of entries) if (entry.position > head) this.#deliver(entry, tag)
  }

  #deliver(entry: Entry, tag: string): void {
    this.#window.push(entry)
    this.#recent.note(entry.position, tag)
    this.#tag = tag
    this.#deps.onEntry(entry)
  }

  #pass(position: number, { tag, data, mark }: Row): void {
    this.#window.pass(position)
    this.#recent.note(position, tag)
    this.#tag = tag
    const forgotten = decodeTombstone(data)
    if (forgotten !== null) {
      this.#window.forget(forgotten)
      this.#deps.onForget(forgotten)
    }
    if (mark !== null) this.#deps.onVoid(mark)
  }

  #hold(payload: string): void {
    if (this.#overflowed) return
    this.#heldBytes += payload.length
    if (this.#heldBytes > MAX_HELD_BYTES) {
      this.#overflowed = true
      this.#held = []
      this.#heldBytes = 0
    } else {
      this.#held!.push(payload)
    }
  }

  #gap(): void {
    this.jumps++
    this.hold()
    this.#deps.onGap()
  }

  #doubt(position: number): void {
    this.contradictions++
    this.hold()
    this.#deps.onDoubt(position)
  }
}
