import type { Fanout, Link } from '../../hub/link.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import { CarriedLink } from './carried.ts'
import type { UwsApp } from './engine.ts'

/** One frame as what is sent: a text, or binary parts, or a text that they follow. */
export interface Parts {
  /** Null for binary parts alone. */
  readonly text: string | null
  readonly attachments: readonly Buffer[]
}

/** Who is on a topic and told the same of it. */
interface Room {
  /** How many get it by uWS's own topic. */
  native: number
  /** Those who poll, and all with `ws`. */
  readonly looped: Set<CarriedLink>
}

/**
 * Brings what is for all on a topic to those whom Engine.IO carries: encoded once for each place (a namespace of
 * Socket.IO, whose name is part of its packets), and by one call of uWS for all WebSockets.
 */
export class Rooms implements Fanout {
  readonly #topics = new Map<string, Map<string, Room>>()
  readonly #encode: (place: string, frame: ServerFrame) => Parts | null
  #app: UwsApp | null = null

  /** @param encode gives null for what has no form there */
  constructor(encode: (place: string, frame: ServerFrame) => Parts | null) {
    this.#encode = encode
  }

  /** From now on WebSockets are uWS's. */
  use(app: UwsApp): void {
    this.#app = app
  }

  publish(topic: string, frame: ServerFrame, except: Link | null): void {
    const rooms = this.#topics.get(topic)
    if (rooms === undefined) return
    const spared = except instanceof CarriedLink ? except : null
    for (const [place, room] of rooms) {
      const parts = this.#encode(place, frame)
      if (parts === null) continue
      if (room.native > 0) this.#publishNative(nativeTopic(place, topic), parts, spared)
      if (room.looped.size === 0) continue
      const { text, attachments } = parts
      const whole = text === null ? null : { text, websocket: websocketFrame(`4${text}`) }
      for (const link of room.looped) {
        if (link === spared) continue
        if (whole !== null) link.deliver(whole)
        for (const part of attachments) link.deliverPart(part)
      }
    }
  }

  join(link: CarriedLink, topic: string): void {
    let rooms = this.#topics.get(topic)
    if (rooms === undefined) this.#topics.set(topic, (rooms = new Map<string, Room>()))
    let room = rooms.get(link.place)
    if (room === undefined) rooms.set(link.place, (room = { native: 0, looped: new Set() }))
    if (link.subscribeNative(nativeTopic(link.place, topic))) room.native++
    else room.looped.add(link)
  }

  leave(link: CarriedLink, topic: string): void {
    const rooms = this.#topics.get(topic)
    const room = rooms?.get(link.place)
    if (rooms === undefined || room === undefined) return
    if (!room.looped.delete(link)) {
      room.native--
      link.unsubscribeNative(nativeTopic(link.place, topic))
    }
    if (room.native > 0 || room.looped.size > 0) return
    rooms.delete(link.place)
    if (rooms.size === 0) this.#topics.delete(topic)
  }

  #publishNative(topic: string, { text, attachments }: Parts, spared: CarriedLink | null): void {
    const to = spared?.publisher ?? this.#app
    if (text !== null) to?.publish(topic, `4${text}`, false)
    for (const part of attachments) to?.publish(topic, part, true)
  }
}

/** The raw WebSockets of the same app have topics of their own: no channel has such a name. */
function nativeTopic(place: string, topic: string): string {
  return `${place}\x1f${topic}`
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
