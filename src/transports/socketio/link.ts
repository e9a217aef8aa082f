import type { Socket } from 'socket.io'
import type { Client } from '../../hub/client.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Link } from '../../hub/link.ts'
import { CLOSE } from '../../protocol/codes.ts'
import type { EventFrame, ServerFrame } from '../../protocol/frames.ts'
import type { MaybePromise } from '../../sources/source.ts'
import type { Visit } from '../visits.ts'
import type { Carrier } from './carrier.ts'
import type { UwsSocket } from './engine.ts'
import type { Incoming } from './incoming.ts'
import { encodeEvent, eventHead, isReserved, type Packet, valuesOf } from './packets.ts'
import type { Rooms } from './rooms.ts'
import { Turns } from './turns.ts'

export interface SocketIoLinkOptions {
  readonly hub: Pick<Hub, 'sending'>
  readonly rooms: Rooms
  readonly carrier: Carrier
  readonly socket: Socket
  /** The client's answer to an event that wanted one. */
  onAck(link: SocketIoLink, frame: EventFrame, args: readonly unknown[]): void
  /** Something waits for the client: it is to be told when that has left. */
  onWaiting(link: SocketIoLink, bytes: number): void
  /** Handles what the client emits: see `Turns`. */
  handle(incoming: Incoming): MaybePromise<void>
}

/** One client's place in one namespace. */
export class SocketIoLink implements Link, Visit {
  readonly namespace: string
  readonly carrier: Carrier
  readonly socket: Socket
  /** What the client has emitted. */
  readonly turns: Turns
  readonly #options: SocketIoLinkOptions
  readonly #topics = new Set<string>()
  client: Client | null = null
  letIn = false
  leftWith = 0
  /** What the daemon closed it with; 0: it did not. */
  closedWith = 0
  #open = true

  constructor(options: SocketIoLinkOptions) {
    this.#options = options
    this.carrier = options.carrier
    this.socket = options.socket
    this.namespace = options.socket.nsp.name
    this.turns = new Turns((incoming) => options.handle(incoming))
  }

  get bufferedBytes(): number {
    if (!this.#open) return 0
    const bytes = this.carrier.bufferedBytes
    if (bytes > 0) this.#options.onWaiting(this, bytes)
    return bytes
  }

  /** As `bufferedBytes`; nobody is told of it. */
  get waiting(): number {
    return this.#open ? this.carrier.bufferedBytes : 0
  }

  /** What publishes to all but this one; null where uWS's topics have no part in it. */
  get publisher(): UwsSocket | null {
    return this.#open ? this.carrier.uws : null
  }

  send(frame: ServerFrame): boolean {
    if (isReserved(frame)) return this.#open
    const packet = encodeEvent(this.namespace, frame)
    // May find that the client is too slow, and close it.
    this.#options.hub.sending(packet.text.length)
    if (!this.#sendable) return false
    if (frame.type === 'event' && frame.id !== undefined) this.#emit(frame)
    else this.#write(packet)
    return true
  }

  /** An answer to an event of the client. */
  answer(packet: Packet): boolean {
    this.#options.hub.sending(packet.text.length)
    if (!this.#sendable) return false
    this.#write(packet)
    return true
  }

  /** What was encoded for all who are on a topic. */
  deliver(
    frame: { readonly text: string; readonly websocket: readonly Buffer[] },
    attachments: readonly Buffer[],
  ): void {
    if (!this.#sendable) return
    this.carrier.conn.write(frame.text, { compress: false, wsPreEncodedFrame: frame.websocket })
    for (const part of attachments) this.carrier.conn.write(part)
  }

  cork(write: () => void): void {
    const { uws } = this.carrier
    if (uws === null) write()
    else uws.cork(write)
  }

  join(topic: string): void {
    if (!this.#open || this.#topics.has(topic)) return
    this.#topics.add(topic)
    this.#options.rooms.join(this, topic)
  }

  leave(topic: string): void {
    if (this.#topics.delete(topic)) this.#options.rooms.leave(this, topic)
  }

  subscribeNative(topic: string): boolean {
    return this.carrier.uws?.subscribe(topic) ?? false
  }

  unsubscribeNative(topic: string): void {
    this.carrier.uws?.unsubscribe(topic)
  }

  /** The connection polls no more: from now on topics are uWS's, if the WebSocket is. */
  upgraded(): void {
    for (const topic of this.#topics) {
      this.#options.rooms.leave(this, topic)
      this.#options.rooms.join(this, topic)
    }
  }

  /**
   * Clients come back by themselves when the connection ends, and don't when they are put out of the namespace: the
   * code says which of the two is meant.
   */
  close(code: number, reason: string): void {
    if (!this.#open) return
    this.closedWith = code
    this.#write({ text: closeEvent(this.namespace, code, reason), attachments: [] })
    this.ended()
    if (code === CLOSE.tooSlow) this.carrier.conn.close(true)
    else if (comesBack(code)) this.carrier.conn.close()
    else this.socket.disconnect()
  }

  terminate(): void {
    this.ended()
    this.carrier.terminate()
  }

  /** Off all topics; nothing is sent any more. Idempotent. */
  ended(): void {
    for (const topic of [...this.#topics]) this.leave(topic)
    this.turns.clear()
    this.#open = false
  }

  get #sendable(): boolean {
    return this.#open && this.client?.open === true && this.carrier.open
  }

  #write({ text, attachments }: Packet): void {
    const { conn } = this.carrier
    // An object each: Engine.IO keeps them with the packets.
    conn.write(text, { compress: false })
    for (const part of attachments) conn.write(part, { compress: false })
  }

  /** The library keeps book of who was asked for what. */
  #emit(frame: EventFrame): void {
    const { onAck } = this.#options
    this.socket.emit(frame.event, ...valuesOf(frame.args), (...args: unknown[]) => onAck(this, frame, args))
  }
}

function comesBack(code: number): boolean {
  return code === CLOSE.goingAway || (code >= 1011 && code <= 1013) || (code >= 4450 && code <= 4499)
}

function closeEvent(namespace: string, code: number, reason: string): string {
  return `${eventHead(namespace)}["close",${JSON.stringify({ code, reason })}]`
}
