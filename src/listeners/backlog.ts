/** Bytes that wait for one client: references to buffers that many clients share, never copies. */
export class Backlog {
  #buffers: Uint8Array[] = []
  /** What was taken stays in the array until half of it is gone: taking is cheap however long it is. */
  #taken = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#taken === this.#buffers.length
  }

  append(buffer: Uint8Array): void {
    this.#buffers.push(buffer)
    this.#bytes += buffer.length
  }

  take(): Uint8Array | undefined {
    const buffer = this.#buffers[this.#taken]
    if (buffer === undefined) return undefined
    this.#bytes -= buffer.length
    this.#taken++
    if (this.#taken * 2 >= this.#buffers.length) {
      this.#buffers = this.#buffers.slice(this.#taken)
      this.#taken = 0
    }
    return buffer
  }
}
