import type { HttpResponse } from 'uWebSockets.js'
import type { Backlog } from './backlog.ts'

/** uWS's cork buffer takes 16 KiB; what goes over it leaves in a system call for each part of each chunk. */
const CORK_BYTES = 12 * 1024

/** Writes for all streams of a listener, with one closure where a fan-out would make one for each of them. */
export class UwsWriter {
  #res: HttpResponse | null = null
  #head: (() => void) | null = null
  #bytes: Uint8Array | undefined
  #filler: Uint8Array | undefined
  #taken = true
  readonly #work = (): void => {
    const res = this.#res!
    this.#head?.()
    if (this.#bytes !== undefined) this.#taken = res.write(this.#bytes)
    if (this.#filler !== undefined) this.#taken = res.write(this.#filler) && this.#taken
  }

  /** False where uWS had to keep something. */
  write(
    res: HttpResponse,
    head: (() => void) | null,
    bytes: Uint8Array | undefined,
    filler: Uint8Array | undefined,
  ): boolean {
    this.#res = res
    this.#head = head
    this.#bytes = bytes
    this.#filler = filler
    this.#taken = true
    res.cork(this.#work)
    this.#res = null
    this.#head = null
    this.#bytes = undefined
    return this.#taken
  }

  /**
   * Makes uWS give away what it holds. With a handler for `onWritable` it does nothing by itself; a cork, even an
   * empty one, makes it.
   * @returns whether it has, as well as it can be known: without a filler there is nothing that would tell
   */
  push(res: HttpResponse, filler: Uint8Array | undefined): boolean {
    return this.write(res, null, undefined, filler)
  }

  /**
   * Gives uWS what waits, until there is no more or it does not take it.
   * @returns how much it may hold then
   */
  drain(res: HttpResponse, backlog: Backlog, filler: Uint8Array | undefined): number {
    let beforeBytes = 0
    for (;;) {
      const { bytes, taken } = this.#batch(res, backlog, filler)
      // That the batch before was not taken is told only now.
      if (!taken) return beforeBytes + bytes
      if (backlog.isEmpty) return 0
      beforeBytes = bytes
    }
  }

  #batch(
    res: HttpResponse,
    backlog: Backlog,
    filler: Uint8Array | undefined,
  ): { bytes: number; taken: boolean } {
    const batch = { bytes: 0, taken: true }
    res.cork(() => {
      while (batch.taken && batch.bytes < CORK_BYTES && !backlog.isEmpty) {
        const buffer = backlog.take()!
        batch.bytes += buffer.length
        batch.taken = res.write(buffer)
      }
      if (batch.taken && filler !== undefined) batch.taken = res.write(filler)
    })
    return batch
  }
}
