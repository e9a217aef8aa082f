/**
 * For cursors that are ahead of this node, because they come from one that has read on: one catch-up for all who wait.
 * What is under way may have begun too early for who asks now: it gets the next one.
 */
export class Ahead {
  readonly #catchUp: () => Promise<void>
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null

  constructor(catchUp: () => Promise<void>) {
    this.#catchUp = catchUp
  }

  /** Resolves when a catch-up that begins from now on has ended; rejects as that does. */
  wait(): Promise<void> {
    if (this.#running === null) return this.#run()
    return (this.#next ??= this.#running.then(
      () => this.#begin(),
      () => this.#begin(),
    ))
  }

  #begin(): Promise<void> {
    this.#next = null
    return this.#run()
  }

  #run(): Promise<void> {
    this.#running = this.#catchUp().finally(() => (this.#running = null))
    return this.#running
  }
}
