import { randomBytes } from 'node:crypto'
import { Dedupe } from './dedupe.ts'
import { makeEntry } from './entry.ts'
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
} from './journal.ts'
import { Window } from './window.ts'

export interface MemoryJournalOptions {
  /** Memory of all entries together. */
  readonly windowBytes: number
  /** How long an idempotency key is remembered. @default 300_000 */
  readonly idempotencyMs?: () => number
  /** How many keys are; the oldest go first. @default 100_000 */
  readonly idempotencyKeys?: () => number
  /** How often entries past their age are dropped. @default 10_000 */
  readonly sweepMs?: number
  /** @default Date.now */
  readonly now?: () => number
}

/** A journal in this process: one node, a new epoch at each start, history as far as `windowBytes` reaches. */
export class MemoryJournal implements Journal {
  readonly kind = 'memory'
  readonly epoch = randomBytes(6).toString('hex')
  readonly #now: () => number
  readonly #window: Window
  readonly #dedupe: Dedupe<number>
  #handlers: JournalHandlers | null = null

  constructor(options: MemoryJournalOptions) {
    this.#now = options.now ?? Date.now
    this.#window = new Window(options)
    this.#dedupe = new Dedupe({
      windowMs: options.idempotencyMs ?? (() => 300_000),
      maxKeys: options.idempotencyKeys ?? (() => 100_000),
      now: this.#now,
    })
  }

  get head(): number {
    return this.#window.head
  }

  get ready(): boolean {
    return this.#handlers !== null
  }

  get reason(): string | null {
    return this.ready ? null : 'not started'
  }

  get bytes(): number {
    return this.#window.bytes
  }

  start(handlers: JournalHandlers): void {
    this.#handlers = handlers
    this.#window.start()
  }

  append(draft: Draft): Placed {
    return this.#known(draft) ?? this.#append(draft)
  }

  appendAll(drafts: readonly Draft[]): readonly Placed[] {
    // All keys first: a conflict in the last draft must not leave the others behind.
    const known = drafts.map((draft) => this.#known(draft))
    return drafts.map((draft, index) => known[index] ?? this.append(draft))
  }

  since(channels: readonly string[], position: number, limit: number): Page {
    return this.#window.since(channels, position, limit)
  }

  left(after: ReadonlyMap<string, number>, limit: number): Remains {
    return this.#window.left(after, limit)
  }

  last(channels: readonly string[], count: number): Page {
    return { ...this.#window.last(channels, count), lost: [] }
  }

  caughtUp(): void {
    // Who appends has handed it on by then.
  }

  forget({ channel, positions: some }: Forget): ForgetOutcome {
    const positions = some ?? null
    const upTo = this.#window.head
    const count = this.#window.forget({ channel, positions, upTo })
    if (count > 0) this.#handlers?.onForget?.({ channel, positions, upTo, more: false })
    return { count, position: upTo }
  }

  retain(retention: ReadonlyMap<string, Retention>): void {
    this.#window.retain(retention)
  }

  stop(): void {
    this.#window.stop()
    this.#handlers = null
  }

  #known({ key, channel, json }: Draft): Placed | null {
    if (key === undefined) return null
    const known = this.#dedupe.find(key, channel, json)
    return known === undefined ? null : { position: known.id, duplicate: true }
  }

  #append({ channel, json, exclude, mark, key }: Draft): Placed {
    const position = this.#window.head + 1
    const entry = makeEntry(this.epoch, position, channel, this.#now(), json, exclude, mark)
    if (key !== undefined) this.#dedupe.remember(key, channel, json, position)
    this.#window.push(entry)
    this.#handlers?.onEntry(entry)
    return { position, duplicate: false }
  }
}
