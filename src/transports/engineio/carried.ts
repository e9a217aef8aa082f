import type { Client } from '../../hub/client.ts'
import type { Link } from '../../hub/link.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import type { Visit } from '../visits.ts'
import type { Carrier } from './carrier.ts'
import type { Drains } from './drains.ts'
import type { UwsSocket } from './engine.ts'
import type { Rooms } from './rooms.ts'

export interface CarriedOptions {
  readonly rooms: Rooms
  readonly drains: Drains
  readonly carrier: Carrier
  /** Those of one place are told the same of a topic: see `Rooms`. */
  readonly place: string
}

/** The link of a client that Engine.IO carries, in whatever form it is told things. */
export abstract class CarriedLink implements Link, Visit {
  readonly place: string
  readonly carrier: Carrier
  readonly #rooms: Rooms
  readonly #drains: Drains
  readonly #topics = new Set<string>()
  client: Client | null = null
  letIn = false
  leftWith = 0
  /** What the daemon closed it with; 0: it did not. */
  closedWith = 0
  #open = true

  constructor({ rooms, drains, carrier, place }: CarriedOptions) {
    this.#rooms = rooms
    this.#drains = drains
    this.carrier = carrier
    this.place = place
  }

  abstract send(frame: ServerFrame): boolean
  abstract close(code: number, reason: string): void

  get open(): boolean {
    return this.#open
  }

  get bufferedBytes(): number {
    const bytes = this.waiting
    if (bytes > 0) this.#drains.watch(this, bytes)
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

  /** A text that was encoded for all who are on a topic. */
  deliver({ text, websocket }: { readonly text: string; readonly websocket: readonly Buffer[] }): void {
    if (this.sendable) this.carrier.conn.write(text, { compress: false, wsPreEncodedFrame: websocket })
  }

  /** A binary part of it. */
  deliverPart(part: Buffer): void {
    if (this.sendable) this.carrier.conn.write(part, { compress: false })
  }

  cork(write: () => void): void {
    const { uws } = this.carrier
    if (uws === null) write()
    else uws.cork(write)
  }

  join(topic: string): void {
    if (!this.#open || this.#topics.has(topic)) return
    this.#topics.add(topic)
    this.#rooms.join(this, topic)
  }

  leave(topic: string): void {
    if (this.#topics.delete(topic)) this.#rooms.leave(this, topic)
  }

  subscribeNative(topic: string): boolean {
    if (!this.carrier.conn.transport.supportsBinary) return false
    return this.carrier.uws?.subscribe(topic) ?? false
  }

  unsubscribeNative(topic: string): void {
    this.carrier.uws?.unsubscribe(topic)
  }

  /** The connection polls no more: from now on topics are uWS's, if the WebSocket is. */
  upgraded(): void {
    for (const topic of this.#topics) {
      this.#rooms.leave(this, topic)
      this.#rooms.join(this, topic)
    }
  }

  terminate(): void {
    this.ended()
    this.carrier.terminate()
  }

  /** Off all topics; nothing is sent any more. Idempotent. */
  ended(): void {
    for (const topic of [...this.#topics]) this.leave(topic)
    this.#open = false
  }

  protected get sendable(): boolean {
    return this.#open && this.client?.open === true && this.carrier.open
  }

  protected write(message: string | Buffer, attachments: readonly Buffer[] = []): void {
    const { conn } = this.carrier
    // An object each: Engine.IO keeps them with the packets.
    conn.write(message, { compress: false })
    for (const part of attachments) conn.write(part, { compress: false })
  }
}
