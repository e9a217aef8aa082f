/** A queue whose items may leave from anywhere: who takes the first one passes over those that are gone. */
export class Fifo<T extends { readonly gone: boolean }> {
  #items: T[] = []
  /** Index of the first: an array's `shift` would move all behind it. */
  #next = 0

  push(item: T): void {
    this.#items.push(item)
  }

  /** The oldest that is there. */
  first(): T | undefined {
    for (; this.#next < this.#items.length; this.#next++) {
      const item = this.#items[this.#next]!
      if (item.gone) continue
      if (this.#next > 64 && this.#next * 2 > this.#items.length) this.#trim()
      return item
    }
    this.#trim()
    return undefined
  }

  /** Takes it out, though it may not be gone. */
  leave(item: T): void {
    const index = this.#items.indexOf(item, this.#next)
    if (index === this.#next) this.#next++
    else if (index > this.#next) this.#items.splice(index, 1)
  }

  *[Symbol.iterator](): Generator<T> {
    this.first()
    for (let i = this.#next; i < this.#items.length; i++) if (!this.#items[i]!.gone) yield this.#items[i]!
  }

  #trim(): void {
    this.#items = this.#items.slice(this.#next)
    this.#next = 0
  }
}
