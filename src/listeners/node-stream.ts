import type { ServerResponse } from 'node:http'
import { Backlog } from './backlog.ts'
import type { ResponseStream, StreamHandlers } from './listener.ts'
import type { Sweep, Watched } from './sweep.ts'

/** As much is given to Node at once; the rest waits here, at the price of a reference for each message. */
const AHEAD_BYTES = 64 * 1024

/** An answer in chunks (to HTTP/1.0, of which the end of the connection is the end). */
export class NodeStream implements ResponseStream, Watched {
  readonly #res: ServerResponse
  readonly #handlers: StreamHandlers
  readonly #stalls: Sweep
  #backlog: Backlog | null = null
  #givenBytes = 0
  #closed = false
  #ending = false
  #moved = false

  constructor(res: ServerResponse, handlers: StreamHandlers, stalls: Sweep) {
    this.#res = res
    this.#handlers = handlers
    this.#stalls = stalls
    // It comes after the end as well.
    res.on('close', () => this.#close())
    // A write that fails because the client has gone: `close` follows.
    res.on('error', () => undefined)
    stalls.add(this)
    if (res.req.method === 'HEAD') this.end()
    else queueMicrotask(() => this.#sendHead())
  }

  get bufferedBytes(): number {
    return this.#closed ? 0 : this.#res.writableLength + (this.#backlog?.bytes ?? 0)
  }

  write(bytes: Uint8Array): void {
    if (this.#closed || this.#ending || bytes.length === 0) return
    if (this.#givenBytes >= AHEAD_BYTES) (this.#backlog ??= new Backlog()).append(bytes)
    else this.#give(bytes)
  }

  cork(work: () => void): void {
    this.#res.cork()
    try {
      work()
    } finally {
      this.#res.uncork()
    }
  }

  end(): void {
    if (this.#closed || this.#ending) return
    this.#ending = true
    if (this.#backlog === null || this.#backlog.isEmpty) this.#res.end()
  }

  terminate(): void {
    this.#res.destroy()
  }

  stuck(): boolean {
    const moved = this.#moved
    this.#moved = false
    return this.bufferedBytes > 0 && !moved
  }

  expire(): void {
    this.terminate()
  }

  #give(bytes: Uint8Array): void {
    this.#givenBytes += bytes.length
    this.#res.write(bytes, () => this.#sent(bytes.length))
  }

  /** What was given to Node has left. */
  #sent(sentBytes: number): void {
    this.#givenBytes -= sentBytes
    if (this.#closed) return
    this.#moved = true
    for (;;) {
      const bytes = this.#givenBytes < AHEAD_BYTES ? this.#backlog?.take() : undefined
      if (bytes === undefined) break
      this.#give(bytes)
    }
    if (!this.#ending) this.#handlers.onDrain()
    else if (this.#backlog === null || this.#backlog.isEmpty) this.#res.end()
  }

  #sendHead(): void {
    if (!this.#closed && !this.#ending) this.#res.flushHeaders()
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#backlog = null
    this.#stalls.delete(this)
    this.#handlers.onClose()
  }
}
