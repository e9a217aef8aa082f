import { LivemessageError } from '../errors.ts'
import { explainListenFailure, removeStaleSocket } from './address.ts'
import type { Address, Engine, Listener, ListenerHandlers, ListenerOptions, Socket } from './listener.ts'
import { MAX_HEADER_BYTES } from './limits.ts'
import { UwsHttp } from './uws-http.ts'
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
  // The binary reads it once, when it is loaded; its own 4 KiB are less than the cookies of many a page.
  process.env['UWS_HTTP_MAX_HEADERS_SIZE'] ??= String(MAX_HEADER_BYTES)
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
  #http: UwsHttp | null = null
  #token: us_listen_socket | null = null

  constructor(uws: Uws, options: ListenerOptions) {
    this.#uws = uws
    this.#options = options
    this.#app = uws.App()
  }

  get engine(): Engine {
    return { kind: 'uws', app: this.#app }
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
    this.#http?.stop()
    return Promise.resolve()
  }

  #route(handlers: ListenerHandlers<State>): void {
    const http = (this.#http = new UwsHttp(this.#options, handlers))
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
      upgrade: (res, req, context) => this.#upgrade(http, res, req, context, handlers),
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
    this.#app.any('/*', (res, req) => {
      const { request, response } = http.exchange(res, req)
      handlers.onRequest(request, response)
    })
  }

  #upgrade(
    http: UwsHttp,
    res: HttpResponse,
    req: HttpRequest,
    context: Parameters<HttpResponse['upgrade']>[4],
    handlers: ListenerHandlers<State>,
  ): void {
    const { request, response } = http.exchange(res, req)
    const verdict = handlers.onUpgrade(request)
    if (!verdict.accept) return response.reply(verdict.status, JSON_HEADERS, verdict.body)
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
