import { setTimeout as passed } from 'node:timers/promises'
import type {
  Draft,
  Forget,
  ForgetOutcome,
  Journal,
  JournalHandlers,
  Page,
  Placed,
  Remains,
  Retention,
} from '../../src/journal/journal.ts'
import { MemoryJournal } from '../../src/journal/memory.ts'
import { ClientError } from '../../src/protocol/codes.ts'

export interface RemoteJournalOptions {
  /** What is at most so far behind the head is answered at once; the rest is asked for, as from a database. @default all */
  readonly reach?: number
  /** How long such an answer takes. */
  readonly delayMs?: number
}

/**
 * A memory journal of which the older part is far away: its answers come later, and end at the head of when they were
 * asked for. It can be held up, fail, and start anew.
 */
export class RemoteJournal implements Journal {
  readonly kind = 'postgres'
  reach: number
  delayMs: number
  /** Answers are not given before this resolves. */
  gate: Promise<void> = Promise.resolve()
  failing = false
  /** Pages that had to be asked for. */
  asked = 0
  /** Whether the journal has been reached. */
  reached = true
  #inner = new MemoryJournal({ windowBytes: 512 * 1024 * 1024 })
  #handlers: JournalHandlers | null = null
  #retention: ReadonlyMap<string, Retention> = new Map()

  constructor({ reach = -1, delayMs = 0 }: RemoteJournalOptions = {}) {
    this.reach = reach
    this.delayMs = delayMs
  }

  get epoch(): string {
    return this.reached ? this.#inner.epoch : ''
  }

  get head(): number {
    return this.#inner.head
  }

  get ready(): boolean {
    return this.#inner.ready
  }

  get reason(): string | null {
    return this.#inner.reason
  }

  get bytes(): number {
    return this.#inner.bytes
  }

  start(handlers: JournalHandlers): void {
    this.#handlers = handlers
    this.#inner.start(handlers)
  }

  append(draft: Draft): Placed {
    return this.#inner.append(draft)
  }

  appendAll(drafts: readonly Draft[]): readonly Placed[] {
    return this.#inner.appendAll(drafts)
  }

  forget(what: Forget): ForgetOutcome {
    return this.#inner.forget(what)
  }

  since(channels: readonly string[], position: number, limit: number): Promise<Page> | Page {
    const page = this.#inner.since(channels, position, limit)
    return this.head - position <= this.reach ? page : this.#later(page)
  }

  left(after: ReadonlyMap<string, number>, limit: number): Promise<Remains> | Remains {
    const page = this.#inner.left(after, limit)
    return this.head - Math.min(...after.values()) <= this.reach ? page : this.#later(page)
  }

  last(channels: readonly string[], count: number): Promise<Page> | Page {
    const page = this.#inner.last(channels, count)
    return this.reach > 0 ? page : this.#later(page)
  }

  caughtUp(): void {
    this.#inner.caughtUp()
  }

  retain(retention: ReadonlyMap<string, Retention>): void {
    this.#retention = retention
    this.#inner.retain(retention)
  }

  stop(): void {
    this.#inner.stop()
  }

  /** Positions start anew; nothing of before is left. */
  startAnew(): void {
    this.#inner.stop()
    this.#inner = new MemoryJournal({ windowBytes: 512 * 1024 * 1024 })
    this.#inner.retain(this.#retention)
    this.#inner.start(this.#handlers!)
    this.#handlers!.onEpoch()
  }

  async #later<Kind extends Page>(page: Kind): Promise<Kind> {
    this.asked++
    if (this.delayMs > 0) await passed(this.delayMs)
    await this.gate
    if (this.failing) throw new ClientError('unavailable', 'the journal can not be read at the moment')
    return page
  }
}
