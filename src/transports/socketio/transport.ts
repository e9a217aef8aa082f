import type { Server, Socket } from 'socket.io'
import type { Addresses } from '../../auth/addresses.ts'
import { authenticate } from '../../auth/authenticator.ts'
import type { SocketIoConfig } from '../../config/config.ts'
import type { Answer } from '../../hub/answer.ts'
import { Client } from '../../hub/client.ts'
import type { Deadlines } from '../../hub/deadlines.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Subscriber } from '../../hub/subscriber.ts'
import type { Counts } from '../../ops/counts.ts'
import { CLOSE, ClientError, isClientError } from '../../protocol/codes.ts'
import { decode } from '../../protocol/decode.ts'
import { tryWriteJson } from '../../protocol/json.ts'
import type { Services } from '../../registry/context.ts'
import type { User } from '../../registry/define.ts'
import type { Live } from '../../rules.ts'
import type { SignalSink } from '../../signals/sink.ts'
import type { MaybePromise } from '../../sources/source.ts'
import type { Commands } from '../commands.ts'
import { closeCodeOf } from '../endings.ts'
import { Visits } from '../visits.ts'
import { SocketIoCarrier } from './carrier.ts'
import { Door } from '../engineio/door.ts'
import { Drains } from '../engineio/drains.ts'
import type { EngineSocket } from '../engineio/engine.ts'
import { Acknowledgement, frameOf, type Incoming, incomingOf } from './incoming.ts'
import { credentialsOf, type Introduction, type Wishes, wishesOf } from './introduction.ts'
import { SocketIoLink } from './link.ts'
import { originOf } from './origin.ts'
import type { Rooms } from '../engineio/rooms.ts'

export interface SocketIoDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly commands: Commands
  readonly subscriber: Subscriber
  /** Those of all transports. */
  readonly addresses: Addresses
  readonly deadlines: Deadlines
  readonly services: Services
  readonly counts: Counts
  /** Told who comes and goes. @default nobody */
  readonly signals?: SignalSink
}

/** Socket.IO clients: the library carries packets, reconnects and upgrades; what they mean is decided here. */
export class SocketIoTransport {
  readonly rooms: Rooms
  readonly door: Door
  readonly #deps: SocketIoDependencies
  readonly #config: SocketIoConfig
  readonly #visits: Visits
  readonly #drains = new Drains()
  readonly #carriers = new WeakMap<EngineSocket, SocketIoCarrier>()

  constructor(deps: SocketIoDependencies, config: SocketIoConfig, rooms: Rooms) {
    this.rooms = rooms
    this.#deps = deps
    this.#config = config
    this.#visits = new Visits(deps)
    this.door = new Door(deps)
  }

  /** The namespaces that there are: the main one, and one for each subsystem. */
  serve(io: Server): void {
    const named = io.of((name: string, _auth: unknown, next: (error: Error | null, may: boolean) => void) => {
      next(null, this.#exists(name))
    })
    for (const namespace of [io.of('/'), named]) {
      namespace.use((socket, next) => void this.#answer(socket, next))
      namespace.on('connection', (socket) => this.#onConnection(socket))
    }
  }

  /** A new Engine.IO connection. */
  onCarrier(conn: EngineSocket): void {
    const carrier = new SocketIoCarrier(conn, this.door.entryOf(conn.request))
    this.#carriers.set(conn, carrier)
    carrier.counted = this.#deps.addresses.enter(carrier.address)
    this.door.inside++
    // It is told why where it asks for a namespace.
    carrier.turnedAway = !carrier.counted
    if (carrier.turnedAway) setTimeout(() => carrier.close(), LAST_WORDS_MS).unref()
    conn.on('packet', ({ type }) => this.#onPacket(carrier, type))
    conn.on('upgrade', () => {
      for (const link of carrier.links) link.upgraded()
    })
    conn.on('close', () => {
      this.door.inside--
      if (carrier.counted) this.#deps.addresses.leave(carrier.address)
      carrier.counted = false
    })
  }

  /** Takes no new connections. */
  drain(): void {
    this.door.closed = true
  }

  /** Resolves when the hooks have been told of those who left. */
  settle(): Promise<void> {
    return this.#visits.settle()
  }

  stop(): void {
    this.#drains.stop()
  }

  #exists(name: string): boolean {
    return name === '/' || this.#subsystemOf(name) !== null
  }

  /** Null for none: of the main namespace, where events name subsystem and action. */
  #subsystemOf(namespace: string): string | null {
    const subsystem = this.#config.namespaces.get(namespace) ?? namespace.slice(1)
    return this.#deps.live.rules.config.channels.has(subsystem) ? subsystem : null
  }

  async #answer(socket: Socket, next: (refused?: Error) => void): Promise<void> {
    next(await this.#admit(socket))
  }

  /** What the library is to say to who may not come in. */
  async #admit(socket: Socket): Promise<Error | undefined> {
    try {
      await this.#identify(socket)
      return undefined
    } catch (error) {
      return this.#refusal(socket, error)
    }
  }

  /** Who it is. @throws {ClientError} where it may not come in */
  async #identify(socket: Socket): Promise<void> {
    const carrier = this.#carrierOf(socket)
    const { limits } = this.#deps.live.rules.config
    if (carrier.turnedAway) {
      throw new ClientError(
        'limit_exceeded',
        `at most ${limits.connectionsPerAddress} connections an address`,
      )
    }
    if (this.#deps.hub.size >= limits.connections || this.door.closed) {
      throw new ClientError('unavailable', this.door.closed ? 'shutting down' : 'too many connections')
    }
    const { name } = socket.nsp
    // Of a subsystem that a reload has taken away.
    if (!this.#exists(name)) throw new ClientError('not_found', 'Invalid namespace')
    if (carrier.entered.has(name)) throw new ClientError('bad_frame', 'connected already')
    carrier.entered.add(name)
    try {
      const auth = socket.handshake.auth as Introduction
      const wishes = wishesOf(auth, this.#subsystemOf(name))
      const { rules } = this.#deps.live
      const credentials = credentialsOf(carrier, auth, rules)
      const user = credentials === null ? null : await authenticate(credentials, rules, this.#deps.services)
      socket.data = { user, wishes } satisfies Known
    } catch (error) {
      carrier.entered.delete(name)
      throw error
    }
  }

  #refusal(socket: Socket, error: unknown): Error {
    if (!isClientError(error)) {
      this.#deps.services.log.error({ namespace: socket.nsp.name, err: error }, 'connection failed')
    }
    const told = isClientError(error) ? error : new ClientError('internal', 'the daemon failed here')
    this.#deps.counts.error('client', told.code)
    const { code, message, details } = told
    return Object.assign(new Error(message), { data: details === undefined ? { code } : { code, details } })
  }

  #onConnection(socket: Socket): void {
    const { hub } = this.#deps
    const carrier = this.#carrierOf(socket)
    const link = new SocketIoLink({
      hub,
      rooms: this.rooms,
      carrier,
      socket,
      drains: this.#drains,
      handle: (incoming) => this.#handle(incoming),
    })
    const { address } = carrier
    const client = new Client(hub, link, { address, transport: 'socketio', session: socket.id })
    link.client = client
    carrier.links.add(link)
    hub.add(client)
    // What clients name events is never given to the library's own emitter.
    socket.use((event) => this.#onEvent(link, event))
    socket.on('disconnect', (reason) => this.#onDisconnect(link, reason))
    const { user, wishes } = socket.data as Known
    try {
      if (user !== null) this.#deps.commands.identify(client, user)
    } catch (error) {
      // Revoked since it was let in.
      return this.#end(client, error, closeCodeOf(error))
    }
    const { rules } = this.#deps.live
    if (rules.config.auth.required && user === null) {
      const at = Date.now() + rules.config.limits.authenticationMs
      const deadline = { at, code: CLOSE.authenticationTimeout, reason: 'authentication took too long' }
      this.#deps.deadlines.set(client, deadline)
    }
    if (wishes === null && rules.registry.hooks.connect === null) this.#visits.letIn(link, client)
    else {
      link.turns.hold(
        this.#open(link, client, wishes).catch((error: unknown) => {
          this.#end(client, error, closeCodeOf(error))
        }),
      )
    }
  }

  /** Lets the hook have its say, and subscribes to what the handshake asked for. */
  async #open(link: SocketIoLink, client: Client, wishes: Wishes | null): Promise<void> {
    await this.#visits.come(link, client)
    if (wishes === null || !client.open) return
    if (this.#deps.live.rules.config.auth.required && client.identity === null) {
      throw new ClientError('unauthenticated', 'authenticate first')
    }
    await this.#deps.subscriber.subscribeAll(client, wishes.channels, wishes.range)
  }

  /** Whatever came, acknowledgements, binary parts and pongs included. */
  #onPacket(carrier: SocketIoCarrier, type: string): void {
    if (type === 'message') this.#deps.counts.frames++
    if (type === 'close') carrier.conn.close()
    const { rules } = this.#deps.live
    if (carrier.inbox.frames.take(performance.now(), rules.frameRate)) return
    const { framesPerSecond } = rules.config.limits
    const error = new ClientError('rate_limited', `at most ${framesPerSecond} frames a second`)
    for (const { client } of carrier.links) if (client !== null) this.#end(client, error, CLOSE.rateLimited)
    carrier.close()
  }

  #onEvent(link: SocketIoLink, event: readonly unknown[]): void {
    const { client } = link
    if (client === null || !client.open) return
    const answered = originOf(event)?.answers
    if (answered !== undefined) return this.#onAnswer(link, client, answered, event)
    if (link.turns.take(incomingOf(link, event), this.#deps.live.rules.config.limits.bufferBytes)) return
    const error = new ClientError('rate_limited', 'too many frames wait for an earlier one')
    this.#end(client, error, CLOSE.rateLimited)
  }

  /** To those that nobody waits for any more nothing is said, as everywhere in Socket.IO. */
  #onAnswer(link: SocketIoLink, client: Client, id: number, args: readonly unknown[]): void {
    const { commands } = this.#deps
    const text = tryWriteJson({ type: 'ack', id, args })
    if (text === undefined) return
    const answered = this.#execute(
      link,
      () => commands.execute(client, decode(text), text, link.carrier.inbox),
      null,
    )
    if (answered instanceof Promise) void answered
  }

  #handle(incoming: Incoming): MaybePromise<void> {
    const { link } = incoming
    const { client } = link
    if (client === null || !client.open) return undefined
    const answer = new Acknowledgement(incoming, this.#config.spread)
    return this.#execute(
      link,
      () => {
        const { registry } = this.#deps.live.rules
        const { frame, text } = frameOf(incoming, this.#subsystemOf(link.namespace), registry)
        return this.#deps.commands.execute(client, frame, text, link.carrier.inbox, answer)
      },
      answer,
    )
  }

  /** Never throws: the client is told what was wrong. */
  #execute(link: SocketIoLink, work: () => MaybePromise<void>, answer: Answer | null): MaybePromise<void> {
    const refuse = (error: unknown): void => this.#deps.commands.refuse(link.client, undefined, error, answer)
    try {
      const result = work()
      return result instanceof Promise ? result.catch(refuse) : undefined
    } catch (error) {
      refuse(error)
      return undefined
    }
  }

  #onDisconnect(link: SocketIoLink, reason: string): void {
    const { client, carrier } = link
    link.ended()
    carrier.links.delete(link)
    carrier.entered.delete(link.namespace)
    if (client === null) return
    this.#deps.hub.remove(client)
    this.#deps.deadlines.clear(client)
    const left = reason === 'client namespace disconnect' ? 1000 : 1006
    this.#visits.left(link, client, link.closedWith === 0 ? left : link.closedWith)
  }

  /** Says why, and closes. */
  #end(client: Client, error: unknown, code: number): void {
    if (!client.open) return
    this.#deps.commands.refuse(client, undefined, error)
    this.#deps.hub.close(client, code, isClientError(error) ? error.code : 'internal')
  }

  #carrierOf(socket: Socket): SocketIoCarrier {
    return this.#carriers.get(socket.conn as unknown as EngineSocket)!
  }
}

/** How long one may look for why it is refused. */
const LAST_WORDS_MS = 2000

/** What is known of a socket when it is let in. */
interface Known {
  readonly user: User | null
  readonly wishes: Wishes | null
}
