import type { Server } from 'node:http'

/** A request of HTTP. Everything but `readBody` is valid only until the handler returns: copy first. */
export interface Request {
  readonly method: string
  /** The path without the query, as sent. */
  readonly path: string
  /** The raw query without `?`. */
  readonly query: string
  /** The peer's address as text: `127.0.0.1`, `::1`; empty on a unix socket. */
  readonly address: string
  /**
   * The address that a PROXY protocol header (version 2) named before the request, if one did: anyone's word. Only uWS
   * knows such headers; node:http answers them with 400.
   */
  readonly proxiedAddress: string
  /** One header, its name in lower case; empty when absent. */
  header(name: string): string
  eachHeader(visit: (name: string, value: string) => void): void
  /**
   * Reads the body: called once, before the handler returns. `done` gets the bytes, or null when the body
   * is larger than `limitBytes`; it is never called when the client goes away. The bytes are valid until `done` returns:
   * uWS detaches them. Copy what is kept.
   */
  readBody(limitBytes: number, done: (body: Buffer | null) => void): void
}

export interface Response {
  /** The client has gone, or the answer was given or begun: nothing can be sent. */
  readonly done: boolean
  /**
   * Sends the whole answer; nothing happens when `done`. 204 and 304 have no body, whatever is given, nor has the
   * answer to HEAD, whose Content-Length is the body's. `Connection: close` among the headers ends the connection of
   * an answer with a body.
   */
  reply(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void
  /**
   * Called once if the client goes away before the answer was given or begun: never within `reply`, `stream` or
   * `onAbort` itself. At most one handler; given to a `Response` that is `done`, it is never called.
   */
  onAbort(handler: () => void): void
  /**
   * Begins an answer without a length; null when `done`. The head leaves with what is written in the same turn, or
   * alone, with the filler, at its end. To HEAD it is the whole answer: the stream that comes back has ended, and its
   * `onClose` follows.
   * @param filler what means nothing in this format (a newline between events). uWS needs something to write where
   *   there is nothing to say: the end of its head and of its every chunk leave only with the next one. Without a
   *   filler the head waits for the first write, and clients that want whole chunks (Python's requests) get each
   *   message only with the next one.
   */
  stream(
    status: number,
    headers: Readonly<Record<string, string>>,
    handlers: StreamHandlers,
    filler?: Uint8Array,
  ): ResponseStream | null
}

export interface StreamHandlers {
  /** What was buffered has left, wholly or in part. Not after the end. */
  onDrain(): void
  /**
   * The client has gone, or the engine has got all of an ended answer: called once, and never within a call of the
   * stream's own methods.
   */
  onClose(): void
}

/** An answer under way. After `end`, `terminate` or the client's going, every method is a harmless no-op. */
export interface ResponseStream {
  /**
   * Bytes that wait for the client, here and in the engine, without what the system's own socket buffer holds. uWS
   * doesn't tell how much of what it was given last is left: that counts whole.
   */
  readonly bufferedBytes: number
  /**
   * Sends bytes, at once if nothing waits. Nothing bounds what waits: the caller looks at `bufferedBytes`. The bytes
   * may be shared by any number of streams and are kept until they have left: nobody may change them.
   */
  write(bytes: Uint8Array): void
  /** Runs writes so that they leave together. */
  cork(work: () => void): void
  /** Ends the answer; what waits goes first. */
  end(): void
  /** Cuts the connection: what waits is lost. */
  terminate(): void
}

/** One WebSocket, as the listener sees it. After `onClose` every method is a harmless no-op. */
export interface Socket<State> {
  /** Whatever the transport keeps for this socket; given at the upgrade. */
  readonly state: State
  /** Bytes that wait for the client. */
  readonly bufferedBytes: number
  /** Sends a text frame. False when it was dropped: the buffer is over the hard limit. */
  send(text: string): boolean
  /** Runs `send`s so that they leave in one write. */
  cork(write: () => void): void
  /** Joins a topic: from now on, and not a frame earlier, what is published there comes to this socket. */
  join(topic: string): void
  leave(topic: string): void
  /** Publishes to all on the topic but this socket. */
  publishToOthers(topic: string, text: string): void
  /** Says good-bye with a close frame; whatever is buffered goes first. No further message is handled. */
  close(code: number, reason: string): void
  /** Ends the connection without a close frame. */
  terminate(): void
}

/** What the upgrade of a request to a WebSocket becomes. */
export type Upgrade<State> =
  | { readonly accept: true; readonly state: State; readonly protocol?: string }
  | { readonly accept: false; readonly status: number; readonly body: string }

export interface ListenerHandlers<State> {
  /** Every request that is no upgrade of `websocketPath`. */
  onRequest(request: Request, response: Response): void
  /** Decides at once: what needs a database or a module is asked after the upgrade. */
  onUpgrade(request: Request): Upgrade<State>
  onOpen(socket: Socket<State>): void
  /** A complete text message; null when it was binary. */
  onMessage(socket: Socket<State>, text: string | null): void
  /** A dropped frame: the hard limit was reached, nothing may be sent on this socket again. */
  onDropped(socket: Socket<State>): void
  /** What was buffered has left, wholly or in part. */
  onDrain(socket: Socket<State>): void
  onClose(socket: Socket<State>, code: number): void
  /**
   * A request that the listener answered itself with this status (400, 408, 431), as far as the engine tells of it:
   * uWS says nothing of 400 and 431.
   */
  onRefused?(status: number): void
}

export interface ListenerOptions {
  readonly websocketPath: string
  /** The longest message of a client; a longer one closes with 1009. */
  readonly maxFrameBytes: number
  /** The hard limit of a socket's buffer: what would go over it is dropped, and `onDropped` called. */
  readonly hardBufferBytes: number
  /** Idle time after which the server sends a WebSocket ping. */
  readonly pingMs: number
  /** How long an answer to it may take. */
  readonly pongMs: number
  /** permessage-deflate. */
  readonly compression: boolean
  /**
   * How long a request's body may take: then, up to a quarter later, it is answered with 408 and its connection cut.
   * uWS itself cuts a body that only drips, and without an answer, after 8 to 12 s. @default 30000
   */
  readonly bodyMs?: number
  /**
   * How long a client may take nothing of what waits on its `ResponseStream`: then it is cut, up to a quarter later.
   * uWS does so by itself after 8 to 12 s. @default 10000
   */
  readonly stallMs?: number
  /** Whether the other workers of the same primary listen there too. @default false: nobody else may */
  readonly shared?: boolean
}

export type Address = { readonly host: string; readonly port: number } | { readonly socket: string }

/** What a listener runs on. `app` is a `TemplatedApp` of uWebSockets.js, which need not be installed. */
export type Engine =
  { readonly kind: 'uws'; readonly app: unknown } | { readonly kind: 'node'; readonly server: Server }

/** The HTTP and WebSocket engine under the transports. */
export interface Listener<State> {
  readonly kind: 'uws' | 'node'
  /** For a library that attaches itself (Socket.IO): before `listen`, whose routes it then shares. */
  readonly engine: Engine
  /**
   * Resolves with the address that it really listens on (`port: 0` takes a free one).
   * @throws {LivemessageError} PORT_TAKEN, ADDRESS_UNAVAILABLE
   */
  listen(address: Address, handlers: ListenerHandlers<State>): Promise<Address>
  /** Sends a text frame to every socket on the topic: one call, one encoding, whatever their number. */
  publish(topic: string, text: string): void
  /** How many sockets are on the topic. */
  subscribers(topic: string): number
  /** No new connections; open ones go on. */
  stopAccepting(): void
  /** Ends whatever is still open. Idempotent. */
  close(): Promise<void>
}
