import type { Fanout, Link } from '../../hub/link.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import type { UwsApp } from './engine.ts'
import { SocketIoLink } from './link.ts'
import { encodeEvent, isReserved, type Packet } from './packets.ts'

/** Who is on a topic by one namespace: an event's packet names it. */
interface Room {
  /** How many get it by uWS's own topic. */
  native: number
  /** Those who poll, and all with `ws`. */
  readonly looped: Set<SocketIoLink>
}

/**
 * Brings what is for all on a topic to Socket.IO clients: encoded once for each namespace, and by one call of uWS for
 * all WebSockets, where the library's own rooms would look at each socket.
 */
export class Rooms implements Fanout {
  readonly #topics = new Map<string, Map<string, Room>>()
  #app: UwsApp | null = null

  /** From now on WebSockets are uWS's. */
  use(app: UwsApp): void {
    this.#app = app
  }

  publish(topic: string, frame: ServerFrame, except: Link | null): void {
    const rooms = this.#topics.get(topic)
    if (rooms === undefined || isReserved(frame)) return
    const spared = except instanceof SocketIoLink ? except : null
    for (const [namespace, room] of rooms) {
      const packet = encodeEvent(namespace, frame)
      if (room.native > 0) this.#publishNative(nativeTopic(namespace, topic), packet, spared)
      if (room.looped.size === 0) continue
      const frames = { text: packet.text, websocket: websocketFrame(`4${packet.text}`) }
      for (const link of room.looped) if (link !== spared) link.deliver(frames, packet.attachments)
    }
  }

  join(link: SocketIoLink, topic: string): void {
    let rooms = this.#topics.get(topic)
    if (rooms === undefined) this.#topics.set(topic, (rooms = new Map<string, Room>()))
    let room = rooms.get(link.namespace)
    if (room === undefined) rooms.set(link.namespace, (room = { native: 0, looped: new Set() }))
    if (link.subscribeNative(nativeTopic(link.namespace, topic))) room.native++
    else room.looped.add(link)
  }

  leave(link: SocketIoLink, topic: string): void {
    const rooms = this.#topics.get(topic)
    const room = rooms?.get(link.namespace)
    if (rooms === undefined || room === undefined) return
    if (!room.looped.delete(link)) {
      room.native--
      link.unsubscribeNative(nativeTopic(link.namespace, topic))
    }
    if (room.native > 0 || room.looped.size > 0) return
    rooms.delete(link.namespace)
    if (rooms.size === 0) this.#topics.delete(topic)
  }

  #publishNative(topic: string, { text, attachments }: Packet, spared: SocketIoLink | null): void {
    const to = spared?.publisher ?? this.#app
    to?.publish(topic, `4${text}`, false)
    for (const part of attachments) to?.publish(topic, part, true)
  }
}

/** The raw WebSockets of the same app have topics of their own: no channel has such a name. */
function nativeTopic(namespace: string, topic: string): string {
  return `${namespace}\x1f${topic}`
}

/** A whole text frame of a server (RFC 6455, 5.2), which `ws` sends as it is: made once for all. */
function websocketFrame(text: string): readonly Buffer[] {
  const length = Buffer.byteLength(text)
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const frame = Buffer.allocUnsafe(head + length)
  frame[0] = 0x81
  if (head === 2) frame[1] = length
  else if (head === 4) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeBigUInt64BE(BigInt(length), 2)
  }
  frame.write(text, head)
  return [frame]
}
