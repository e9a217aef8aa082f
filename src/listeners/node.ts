import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type RawData, WebSocket, WebSocketServer } from 'ws'
import { explainListenFailure, removeStaleSocket } from './address.ts'
import { BODY_MS, MAX_HEADER_BYTES } from './limits.ts'
import type { Address, Engine, Listener, ListenerHandlers, ListenerOptions, Socket } from './listener.ts'
import { NodeHttp, NodeRequest } from './node-http.ts'

/** Listener on node:http and `ws`, for a Node that uWebSockets.js has no binary for. */
export class NodeListener<State> implements Listener<State> {
  readonly kind = 'node'
  readonly #options: ListenerOptions
  readonly #server: Server
  readonly #sockets = new Set<NodeSocket<State>>()
  readonly #topics = new Map<string, Set<NodeSocket<State>>>()
  readonly #engine: WebSocketServer
  /** The subprotocol of an upgrade under way. */
  readonly #chosen = new WeakMap<IncomingMessage, string>()
  #http: NodeHttp | null = null
  #onRequest: ListenerHandlers<State>['onRequest'] | null = null
  #pings: NodeJS.Timeout | null = null
  #closing: Promise<void> | null = null

  constructor(options: ListenerOptions) {
    this.#options = options
    const bodyMs = options.bodyMs ?? BODY_MS
    this.#server = createServer({
      keepAliveTimeout: 65_000,
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_MS,
      // The reading of a body has a deadline of its own, which answers.
      requestTimeout: HEADERS_MS + 2 * bodyMs,
      connectionsCheckingInterval: HEADERS_MS / 4,
      ...WEBSOCKETS_ONLY,
    })
    // Already here: a library that attaches itself puts its own handler around those that it finds.
    this.#server.on('request', (req: IncomingMessage, res: ServerResponse) => this.#request(req, res))
    this.#engine = new WebSocketServer({
      noServer: true,
      maxPayload: options.maxFrameBytes,
      perMessageDeflate: options.compression ? { threshold: 1024, serverNoContextTakeover: true } : false,
      // The verdict on the upgrade has chosen it already.
      handleProtocols: (_offered, req) => this.#chosen.get(req) ?? false,
      clientTracking: false,
    })
  }

  get engine(): Engine {
    return { kind: 'node', server: this.#server }
  }

  async listen(address: Address, handlers: ListenerHandlers<State>): Promise<Address> {
    this.#http = new NodeHttp(this.#options, handlers)
    this.#onRequest = (request, response) => handlers.onRequest(request, response)
    const { shared = false } = this.#options
    // The file of a shared one is the primary's.
    if ('socket' in address && !shared) await removeStaleSocket(address.socket)
    this.#server.on('upgrade', (req: IncomingMessage, stream: Duplex, head: Buffer) => {
      this.#upgrade(req, stream, head, handlers)
    })
    this.#server.on('clientError', (error: NodeJS.ErrnoException, stream) => {
      if (error.code === 'ECONNRESET' || !stream.writable) {
        stream.destroy()
        return
      }
      const status = CLIENT_ERRORS[error.code ?? ''] ?? 400
      handlers.onRefused?.(status)
      endWith(stream, `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`)
    })
    const where = 'socket' in address ? { path: address.socket } : address
    // In a worker of `node:cluster`, the primary listens for all of them, unless it is exclusive.
    this.#server.listen({ ...where, exclusive: !shared })
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      throw await explainListenFailure(address, error as NodeJS.ErrnoException)
    }
    const tickMs = Math.max(10, Math.min(this.#options.pingMs, this.#options.pongMs) / 4)
    this.#pings = setInterval(() => this.#checkIdle(), tickMs).unref()
    const actual = this.#server.address()
    if ('socket' in address || actual === null || typeof actual === 'string') return address
    return { host: address.host, port: actual.port }
  }

  publish(topic: string, text: string): void {
    const sockets = this.#topics.get(topic)
    if (sockets === undefined) return
    const frame = Buffer.from(text)
    for (const socket of sockets) socket.deliver(frame)
  }

  subscribers(topic: string): number {
    return this.#topics.get(topic)?.size ?? 0
  }

  stopAccepting(): void {
    if (this.#server.listening) this.#server.close()
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#end())
  }

  async #end(): Promise<void> {
    if (this.#pings !== null) clearInterval(this.#pings)
    this.#http?.stop()
    for (const socket of this.#sockets) socket.terminate()
    const closed = this.#server.listening
      ? new Promise<void>((resolve) => this.#server.close(() => resolve()))
      : Promise.resolve()
    this.#server.closeAllConnections()
    await closed
  }

  #request(req: IncomingMessage, res: ServerResponse): void {
    const exchange = this.#http?.exchange(req, res)
    if (exchange === undefined || this.#onRequest === null) return void res.destroy()
    this.#onRequest(exchange.request, exchange.response)
    // A body that nobody reads would never end, and its request be ended for that.
    if (!req.readableFlowing) req.resume()
  }

  #upgrade(req: IncomingMessage, stream: Duplex, head: Buffer, handlers: ListenerHandlers<State>): void {
    // A client may vanish between its request and our answer.
    stream.on('error', () => stream.destroy())
    const request = new NodeRequest(req, null)
    if (request.path !== this.#options.websocketPath) {
      // It may be for a library that has attached itself.
      if (this.#server.listenerCount('upgrade') > 1) return
      return refuse(stream, 404, '{"error":{"code":"not_found"}}')
    }
    const verdict = handlers.onUpgrade(request)
    if (!verdict.accept) return refuse(stream, verdict.status, verdict.body)
    if (verdict.protocol !== undefined) this.#chosen.set(req, verdict.protocol)
    this.#engine.handleUpgrade(req, stream, head, (native) => {
      const socket = new NodeSocket(verdict.state, native, this.#options.hardBufferBytes, this.#topics)
      this.#sockets.add(socket)
      native.on('message', (data: RawData, isBinary: boolean) => {
        socket.heard()
        if (!socket.closing) handlers.onMessage(socket, isBinary ? null : (data as Buffer).toString('utf8'))
      })
      native.on('pong', () => socket.heard())
      native.on('ping', () => socket.heard())
      // ws closes by itself after an error (1002, 1007, 1009): `close` follows with the code.
      native.on('error', () => socket.heard())
      native.on('close', (code: number) => {
        this.#sockets.delete(socket)
        socket.closed()
        handlers.onClose(socket, code)
      })
      // Not the stream's `drain`: that comes only after more has waited than its own mark.
      socket.onSent = () => handlers.onDrain(socket)
      socket.onDropped = () => handlers.onDropped(socket)
      handlers.onOpen(socket)
    })
  }

  #checkIdle(): void {
    const now = performance.now()
    for (const socket of this.#sockets) socket.checkIdle(now, this.#options)
  }
}

/**
 * Requests that offer another upgrade (h2c, as some HTTP clients always do) are requests like any other. Node before
 * 22.21 and 24.9 does not know the option, and hands every upgrade to the handler of upgrades.
 */
const WEBSOCKETS_ONLY: object = {
  shouldUpgradeCallback: (req: IncomingMessage) => req.headers.upgrade?.toLowerCase() === 'websocket',
}

const TEXT = { binary: false }

/** How long the head of a request may take, as with uWS. */
const HEADERS_MS = 10_000

const CLIENT_ERRORS: Readonly<Record<string, number>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_HEADER_OVERFLOW: 431,
}

/** How long a peer may take to answer our close frame. */
const CLOSE_MS = 10_000

class NodeSocket<State> implements Socket<State> {
  readonly state: State
  readonly #native: WebSocket
  readonly #hardBytes: number
  readonly #index: Map<string, Set<NodeSocket<State>>>
  readonly #topics = new Set<string>()
  #heardAt = performance.now()
  #pingedAt = 0
  closing = false
  onDropped: () => void = () => undefined
  /** What was given to `ws` has left. One function for all frames: streams tell of many of them at once. */
  onSent: () => void = () => undefined

  constructor(
    state: State,
    native: WebSocket,
    hardBytes: number,
    index: Map<string, Set<NodeSocket<State>>>,
  ) {
    this.state = state
    this.#native = native
    this.#hardBytes = hardBytes
    this.#index = index
  }

  get bufferedBytes(): number {
    return this.#native.bufferedAmount
  }

  send(text: string): boolean {
    return this.deliver(Buffer.from(text))
  }

  /** False when the frame was dropped: the buffer is over the hard limit. */
  deliver(frame: Buffer): boolean {
    if (this.closing || this.#native.readyState !== WebSocket.OPEN) return false
    if (this.#native.bufferedAmount > this.#hardBytes) {
      this.onDropped()
      return false
    }
    this.#native.send(frame, TEXT, this.onSent)
    return true
  }

  cork(write: () => void): void {
    write()
  }

  join(topic: string): void {
    if (this.closing) return
    this.#topics.add(topic)
    const sockets = this.#index.get(topic)
    if (sockets === undefined) this.#index.set(topic, new Set([this]))
    else sockets.add(this)
  }

  leave(topic: string): void {
    if (!this.#topics.delete(topic)) return
    const sockets = this.#index.get(topic)
    sockets?.delete(this)
    if (sockets?.size === 0) this.#index.delete(topic)
  }

  publishToOthers(topic: string, text: string): void {
    const frame = Buffer.from(text)
    for (const socket of this.#index.get(topic) ?? []) if (socket !== this) socket.deliver(frame)
  }

  close(code: number, reason: string): void {
    if (this.closing) return
    this.closed()
    this.#native.close(code, reason)
    setTimeout(() => this.#native.terminate(), CLOSE_MS).unref()
  }

  terminate(): void {
    this.#native.terminate()
  }

  /** Takes the socket off its topics; nothing is delivered any more. */
  closed(): void {
    this.closing = true
    for (const topic of [...this.#topics]) this.leave(topic)
  }

  heard(): void {
    this.#heardAt = performance.now()
    this.#pingedAt = 0
  }

  checkIdle(now: number, { pingMs, pongMs }: ListenerOptions): void {
    if (this.#pingedAt !== 0 && now - this.#pingedAt >= pongMs) return this.terminate()
    if (this.#pingedAt === 0 && now - this.#heardAt >= pingMs && this.#native.readyState === WebSocket.OPEN) {
      this.#pingedAt = now
      this.#native.ping()
    }
  }
}

function refuse(stream: Duplex, status: number, body: string): void {
  const reason = STATUS_CODES[status] ?? 'Status'
  endWith(
    stream,
    `HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

/**
 * Says the last words and lets go. The server's sockets are half-open by design: a peer that never closes would keep
 * its own for ever, and no limit counts it.
 */
function endWith(stream: Duplex, text: string): void {
  stream.end(text, () => stream.destroy())
  setTimeout(() => stream.destroy(), CLOSE_MS).unref()
}
