import type { Handshake } from '../handshake.ts'
import { Inbox } from '../inbox.ts'
import { type EngineSocket, isUws, type NativeSocket, type UwsSocket } from './engine.ts'
import type { SocketIoLink } from './link.ts'

/** One Engine.IO connection, which carries one client for each namespace that it has joined. */
export class Carrier {
  readonly conn: EngineSocket
  readonly address: string
  readonly handshake: Handshake | null
  readonly inbox = new Inbox()
  /** Namespaces that it is in or on its way into. */
  readonly entered = new Set<string>()
  readonly links = new Set<SocketIoLink>()
  /** Whether the address was counted, and has to be given back. */
  counted = false
  #measured: EngineSocket['writeBuffer'] = []
  #measuredTo = 0
  #measuredBytes = 0

  constructor(
    conn: EngineSocket,
    origin: { readonly address: string; readonly handshake: Handshake | null },
  ) {
    this.conn = conn
    this.address = origin.address
    this.handshake = origin.handshake
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
