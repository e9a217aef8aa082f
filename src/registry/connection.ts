/** Whoever is behind a connection. */
export interface User {
  readonly id: string
  /** Shown to others where presence is. */
  readonly info?: unknown
  /** When the token ends; milliseconds since 1970. */
  readonly expires?: number
  /** The database whose user this is, where there are several; user 42 of one is not user 42 of another. @default the home one */
  readonly database?: string
  /** When the token or the session began, milliseconds since 1970: a revocation refuses those that began before it. */
  readonly issued?: number
  /** The token's own id (`jti`), by which it can be revoked alone. */
  readonly token?: string
  /** Channel patterns of the token (`chat:*`) beside the policies. */
  readonly channels?: { readonly subscribe?: readonly string[]; readonly publish?: readonly string[] }
}

/** One client, as actions and hooks see it. */
export interface Connection {
  /** Public name of the connection. */
  readonly session: string
  /** The user's id; null until authenticated. */
  readonly user: string | null
  /** The database whose user it is; null: the home one, or nobody. */
  readonly database: string | null
  readonly info: unknown
  /** The peer's address. */
  readonly address: string
  readonly transport: string
  /** When it came; milliseconds since 1970. */
  readonly since: number
  readonly channels: readonly string[]
  /** Whatever your modules keep for this connection. */
  readonly bag: Map<string, unknown>
  /** Sends an `event` frame with these arguments. False when the client is gone. */
  emit(event: string, ...args: unknown[]): boolean
  /**
   * As `emit`, and resolves with the arguments of the client's answer.
   * @throws {ClientError} timeout; unavailable: the client has gone; limit_exceeded: too many of its answers are waited
   *   for
   */
  emitWithAck(event: string, args?: readonly unknown[], options?: AckOptions): Promise<readonly unknown[]>
  /** Sends an event to all other clients of all nodes. For those of one channel: `context.emit`. */
  broadcast(event: string, ...args: unknown[]): void
  /** Sends a text or a Buffer, as the event `message`. False when the client is gone. */
  send(message: string | Buffer): boolean
  /** Subscribes the client, whatever the channel's policy. */
  subscribe(channel: string): Promise<void>
  unsubscribe(channel: string): void
  /** Closes with 4405, or the code given. */
  disconnect(reason?: string, code?: number): void
}

/** How an answer is waited for. */
export interface AckOptions {
  /** In ms, at most an hour. @default limits.ackMs */
  readonly timeoutMs?: number
}

/** Whom an event goes to, on whichever nodes they are. */
export type EmitTarget =
  | { readonly session: string }
  /** Of the home database, or of that one. */
  | { readonly user: string; readonly database?: string }
  /** All who are subscribed to it. */
  | { readonly channel: string }
  | { readonly all: true }

export interface EmitOptions {
  /** A session that is not to get it; `'me'`: the one for which this module runs. */
  readonly exclude?: string
  /** Waits for the clients' answers. @default false */
  readonly ack?: boolean | AckOptions
}

/** What became of an event. */
export interface Emitted {
  /** How many clients it was sent to. */
  readonly count: number
  /** How many of them answered in time. */
  readonly answered: number
  /** Their answers, the first thousand of them and half a megabyte of each node at the most. */
  readonly acks: readonly EventAck[]
  /** Nodes that did not say in time what they did. */
  readonly missing: readonly string[]
}

/** One client's answer to an event. */
export interface EventAck {
  readonly session: string
  readonly user: string | null
  readonly args: readonly unknown[]
}

/** Who is on a channel: some, and how many there are. */
export interface Present {
  readonly clients: readonly {
    readonly session: string
    readonly user: string | null
    readonly info: unknown
  }[]
  readonly count: number
}

/** The connections of this node. */
export interface Connections extends Iterable<Connection> {
  readonly size: number
  get(session: string): Connection | undefined
  /** All connections of a user. @param database @default the home one */
  of(user: string, database?: string | null): readonly Connection[]
  /** All connections on a channel. */
  on(channel: string): readonly Connection[]
  /** All that are both: `{ user, channel }`. */
  filter(by: ConnectionFilter): readonly Connection[]
}

/** Which connections; what is left out may be anything. */
export interface ConnectionFilter {
  /** Null: those of nobody. */
  readonly user?: string | null
  /** Of which database; null: the home one. @default with `user` the home one, otherwise any */
  readonly database?: string | null
  readonly channel?: string
  readonly transport?: string
}
