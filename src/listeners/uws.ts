import { LivemessageError } from '../errors.ts'
import { explainListenFailure, removeStaleSocket } from './address.ts'
import type {
  Address,
  Listener,
  ListenerHandlers,
  ListenerOptions,
  Request,
  Response,
  Socket,
} from './listener.ts'
import type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  us_listen_socket,
  WebSocket as NativeSocket,
} from 'uWebSockets.js'

/** The part of the module that is used: its own types leave out the constants. */
export interface Uws {
  App(): TemplatedApp
  us_listen_socket_close(token: us_listen_socket): void
  us_socket_local_port(token: us_listen_socket): number
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number
  readonly SHARED_COMPRESSOR: number
  readonly DISABLED: number
}

/** The engine's module; null where it has no binary for this Node. */
export async function loadUws(): Promise<Uws | null> {
  try {
    const module = (await import('uWebSockets.js')) as unknown as Uws & { default?: Uws }
    // The repack is an ES module, the official package CommonJS.
    return typeof module.App === 'function' ? module : (module.default ?? null)
  } catch (error) {
    if (isMissingBinary(error)) return null
    throw error
  }
}

/** Listener on uWebSockets.js: its topics carry the fan-out. */
export class UwsListener<State> implements Listener<State> {
  readonly kind = 'uws'
  readonly #uws: Uws
  readonly #app: TemplatedApp
  readonly #options: ListenerOptions
  #token: us_listen_socket | null = null

  constructor(uws: Uws, options: ListenerOptions) {
    this.#uws = uws
    this.#options = options
    this.#app = uws.App()
  }

  async listen(address: Address, handlers: ListenerHandlers<State>): Promise<Address> {
    if ('socket' in address) await removeStaleSocket(address.socket)
    this.#route(handlers)
    const token = await new Promise<us_listen_socket | false>((resolve) => {
      if ('socket' in address) this.#app.listen_unix(resolve, address.socket)
      // SO_REUSEPORT, its default: the kernel spreads connections over all who listen so.
      else if (this.#options.shared === true) this.#app.listen(address.host, address.port, resolve)
      // Exclusive: a second daemon would otherwise silently take half of the clients.
      else listenExclusively(this.#app, address, this.#uws.LIBUS_LISTEN_EXCLUSIVE_PORT, resolve)
    })
    if (token === false) throw await explainListenFailure(address)
    this.#token = token
    return 'socket' in address ? address : { host: address.host, port: this.#uws.us_socket_local_port(token) }
  }

  publish(topic: string, text: string): void {
    this.#app.publish(topic, text, false, this.#options.compression)
  }

  subscribers(topic: string): number {
    return this.#app.numSubscribers(topic)
  }

  stopAccepting(): void {
    if (this.#token !== null) this.#uws.us_listen_socket_close(this.#token)
    this.#token = null
  }

  close(): Promise<void> {
    this.#token = null
    this.#app.close()
    return Promise.resolve()
  }

  #route(handlers: ListenerHandlers<State>): void {
    const { compression, maxFrameBytes, hardBufferBytes, pingMs, pongMs } = this.#options
    this.#app.ws<Carrier<State>>(this.#options.websocketPath, {
      compression: compression ? this.#uws.SHARED_COMPRESSOR : this.#uws.DISABLED,
      // Over this uWS ends the connection without a word (1006). Up to it we answer with 1009 ourselves. It is
      // also what anybody may make us hold for one connection, by a message that never ends.
      maxPayloadLength: 2 * maxFrameBytes,
      maxBackpressure: hardBufferBytes,
      closeOnBackpressureLimit: false,
      // uWS pings after idleTimeout less a margin of 4, 8 or 16 s, and closes when the margin is over.
      idleTimeout: clampIdle(Math.round((pingMs + pongMs) / 1000)),
      sendPingsAutomatically: true,
      upgrade: (res, req, context) => this.#upgrade(res, req, context, handlers),
      open: (native) => {
        socketOf(native).open(native, compression)
        handlers.onOpen(socketOf(native))
      },
      message: (native, message, isBinary) => {
        if (isBinary) handlers.onMessage(socketOf(native), null)
        else if (message.byteLength > maxFrameBytes) socketOf(native).close(1009, 'frame too big')
        else handlers.onMessage(socketOf(native), Buffer.from(message).toString('utf8'))
      },
      dropped: (native) => handlers.onDropped(socketOf(native)),
      drain: (native) => handlers.onDrain(socketOf(native)),
      close: (native, code) => {
        socketOf(native).closed()
        handlers.onClose(socketOf(native), code)
      },
    })
    this.#app.any('/*', (res, req) => handlers.onRequest(new UwsRequest(res, req), new UwsResponse(res)))
  }

  #upgrade(
    res: HttpResponse,
    req: HttpRequest,
    context: Parameters<HttpResponse['upgrade']>[4],
    handlers: ListenerHandlers<State>,
  ): void {
    const verdict = handlers.onUpgrade(new UwsRequest(res, req))
    if (!verdict.accept) {
      new UwsResponse(res).reply(verdict.status, JSON_HEADERS, verdict.body)
      return
    }
    res.upgrade<Carrier<State>>(
      { socket: new UwsSocket(verdict.state) },
      req.getHeader('sec-websocket-key'),
      verdict.protocol ?? '',
      req.getHeader('sec-websocket-extensions'),
      context,
    )
  }
}

const JSON_HEADERS = { 'Content-Type': 'application/json' }

interface Carrier<State> {
  readonly socket: UwsSocket<State>
}

/** uWS copies what the upgrade was given onto the socket's own object, which its types don't say. */
function socketOf<State>(native: NativeSocket<Carrier<State>>): UwsSocket<State> {
  return (native as NativeSocket<Carrier<State>> & Carrier<State>).socket
}

class UwsSocket<State> implements Socket<State> {
  readonly state: State
  #native: NativeSocket<Carrier<State>> | null = null
  #compress = false

  constructor(state: State) {
    this.state = state
  }

  get bufferedBytes(): number {
    return this.#native === null ? 0 : this.#native.getBufferedAmount()
  }

  open(native: NativeSocket<Carrier<State>>, compress: boolean): void {
    this.#native = native
    this.#compress = compress
  }

  closed(): void {
    this.#native = null
  }

  send(text: string): boolean {
    return this.#native !== null && this.#native.send(text, false, this.#compress) !== DROPPED
  }

  cork(write: () => void): void {
    this.#native?.cork(write)
  }

  join(topic: string): void {
    this.#native?.subscribe(topic)
  }

  leave(topic: string): void {
    this.#native?.unsubscribe(topic)
  }

  publishToOthers(topic: string, text: string): void {
    this.#native?.publish(topic, text, false, this.#compress)
  }

  close(code: number, reason: string): void {
    this.#native?.end(code, reason)
  }

  terminate(): void {
    this.#native?.close()
  }
}

/** What uWS's `send` answers for a frame over the limit. */
const DROPPED = 2

// uWS invalidates `req` when the route handler returns: whatever is needed later must be read before.
class UwsRequest implements Request {
  readonly #res: HttpResponse
  readonly #req: HttpRequest

  constructor(res: HttpResponse, req: HttpRequest) {
    this.#res = res
    this.#req = req
  }

  get method(): string {
    return this.#req.getCaseSensitiveMethod()
  }

  get path(): string {
    return this.#req.getUrl()
  }

  get query(): string {
    return this.#req.getQuery() ?? ''
  }

  get address(): string {
    return addressText(this.#res.getRemoteAddress())
  }

  // uWS takes a PROXY v2 header from anyone, and goes on giving the peer's own address.
  get proxiedAddress(): string {
    return addressText(this.#res.getProxiedRemoteAddress())
  }

  header(name: string): string {
    return this.#req.getHeader(name)
  }

  eachHeader(visit: (name: string, value: string) => void): void {
    this.#req.forEach(visit)
  }

  readBody(limitBytes: number, done: (body: Buffer | null) => void): void {
    let parts: Buffer[] | null = null
    let size = 0
    this.#res.onData((chunk, isLast) => {
      size += chunk.byteLength
      if (size > limitBytes) {
        // The rest is read and forgotten: an answer before its end would be lost on clients that only write.
        parts = null
        if (size - chunk.byteLength <= limitBytes) done(null)
        return
      }
      if (isLast && parts === null) return done(Buffer.from(chunk))
      // The chunk is detached when this callback returns: copied.
      parts ??= []
      parts.push(Buffer.from(Buffer.from(chunk)))
      if (isLast) done(Buffer.concat(parts, size))
    })
  }
}

class UwsResponse implements Response {
  readonly #res: HttpResponse
  #done = false

  constructor(res: HttpResponse) {
    this.#res = res
    res.onAborted(() => {
      this.#done = true
    })
  }

  get done(): boolean {
    return this.#done
  }

  reply(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void {
    if (this.#done) return
    this.#done = true
    this.#res.cork(() => {
      if (status !== 200) this.#res.writeStatus(statusLine(status))
      for (const name in headers) this.#res.writeHeader(name, headers[name]!)
      this.#res.end(body, headers['Connection'] === 'close')
    })
  }
}

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  204: 'No Content',
  302: 'Found',
  304: 'Not Modified',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  409: 'Conflict',
  413: 'Content Too Large',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

function statusLine(status: number): string {
  return `${status} ${REASONS[status] ?? 'Status'}`
}

/** An address of 4 or 16 bytes as text; empty where there is none (a unix socket). */
function addressText(bytes: ArrayBuffer): string {
  const view = new Uint8Array(bytes)
  if (view.length === 4) return `${view[0]}.${view[1]}.${view[2]}.${view[3]}`
  if (view.length !== 16) return ''
  if (isMappedV4(view)) return `${view[12]}.${view[13]}.${view[14]}.${view[15]}`
  const groups: string[] = []
  for (let index = 0; index < 16; index += 2)
    groups.push(((view[index]! << 8) | view[index + 1]!).toString(16))
  // The shortest spelling, so that ::1 compares as such.
  const text = new URL(`http://[${groups.join(':')}]`).hostname
  return text.slice(1, -1)
}

function isMappedV4(view: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (view[index] !== 0) return false
  return view[10] === 255 && view[11] === 255
}

/** uWS accepts 8 to 960 s, or 0 for never. */
function clampIdle(seconds: number): number {
  return Math.min(960, Math.max(8, seconds))
}

type ExclusiveListen = (
  host: string,
  port: number,
  options: number,
  done: (token: us_listen_socket | false) => void,
) => TemplatedApp

/** The native function takes host, port and options together, which its types don't say. */
function listenExclusively(
  app: TemplatedApp,
  address: { host: string; port: number },
  option: number,
  done: (token: us_listen_socket | false) => void,
): void {
  ;(app.listen as unknown as ExclusiveListen).call(app, address.host, address.port, option, done)
}

function isMissingBinary(error: unknown): boolean {
  const text = error instanceof Error ? error.message : ''
  return /supports only Node\.js|Cannot find (module|package)/.test(text)
}

/** @throws {LivemessageError} LISTENER_UNAVAILABLE */
export function requireUws(uws: Uws | null): Uws {
  if (uws !== null) return uws
  throw new LivemessageError(
    'LISTENER_UNAVAILABLE',
    `listener: 'uws' has no binary for Node ${process.version} on ${process.platform}-${process.arch}; ` +
      `use Node 20 or 22, the official uWebSockets.js (see README), or listener: 'auto'`,
  )
}
