/** A request of HTTP. Everything but `readBody` is valid only until the handler returns: copy first. */
export interface Request {
  readonly method: string
  /** The path without the query, as sent. */
  readonly path: string
  /** The raw query without `?`. */
  readonly query: string
  /** The peer's address as text: `127.0.0.1`, `::1`; empty on a unix socket. */
  readonly address: string
  /** The address that a PROXY protocol header named before the request, if one did: anyone's word. */
  readonly proxiedAddress: string
  /** One header, its name in lower case; empty when absent. */
  header(name: string): string
  eachHeader(visit: (name: string, value: string) => void): void
  /**
   * Reads the body: called once, before the handler returns. `done` gets the bytes, or null when the body
   * is larger than `limitBytes`; it is never called when the client goes away. The bytes are the caller's.
   */
  readBody(limitBytes: number, done: (body: Buffer | null) => void): void
}

export interface Response {
  /** The client has gone, or the answer was given: nothing can be sent. */
  readonly done: boolean
  /** Sends the whole answer; nothing happens when `done`. */
  reply(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void
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
  /** Whether the other workers of the same primary listen there too. @default false: nobody else may */
  readonly shared?: boolean
}

export type Address = { readonly host: string; readonly port: number } | { readonly socket: string }

/** The HTTP and WebSocket engine under the transports. */
export interface Listener<State> {
  readonly kind: 'uws' | 'node'
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
