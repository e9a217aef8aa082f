import type { Client } from '../hub/client.ts'
import type { Hub } from '../hub/hub.ts'
import type { Fanout, Link } from '../hub/link.ts'
import type { Listener, Request, Socket, Upgrade } from '../listeners/listener.ts'
import { encodeFrame, errorBody } from '../protocol/encode.ts'
import type { ServerFrame } from '../protocol/frames.ts'
import { Conversations, type ConversationsDependencies, type Speaker } from './conversations.ts'
import { emptied, FLUSH_MS, sayFarewell, type StopReason } from './farewell.ts'
import { type Handshake, readHandshake } from './handshake.ts'
import type { Inbox } from './inbox.ts'

export type WebSocketDependencies = ConversationsDependencies

/** What is kept for one socket: the client's link as well. */
export class Peer implements Speaker {
  readonly address: string
  readonly #writer: FrameWriter
  #socket: Socket<Peer> | null = null
  handshake: Handshake | null
  client: Client | null = null
  inbox: Inbox | null = null
  counted = false
  letIn = false
  leftWith = 0

  constructor(writer: FrameWriter, address: string, handshake: Handshake | null) {
    this.#writer = writer
    this.address = address
    this.handshake = handshake
  }

  open(socket: Socket<Peer>): void {
    this.#socket = socket
  }

  get bufferedBytes(): number {
    return this.#socket === null ? 0 : this.#socket.bufferedBytes
  }

  send(frame: ServerFrame): boolean {
    const text = this.#writer.write(frame)
    // May find that the client is too slow, and close it.
    this.#writer.hub.sending(text.length)
    return this.client?.open === true && this.#socket !== null && this.#socket.send(text)
  }

  cork(write: () => void): void {
    if (this.#socket === null) write()
    else this.#socket.cork(write)
  }

  join(topic: string): void {
    this.#socket?.join(topic)
  }

  leave(topic: string): void {
    this.#socket?.leave(topic)
  }

  publishToOthers(topic: string, text: string): void {
    this.#socket?.publishToOthers(topic, text)
  }

  close(code: number, reason: string): void {
    this.#socket?.close(code, reason)
  }

  terminate(): void {
    this.#socket?.terminate()
  }
}

/** Writes frames to single clients: one that goes to many of them, one after the other, is written once. */
class FrameWriter {
  readonly hub: Pick<Hub, 'sending'>
  #last: ServerFrame | null = null
  #text = ''

  constructor(hub: Pick<Hub, 'sending'>) {
    this.hub = hub
  }

  /** @throws {TypeError} where JSON can't carry an event's arguments */
  write(frame: ServerFrame): string {
    // Only events go to many: what answers one client is not to be kept.
    if (frame.type !== 'event') return encodeFrame(frame)
    if (frame !== this.#last) {
      this.#text = encodeFrame(frame)
      this.#last = frame
    }
    return this.#text
  }
}

/** What is for all comes to WebSockets by the listener's own topics. */
export class WebSocketFanout implements Fanout {
  readonly #listener: Pick<Listener<Peer>, 'publish'>

  constructor(listener: Pick<Listener<Peer>, 'publish'>) {
    this.#listener = listener
  }

  publish(topic: string, frame: ServerFrame, except: Link | null): void {
    const text = encodeFrame(frame)
    if (except instanceof Peer) except.publishToOthers(topic, text)
    else this.#listener.publish(topic, text)
  }
}

/** The raw WebSocket transport: one JSON object a text frame, both ways. */
export class WebSocketTransport {
  readonly #deps: WebSocketDependencies
  readonly #conversations: Conversations
  readonly #writer: FrameWriter
  #draining = false

  constructor(deps: WebSocketDependencies) {
    this.#deps = deps
    this.#conversations = new Conversations(deps, 'websocket')
    this.#writer = new FrameWriter(deps.hub)
  }

  /** Browsers hide refused upgrades and try again for ever: only origin and overload are refused here. */
  onUpgrade(request: Request): Upgrade<Peer> {
    const { config, origins, peers } = this.#deps.live.rules
    if (this.#draining || this.#deps.hub.size >= config.limits.connections) {
      this.#deps.counts.error('upgrade', 'unavailable')
      return refusal(503, 'unavailable', this.#draining ? 'shutting down' : 'too many connections')
    }
    if (!origins.allows(request.header('origin'), request.header('host'))) {
      this.#deps.counts.error('upgrade', 'forbidden')
      return refusal(403, 'forbidden', 'this origin is not allowed; see `origins` in the config')
    }
    const state = new Peer(
      this.#writer,
      peers.clientAddress(request),
      readHandshake(request, this.#deps.live.rules),
    )
    const offered = request.header('sec-websocket-protocol')
    return offers(offered, SUBPROTOCOL)
      ? { accept: true, state, protocol: SUBPROTOCOL }
      : { accept: true, state }
  }

  onOpen(socket: Socket<Peer>): void {
    socket.state.open(socket)
    this.#conversations.begin(socket.state)
  }

  onMessage(socket: Socket<Peer>, text: string | null): void {
    this.#conversations.hear(socket.state, text)
  }

  onDropped(socket: Socket<Peer>): void {
    this.#deps.counts.droppedFrames++
    if (socket.state.client?.open === true) this.#deps.counts.slowClients++
    // Not now: uWS is in the middle of handing out what was published. Nothing more is sent: `open` is false.
    socket.state.client?.end()
    setImmediate(() => socket.terminate())
  }

  onDrain(socket: Socket<Peer>): void {
    socket.state.client?.onDrain()
  }

  onClose(socket: Socket<Peer>, code: number): void {
    this.#conversations.ended(socket.state, code)
  }

  /** How many addresses have connections that are counted. */
  get addresses(): number {
    return this.#deps.addresses.size
  }

  /**
   * Tells everyone when to come back, spread so that they don't all come at once, and closes: no new client
   * is taken any more. Resolves when they are gone, and the hooks have been told.
   */
  async dismiss(reason: StopReason): Promise<void> {
    this.#draining = true
    const { hub } = this.#deps
    const clients = [...hub]
    sayFarewell(hub, clients, reason)
    if (clients.length > 0) await new Promise((resolve) => setTimeout(resolve, FLUSH_MS))
    // Those that have not answered the close frame.
    for (const client of hub) client.link.terminate()
    await emptied(() => hub.size, FLUSH_MS)
    await this.#conversations.settle()
  }
}

const SUBPROTOCOL = 'livemessage.v1'

function offers(header: string, protocol: string): boolean {
  return header !== '' && header.split(',').some((name) => name.trim() === protocol)
}

function refusal(status: number, code: 'unavailable' | 'forbidden', message: string): Upgrade<never> {
  return { accept: false, status, body: `{"error":${errorBody(code, message)}}` }
}
