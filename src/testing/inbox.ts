/** A frame of the daemon, decoded. */
export type Frame = { readonly type: string } & Readonly<Record<string, unknown>>

/** Which frame is waited for, in words and in fact. */
export interface Wish {
  readonly what: string
  matches(frame: Frame): boolean
}

interface Waiter extends Wish {
  give(frame: Frame): void
  fail(error: Error): void
}

/** What came over one connection and nobody has taken yet, and who waits for more. */
export class Inbox {
  readonly #owner: string
  readonly #unread: Frame[] = []
  readonly #waiting = new Set<Waiter>()
  #end: string | null = null

  /** @param owner the client, as messages name it */
  constructor(owner: string) {
    this.#owner = owner
  }

  add(frame: Frame): void {
    for (const waiter of this.#waiting) {
      if (!waiter.matches(frame)) continue
      this.#waiting.delete(waiter)
      waiter.give(frame)
      return
    }
    this.#unread.push(frame)
  }

  /** The connection has ended: nothing more comes. */
  end(how: string): void {
    this.#end = how
    for (const { what, fail } of this.#waiting) fail(this.#ended(what, how))
    this.#waiting.clear()
  }

  /**
   * The first that matches, of those nobody has taken; the others stay.
   * @throws {Error} when none has come by the deadline, or the connection has ended; it says what came instead
   */
  async take(wish: Wish, deadlineMs: number): Promise<Frame> {
    const index = this.#unread.findIndex((frame) => wish.matches(frame))
    const [found] = index === -1 ? [] : this.#unread.splice(index, 1)
    if (found !== undefined) return found
    if (this.#end !== null) throw this.#ended(wish.what, this.#end)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(waiter)
        reject(new Error(`${this.#owner}: no ${wish.what} within ${deadlineMs} ms; ${this.#instead()}`))
      }, deadlineMs)
      const waiter: Waiter = {
        ...wish,
        give: (frame) => {
          clearTimeout(timer)
          resolve(frame)
        },
        fail: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
      this.#waiting.add(waiter)
    })
  }

  /** All that nobody has taken; they are taken now. */
  takeAll(): Frame[] {
    return this.#unread.splice(0)
  }

  #ended(what: string, how: string): Error {
    return new Error(`${this.#owner}: ${how}, while it waited for: ${what}; ${this.#instead()}`)
  }

  #instead(): string {
    if (this.#unread.length === 0) return 'nothing came that was not taken'
    const shown = this.#unread.slice(-5).map((frame) => JSON.stringify(frame).slice(0, 300))
    const more =
      this.#unread.length > shown.length ? `the last ${shown.length} of ${this.#unread.length}` : ''
    return `what came instead${more === '' ? '' : ` (${more})`}:\n  ${shown.join('\n  ')}`
  }
}
