import type { Entry } from './entry.ts'

/** What is told of a change: an entry came, or went. */
export type Change = 'join' | 'leave'

/** Who is on one channel, on all nodes; and who is thought to come back. */
export class Room {
  readonly #sessions = new Map<string, Entry>()
  #by: 'session' | 'user'
  /** By user: how many connections each has. */
  #tabs: Map<string, number> | null = null
  /** Whose last connection has ended a moment ago. */
  #leaving: Map<string, { readonly entry: Entry; readonly timer: NodeJS.Timeout }> | null = null

  constructor(by: 'session' | 'user') {
    this.#by = by
    if (by === 'user') this.#tabs = new Map()
  }

  get by(): 'session' | 'user' {
    return this.#by
  }

  get empty(): boolean {
    return this.#sessions.size === 0 && this.#leaving === null
  }

  /** How many are present: connections or users, those who are thought to come back included. */
  get count(): number {
    return (this.#tabs ?? this.#sessions).size + (this.#leaving?.size ?? 0)
  }

  get(session: string): Entry | undefined {
    return this.#sessions.get(session)
  }

  entries(): IterableIterator<Entry> {
    return this.#sessions.values()
  }

  /** One for each that is counted. */
  *present(): Iterable<Entry> {
    if (this.#tabs === null) yield* this.#sessions.values()
    else {
      const told = new Set<string>()
      for (const entry of this.#sessions.values()) {
        const key = this.#key(entry)
        if (told.has(key)) continue
        told.add(key)
        yield entry
      }
    }
    if (this.#leaving !== null) for (const { entry } of this.#leaving.values()) yield entry
  }

  /** True where somebody came who was not there. */
  add(entry: Entry): boolean {
    this.#sessions.set(entry.session, entry)
    const key = this.#key(entry)
    const left = this.#takeLeaving(key)
    if (this.#tabs === null) return !left
    const tabs = this.#tabs.get(key) ?? 0
    this.#tabs.set(key, tabs + 1)
    return tabs === 0 && !left
  }

  /**
   * True where nobody is left of that connection or user. With `afterMs` it is not known yet: `onLeft` is called
   * later, unless it comes back.
   */
  delete(entry: Entry, afterMs: number, onLeft: () => void): boolean {
    this.#sessions.delete(entry.session)
    const key = this.#key(entry)
    if (this.#tabs !== null) {
      const tabs = this.#tabs.get(key)! - 1
      if (tabs > 0) this.#tabs.set(key, tabs)
      else this.#tabs.delete(key)
      if (tabs > 0) return false
    }
    if (afterMs === 0) return true
    const timer = setTimeout(() => {
      this.#takeLeaving(key)
      onLeft()
    }, afterMs).unref()
    ;(this.#leaving ??= new Map()).set(key, { entry, timer })
    return false
  }

  /** The same connection with other data. True where it counts as somebody else. */
  replace(before: Entry, after: Entry): boolean {
    if (this.#tabs !== null && this.#key(before) === this.#key(after)) {
      this.#sessions.set(after.session, after)
      return false
    }
    return true
  }

  /** Counts anew, as a reload wants it; who is thought to come back is forgotten. */
  recount(by: 'session' | 'user'): void {
    this.forget()
    this.#by = by
    this.#tabs = by === 'user' ? new Map() : null
    if (this.#tabs === null) return
    for (const entry of this.#sessions.values()) {
      const key = this.#key(entry)
      this.#tabs.set(key, (this.#tabs.get(key) ?? 0) + 1)
    }
  }

  /** Nobody is thought to come back. */
  forget(): void {
    if (this.#leaving !== null) for (const { timer } of this.#leaving.values()) clearTimeout(timer)
    this.#leaving = null
  }

  #takeLeaving(key: string): boolean {
    const leaving = this.#leaving?.get(key)
    if (leaving === undefined) return false
    clearTimeout(leaving.timer)
    this.#leaving!.delete(key)
    if (this.#leaving!.size === 0) this.#leaving = null
    return true
  }

  /** No session has a colon in its name. */
  #key({ session, user }: Entry): string {
    return this.#by === 'session' || user === null ? session : `:${user}`
  }
}
