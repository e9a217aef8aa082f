/** How long an entry's mark and its notification may miss each other, in milliseconds. */
const MISS_MS = 5_000
const MAX = 100_000

/**
 * Marks of which one half was seen: the entry and not the notification (it came by a faster way), or the notification
 * as settled here and not yet its entry. The other half is expected soon; after that it is another one of that name.
 */
export class Settled {
  /** More than 0: so many entries are to come. Less: so many notifications. */
  readonly #marks = new Map<string, { balance: number; at: number }>()

  get size(): number {
    return this.#marks.size
  }

  /** An entry came, and no notification of it is known. */
  early(mark: string): void {
    this.#add(mark, -1)
  }

  /** A notification is settled, and its entry did not come by yet. */
  late(mark: string): void {
    this.#add(mark, 1)
  }

  /** Whether the entry of this notification came before it. */
  takeEarly(mark: string): boolean {
    return this.#take(mark, -1)
  }

  /** Whether the notification of this entry was settled before it. */
  takeLate(mark: string): boolean {
    return this.#take(mark, 1)
  }

  age(): void {
    const before = performance.now() - MISS_MS
    for (const [mark, { at }] of this.#marks) {
      if (at > before) return
      this.#marks.delete(mark)
    }
  }

  #take(mark: string, sign: 1 | -1): boolean {
    const known = this.#marks.get(mark)
    if (known === undefined || Math.sign(known.balance) !== sign || this.#isOver(known)) return false
    known.balance -= sign
    if (known.balance === 0) this.#marks.delete(mark)
    return true
  }

  #add(mark: string, one: 1 | -1): void {
    const known = this.#marks.get(mark)
    const balance = known === undefined || this.#isOver(known) ? one : known.balance + one
    this.#marks.delete(mark) // the newest stand at the end
    if (balance !== 0) this.#marks.set(mark, { balance, at: performance.now() })
    if (this.#marks.size <= MAX) return
    const [oldest] = this.#marks.keys()
    if (oldest !== undefined) this.#marks.delete(oldest)
  }

  #isOver({ at }: { at: number }): boolean {
    return performance.now() - at > MISS_MS
  }
}
