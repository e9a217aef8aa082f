import type { HttpResponse } from 'uWebSockets.js'
import { Backlog } from './backlog.ts'
import type { ResponseStream, StreamHandlers } from './listener.ts'
import type { Sweep, Watched } from './sweep.ts'
import type { UwsWriter } from './uws-writer.ts'

export interface UwsStreamOptions {
  readonly res: HttpResponse
  /** Writes the head. */
  readonly head: () => void
  readonly handlers: StreamHandlers
  readonly filler: Uint8Array | undefined
  readonly writer: UwsWriter
  readonly stalls: Sweep
}

/**
 * An answer in chunks. uWS takes whatever it is given, and copies what the client does not take: it is given no more
 * once it says so, and the rest waits here. What it holds itself is known only roughly: `write` tells that something
 * was left, and `onWritable` that some of it can go.
 */
export class UwsStream implements ResponseStream, Watched {
  readonly #handlers: StreamHandlers
  readonly #filler: Uint8Array | undefined
  readonly #writer: UwsWriter
  readonly #stalls: Sweep
  /** Null once nothing may be done with it: uWS throws. */
  #res: HttpResponse | null
  #head: (() => void) | null
  #backlog: Backlog | null = null
  /** What uWS may hold; more than 0 while it has not taken everything, and `onWritable` will come. */
  #heldBytes = 0
  #lastBytes = 0
  #moved = false
  #corked = false
  #ending = false

  constructor({ res, head, handlers, filler, writer, stalls }: UwsStreamOptions) {
    this.#res = res
    this.#head = head
    this.#handlers = handlers
    this.#filler = filler
    this.#writer = writer
    this.#stalls = stalls
    // Also where all seems to be taken: what is corked and then not taken tells nobody, and without a handler uWS
    // would close the connection 10 s after having drained it.
    res.onWritable(() => this.#onWritable())
    stalls.add(this)
    queueMicrotask(() => this.#sendHead())
  }

  get bufferedBytes(): number {
    return this.#heldBytes + (this.#backlog?.bytes ?? 0)
  }

  write(bytes: Uint8Array): void {
    // By its documentation an empty chunk ends the answer.
    if (this.#res === null || this.#ending || bytes.length === 0) return
    if (this.#heldBytes > 0) (this.#backlog ??= new Backlog()).append(bytes)
    else this.#hand(this.#res, bytes)
  }

  cork(work: () => void): void {
    const res = this.#res
    if (res === null || this.#corked) return work()
    this.#corked = true
    try {
      res.cork(() => {
        work()
        if (this.#res !== null && this.#heldBytes === 0 && this.#filler !== undefined) res.write(this.#filler)
      })
    } finally {
      this.#corked = false
    }
  }

  end(): void {
    if (this.#res === null || this.#ending) return
    this.#ending = true
    if (this.#backlog === null || this.#backlog.isEmpty) this.#finish(this.#res)
  }

  terminate(): void {
    const res = this.#res
    if (res === null) return
    this.#forget()
    // It calls `closed` at once.
    res.close()
    queueMicrotask(() => this.#handlers.onClose())
  }

  /** The client has gone. */
  closed(): void {
    if (this.#res === null) return
    this.#forget()
    this.#handlers.onClose()
  }

  stuck(): boolean {
    const moved = this.#moved
    this.#moved = false
    return this.bufferedBytes > 0 && !moved
  }

  expire(): void {
    this.terminate()
  }

  #hand(res: HttpResponse, bytes: Uint8Array): void {
    // In a cork of our own the filler comes once, at its end.
    const filler = this.#corked ? undefined : this.#filler
    const taken = this.#writer.write(res, this.#takeHead(), bytes, filler)
    // What was corked before may have been left as well.
    if (!taken) this.#heldBytes = this.#lastBytes + bytes.length
    this.#lastBytes = bytes.length
  }

  #onWritable(): boolean {
    const res = this.#res
    if (res === null) return true
    this.#moved = true
    const waited = this.#heldBytes > 0
    const backlog = this.#backlog
    if (backlog !== null && !backlog.isEmpty) this.#heldBytes = this.#writer.drain(res, backlog, this.#filler)
    else if (this.#writer.push(res, this.#filler)) this.#heldBytes = 0
    if (this.#ending) {
      if (backlog === null || backlog.isEmpty) this.#finish(res)
    } else if (waited) this.#handlers.onDrain()
    return true
  }

  #finish(res: HttpResponse): void {
    const head = this.#takeHead()
    this.#forget()
    // From here on uWS drains by itself, and closes a client that takes nothing for 10 s.
    res.cork(() => {
      head?.()
      // Never with `closeConnection`, which writes a header into the middle of the last chunk.
      res.end()
    })
    queueMicrotask(() => this.#handlers.onClose())
  }

  #sendHead(): void {
    const res = this.#res
    if (res !== null && this.#head !== null)
      this.#writer.write(res, this.#takeHead(), this.#filler, undefined)
  }

  #takeHead(): (() => void) | null {
    const head = this.#head
    this.#head = null
    return head
  }

  #forget(): void {
    this.#res = null
    this.#head = null
    this.#backlog = null
    this.#heldBytes = 0
    this.#stalls.delete(this)
  }
}
