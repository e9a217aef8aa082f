import type { Addresses } from '../auth/addresses.ts'
import { authenticate } from '../auth/authenticator.ts'
import { Client } from '../hub/client.ts'
import type { Deadlines } from '../hub/deadlines.ts'
import type { Hub } from '../hub/hub.ts'
import type { Fanout, Link } from '../hub/link.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { Listener, Request, Socket, Upgrade } from '../listeners/listener.ts'
import type { Counts } from '../ops/counts.ts'
import { CLOSE, ClientError, isClientError } from '../protocol/codes.ts'
import { answerId, decode, FrameError } from '../protocol/decode.ts'
import { encodeFrame, errorBody } from '../protocol/encode.ts'
import type { ServerFrame } from '../protocol/frames.ts'
import type { Services } from '../registry/context.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import { VERSION } from '../version.ts'
import type { Commands } from './commands.ts'
import { closeCodeOf } from './endings.ts'
import { checkUrl, type Handshake, readHandshake } from './handshake.ts'
import { Inbox } from './inbox.ts'
import { type Visit, Visits } from './visits.ts'

export interface WebSocketDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly commands: Commands
  readonly subscriber: Subscriber
  readonly deadlines: Deadlines
  readonly services: Services
  readonly counts: Counts
  /** Shared with the other transports. */
  readonly addresses: Addresses
}

/** What is kept for one socket: the client's link as well. */
export class Peer implements Visit, Link {
  readonly address: string
  readonly #hub: Pick<Hub, 'sending'>
  #socket: Socket<Peer> | null = null
  handshake: Handshake | null
  client: Client | null = null
  inbox: Inbox | null = null
  /** Whether the address was counted, and has to be given back. */
  counted = false
  letIn = false
  leftWith = 0

  constructor(hub: Pick<Hub, 'sending'>, address: string, handshake: Handshake | null) {
    this.#hub = hub
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
    const text = encodeFrame(frame)
    // May find that the client is too slow, and close it.
    this.#hub.sending(text.length)
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
  readonly #visits: Visits
  #draining = false

  constructor(deps: WebSocketDependencies) {
    this.#deps = deps
    this.#visits = new Visits(deps)
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
      this.#deps.hub,
      peers.clientAddress(request),
      readHandshake(request, this.#deps.live.rules),
    )
    const offered = request.header('sec-websocket-protocol')
    return offers(offered, SUBPROTOCOL)
      ? { accept: true, state, protocol: SUBPROTOCOL }
      : { accept: true, state }
  }

  onOpen(socket: Socket<Peer>): void {
    const peer = socket.state
    peer.open(socket)
    const client = new Client(this.#deps.hub, peer, { address: peer.address, transport: 'websocket' })
    peer.client = client
    this.#deps.hub.add(client)
    if (!this.#deps.addresses.enter(peer.address)) {
      const { connectionsPerAddress } = this.#deps.live.rules.config.limits
      const error = new ClientError(
        'limit_exceeded',
        `at most ${connectionsPerAddress} connections an address`,
      )
      return this.#end(client, undefined, error, CLOSE.rateLimited)
    }
    peer.counted = true
    const { handshake } = peer
    peer.handshake = null
    if (handshake === null && this.#deps.live.rules.registry.hooks.connect === null) {
      peer.letIn = true
      return this.#welcome(client)
    }
    const inbox = this.#inboxOf(peer)
    inbox.busy = true
    this.#open(peer, client, handshake).then(
      () => this.#next(peer, inbox),
      (error: unknown) => this.#end(client, undefined, error, closeCodeOf(error)),
    )
  }

  onMessage(socket: Socket<Peer>, text: string | null): void {
    const peer = socket.state
    const { client } = peer
    if (client === null || !client.open) return
    this.#deps.counts.frames++
    const inbox = this.#inboxOf(peer)
    const { rules } = this.#deps.live
    if (!inbox.frames.take(performance.now(), rules.frameRate)) {
      const { framesPerSecond } = rules.config.limits
      const error = new ClientError('rate_limited', `at most ${framesPerSecond} frames a second`)
      return this.#end(client, undefined, error, CLOSE.rateLimited)
    }
    if (!inbox.busy) return this.#run(peer, inbox, text)
    if (inbox.push(text, rules.config.limits.bufferBytes)) return
    const error = new ClientError('rate_limited', 'too many frames wait for an earlier one')
    this.#end(client, undefined, error, CLOSE.rateLimited)
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
    const peer = socket.state
    const { client } = peer
    if (peer.counted) this.#deps.addresses.leave(peer.address)
    peer.counted = false
    peer.inbox?.clear()
    if (client === null) return
    this.#deps.hub.remove(client)
    this.#deps.deadlines.clear(client)
    this.#visits.left(peer, client, code)
  }

  /** How many addresses have connections that are counted. */
  get addresses(): number {
    return this.#deps.addresses.size
  }

  /**
   * Tells everyone when to come back, spread so that they don't all come at once, and closes: no new client
   * is taken any more. Resolves when they are gone, and the hooks have been told.
   */
  async dismiss(reason: 'restart' | 'shutdown'): Promise<void> {
    this.#draining = true
    const { hub } = this.#deps
    const spreadMs = Math.min(MAX_SPREAD_MS, MIN_SPREAD_MS + hub.size)
    const code = reason === 'restart' ? CLOSE.restarting : CLOSE.goingAway
    const clients = [...hub]
    for (const client of clients) {
      client.send({ type: 'reconnect', afterMs: Math.floor(Math.random() * spreadMs), reason })
      hub.close(client, code, reason)
    }
    if (clients.length > 0) await passed(FLUSH_MS)
    // Those that have not answered the close frame.
    for (const client of hub) client.link.terminate()
    const end = performance.now() + FLUSH_MS
    while (hub.size > 0 && performance.now() < end) await passed(TERMINATE_CHECK_MS)
    await this.#visits.settle()
  }

  /** Authenticates, welcomes, lets the hook have its say, and subscribes to what the URL names. */
  async #open(peer: Peer, client: Client, handshake: Handshake | null): Promise<void> {
    const { rules } = this.#deps.live
    if (handshake?.credentials != null) {
      const user = await authenticate(handshake.credentials, rules, this.#deps.services)
      if (user !== null) this.#deps.commands.identify(client, user)
    }
    if (!client.open) return
    this.#welcome(client)
    if (rules.config.auth.required && client.identity === null) {
      const at = Date.now() + rules.config.limits.authenticationMs
      const deadline = { at, code: CLOSE.authenticationTimeout, reason: 'authentication took too long' }
      this.#deps.deadlines.set(client, deadline)
    }
    await this.#visits.come(peer, client)
    if (handshake === null || handshake.channels.length === 0 || !client.open) return
    checkUrl(handshake)
    if (rules.config.auth.required && client.identity === null) {
      throw new ClientError('unauthenticated', 'authenticate first')
    }
    await this.#deps.subscriber.subscribeAll(client, handshake.channels, handshake.range)
  }

  #welcome(client: Client): void {
    const { pingMs } = this.#deps.live.rules.config
    client.send({ type: 'welcome', session: client.session, user: client.user, pingMs, version: VERSION })
  }

  #inboxOf(peer: Peer): Inbox {
    return (peer.inbox ??= new Inbox())
  }

  #run(peer: Peer, inbox: Inbox, text: string | null): void {
    const result = this.#handle(peer.client!, inbox, text)
    if (result === undefined) return
    inbox.busy = true
    void result.then(() => this.#next(peer, inbox))
  }

  /** Handles what has come meanwhile, in its order. */
  #next(peer: Peer, inbox: Inbox): void {
    inbox.busy = false
    while (!inbox.busy && peer.client!.open) {
      const text = inbox.shift()
      if (text === undefined) return
      this.#run(peer, inbox, text)
    }
  }

  /** Undefined when the next frame may come; a promise, that never rejects, when it must wait. */
  #handle(client: Client, inbox: Inbox, text: string | null): MaybePromise<void> {
    let id: string | number | undefined
    try {
      const frame = decode(text)
      id = answerId(frame)
      const result = this.#deps.commands.execute(client, frame, text ?? '', inbox)
      if (!(result instanceof Promise)) return undefined
      return result.catch((error: unknown) => this.#deps.commands.refuse(client, id, error))
    } catch (error) {
      if (error instanceof FrameError) {
        this.#deps.commands.refuse(client, error.id, error)
        if (error.fatal) this.#deps.hub.close(client, CLOSE.badFrame, 'bad frame')
      } else this.#deps.commands.refuse(client, id, error)
      return undefined
    }
  }

  /** Says why, and closes. */
  #end(client: Client, id: number | undefined, error: unknown, code: number): void {
    if (!client.open) return
    this.#deps.commands.refuse(client, id, error)
    this.#deps.hub.close(client, code, isClientError(error) ? error.code : 'internal')
  }
}

/** Over how long a time clients are asked to come back: a second, and a millisecond more for each of them. */
const MIN_SPREAD_MS = 1000
const MAX_SPREAD_MS = 30_000

/** How long what was sent last may take to leave before the sockets are ended. */
const FLUSH_MS = 100

const TERMINATE_CHECK_MS = 5

const SUBPROTOCOL = 'livemessage.v1'

function offers(header: string, protocol: string): boolean {
  return header !== '' && header.split(',').some((name) => name.trim() === protocol)
}

function refusal(status: number, code: 'unavailable' | 'forbidden', message: string): Upgrade<never> {
  return { accept: false, status, body: `{"error":${errorBody(code, message)}}` }
}

function passed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
