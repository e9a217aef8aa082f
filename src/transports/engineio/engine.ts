import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'

/*
 * What is used of Engine.IO and of the engines under it, whose own types leave it out or differ by engine.
 */

/** A server of Engine.IO, on either engine. */
export interface EngineServer {
  on(event: 'connection', handler: (conn: EngineSocket) => void): unknown
  /** A request that was refused, with its number among Engine.IO's errors. */
  on(event: 'connection_error', handler: (refused: { readonly code: number }) => void): unknown
  use(middleware: (request: IncomingMessage, response: ServerResponse, next: () => void) => void): void
  /** Sessions by their ids. */
  readonly clients: Readonly<Record<string, EngineSocket>>
  close(): void
}

/** One of node:http. */
export interface NodeEngineServer extends EngineServer {
  attach(server: HttpServer, options: object): void
}

/** One of uWS. */
export interface UwsEngineServer extends EngineServer {
  attach(app: UwsApp, options: object): void
}

/** One Engine.IO connection, whichever way its packets come. */
export interface EngineSocket {
  readonly readyState: 'opening' | 'open' | 'closing' | 'closed'
  readonly transport: EngineTransport
  /** Packets that the transport has not taken yet; another array each time that it takes them. */
  readonly writeBuffer: readonly { readonly data?: string | Buffer }[]
  /** The request that opened it: kept for as long as it lives, unless it is let go. */
  request: EngineRequest | null
  write(data: string | Buffer, options?: object): void
  /** @param discard at once, without a word to a client that polls */
  close(discard?: boolean): void
  on(event: 'upgrade', handler: () => void): void
  /** Whatever came, pongs included; before it is handled. */
  on(event: 'packet', handler: (packet: EnginePacket) => void): void
  on(event: 'close', handler: (reason: string, description?: unknown) => void): void
}

export interface EnginePacket {
  readonly type: string
  /** Left out where it is empty. */
  readonly data?: string | Buffer
}

export interface EngineTransport {
  readonly name: string
  /** False for a client that wants binary data as base64. */
  readonly supportsBinary: boolean
  /** Of polling: how long an ended session waits for a request to say so to, in ms. */
  closeTimeout?: number
  /** Of a WebSocket: uWS's own or that of `ws`. Of uWS: from the upgrade's end on. */
  readonly socket?: NativeSocket | undefined
  once(event: 'ready', handler: () => void): void
}

/** A WebSocket of uWebSockets.js, whose methods throw after its end, or of `ws`. */
export type NativeSocket = UwsSocket | WsSocket

export interface UwsSocket {
  getBufferedAmount(): number
  subscribe(topic: string): boolean
  unsubscribe(topic: string): boolean
  publish(topic: string, message: string | Buffer, isBinary: boolean): boolean
  cork(write: () => void): void
  close(): void
}

export interface WsSocket {
  readonly bufferedAmount: number
  terminate(): void
}

export function isUws(socket: NativeSocket): socket is UwsSocket {
  return 'getBufferedAmount' in socket
}

/** The request of a handshake, of node:http or as Engine.IO makes it for uWS. */
export interface EngineRequest {
  readonly url?: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Of node:http only. */
  readonly rawHeaders?: readonly string[]
  readonly connection: { readonly remoteAddress?: string | undefined }
  /** Of uWS: until the request is answered. */
  readonly res?: { getProxiedRemoteAddressAsText?(): ArrayBuffer } | Readable | null
  /** The parsed query, by Engine.IO. */
  readonly _query?: Readonly<Record<string, string | readonly string[]>>
}

/** What Engine.IO and the fan-out need of uWS's app. */
export interface UwsApp {
  any(path: string, handler: UwsHandler): unknown
  ws(path: string, behavior: object): unknown
  publish(topic: string, message: string | Buffer, isBinary: boolean): boolean
}

export type UwsHandler = (response: { close(): void }, request: unknown) => void
