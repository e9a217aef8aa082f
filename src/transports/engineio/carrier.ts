import type { Handshake } from '../handshake.ts'
import type { Entry } from './door.ts'
import { type EngineSocket, isUws, type NativeSocket, type UwsSocket } from './engine.ts'

/** One Engine.IO connection. */
export class Carrier {
  readonly conn: EngineSocket
  readonly address: string
  readonly handshake: Handshake | null
  #measured: EngineSocket['writeBuffer'] = []
  #measuredTo = 0
  #measuredBytes = 0

  constructor(conn: EngineSocket, { address, handshake }: Entry) {
    this.conn = conn
    this.address = address
    this.handshake = handshake
    // Its headers would be kept for as long as it lives.
    conn.request = null
    if (conn.transport.closeTimeout !== undefined) conn.transport.closeTimeout = LAST_WORDS_MS
  }

  get open(): boolean {
    return this.conn.readyState === 'open'
  }

  /** Bytes that wait for the client: in Engine.IO and in the WebSocket. */
  get bufferedBytes(): number {
    if (!this.open) return 0
    const { websocket } = this
    if (websocket === null) return this.#waiting()
    return this.#waiting() + (isUws(websocket) ? websocket.getBufferedAmount() : websocket.bufferedAmount)
  }

  /** Null while it polls. */
  get websocket(): NativeSocket | null {
    const { transport } = this.conn
    return transport.name === 'websocket' ? (transport.socket ?? null) : null
  }

  /** Null where it is not uWS's, or has ended: its methods would throw. */
  get uws(): UwsSocket | null {
    if (!this.open) return null
    const { websocket } = this
    return websocket !== null && isUws(websocket) ? websocket : null
  }

  /** Ends when what waits has gone, but not much later. */
  close(): void {
    this.conn.close()
    if (this.conn.readyState !== 'closed') setTimeout(() => this.terminate(), LAST_WORDS_MS).unref()
  }

  /** Ends at once, without a word. */
  terminate(): void {
    const { websocket, conn } = this
    if (conn.readyState === 'closed') return
    if (websocket === null || conn.readyState === 'closing') conn.close(true)
    else if (isUws(websocket)) websocket.close()
    else websocket.terminate()
  }

  /** Counts each packet once: the buffer only grows until the transport takes it, and is another one then. */
  #waiting(): number {
    const { writeBuffer } = this.conn
    if (writeBuffer !== this.#measured || this.#measuredTo > writeBuffer.length) {
      this.#measured = writeBuffer
      this.#measuredTo = 0
      this.#measuredBytes = 0
    }
    for (; this.#measuredTo < writeBuffer.length; this.#measuredTo++) {
      this.#measuredBytes += writeBuffer[this.#measuredTo]!.data?.length ?? 1
    }
    return this.#measuredBytes
  }
}

/** The library's own half a minute would keep a process that ends. */
const LAST_WORDS_MS = 2000
