import type { Socket } from 'socket.io'
import type { Hub } from '../../hub/hub.ts'
import { CLOSE } from '../../protocol/codes.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import type { MaybePromise } from '../../sources/source.ts'
import { CarriedLink } from '../engineio/carried.ts'
import type { Drains } from '../engineio/drains.ts'
import type { Rooms } from '../engineio/rooms.ts'
import { comesBack } from '../endings.ts'
import type { SocketIoCarrier } from './carrier.ts'
import type { Incoming } from './incoming.ts'
import { encodeEvent, eventHead, isReserved, type Packet } from './packets.ts'
import { Turns } from './turns.ts'

export interface SocketIoLinkOptions {
  readonly hub: Pick<Hub, 'sending'>
  readonly rooms: Rooms
  readonly drains: Drains
  readonly carrier: SocketIoCarrier
  readonly socket: Socket
  /** Handles what the client emits: see `Turns`. */
  handle(incoming: Incoming): MaybePromise<void>
}

/** One client's place in one namespace. */
export class SocketIoLink extends CarriedLink {
  declare readonly carrier: SocketIoCarrier
  readonly socket: Socket
  /** What the client has emitted. */
  readonly turns: Turns
  readonly #hub: Pick<Hub, 'sending'>

  constructor({ hub, socket, handle, ...options }: SocketIoLinkOptions) {
    super({ ...options, place: socket.nsp.name })
    this.#hub = hub
    this.socket = socket
    this.turns = new Turns(handle)
  }

  get namespace(): string {
    return this.place
  }

  send(frame: ServerFrame): boolean {
    return isReserved(frame) ? this.open : this.answer(encodeEvent(this.namespace, frame))
  }

  /** What has its form already: false when the client is gone. */
  answer({ text, attachments }: Packet): boolean {
    // May find that the client is too slow, and close it.
    this.#hub.sending(text.length)
    if (!this.sendable) return false
    this.write(text, attachments)
    return true
  }

  /**
   * Clients come back by themselves when the connection ends, and don't when they are put out of the namespace: the
   * code says which of the two is meant.
   */
  close(code: number, reason: string): void {
    if (!this.open) return
    this.closedWith = code
    this.write(closeEvent(this.namespace, code, reason), [])
    this.ended()
    if (code === CLOSE.tooSlow) this.carrier.conn.close(true)
    else if (comesBack(code)) this.carrier.close()
    else this.socket.disconnect()
  }

  override ended(): void {
    super.ended()
    this.turns.clear()
  }
}

function closeEvent(namespace: string, code: number, reason: string): string {
  return `${eventHead(namespace)}["close",${JSON.stringify({ code, reason })}]`
}
