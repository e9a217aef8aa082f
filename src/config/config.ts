import type { Retention } from '../journal/journal.ts'
import type { SignalsConfig } from './signals-config.ts'

/** What an ACTIONS value may be: a path, a package, `path#export`, or the function or definition itself. */
export type ModuleReference = string | object | ((...args: never[]) => unknown)

/** Who may subscribe to a subsystem's channels or publish to them. `hook`: its `subscribe` hook alone says. */
export type Access = 'public' | 'authenticated' | 'user' | 'none' | 'hook'

/** The policy of one subsystem's channels. */
export interface ChannelPolicy {
  /** `user`: the channel's rest must be the user's own id. */
  readonly access: Access
  readonly publish: Exclude<Access, 'hook'>
  /** Journaled when given, transient when null. */
  readonly history: Retention | null
  /** Journaled, and kept for each user until confirmed. */
  readonly mailbox: boolean
  /** Transient: the field of the data whose latest value is all that a client which fell behind gets; null: none. */
  readonly conflate: string | null
  /** Who is there is known; null: it is not. */
  readonly presence: PresencePolicy | null
  /** It runs per database: these are the ones, and channels are `<subsystem>:<database>:<rest>`. */
  readonly databases?: DatabaseNames
}

/** The databases by name. */
export interface DatabaseNames {
  /** The one that holds the journal; null without a database. */
  readonly home: string | null
  readonly further: readonly string[]
}

/** How presence is kept on a subsystem's channels. */
export interface PresencePolicy {
  /** One entry a connection, or a user. */
  readonly by: 'session' | 'user'
  /** Whether those on a channel are told who comes and leaves. */
  readonly events: boolean
  /** Who comes back within this time has not left. */
  readonly leaveAfterMs: number
}

export interface PostgresConfig {
  readonly url: string
  /** URL of the LISTEN connection where it differs (a pooler in between). @default url */
  readonly listenUrl: string
  readonly minConnections: number
  readonly maxConnections: number
  /** Idle connections above the minimum close after this time. */
  readonly cleanupTimeoutMs: number
  /** Further databases of the same server, by name; each has its own pool and its own LISTEN. */
  readonly databases: readonly string[]
  /** Whether the journal's NOTIFYs carry the publications, or their positions only; null: as the database has it. */
  readonly notify: 'data' | 'positions' | null
}

export interface EmbeddedConfig {
  /** Where data, password and log are kept. */
  readonly directory: string
  readonly minConnections: number
  readonly maxConnections: number
  readonly cleanupTimeoutMs: number
  /** Further databases that it has, made where they are missing. */
  readonly databases: readonly string[]
  readonly notify: 'data' | 'positions' | null
}

export interface BrokerConfig {
  readonly url: string
  /** The topic exchange; `<exchange>.dead` takes what can't be handled. */
  readonly exchange: string
  /** Unacknowledged deliveries a subsystem's queue may have at this node. */
  readonly prefetch: number
  /** Attempts at one message before it is dead-lettered. */
  readonly maxAttempts: number
}

export interface JwtConfig {
  readonly secret?: string
  readonly publicKey?: string
  readonly jwksUrl?: string
  readonly algorithms: readonly string[]
  readonly audience?: string
  readonly issuer?: string
}

/** The application that says whose a request's credentials are. */
export interface AuthUrlConfig {
  readonly url: string
  /** In lower case. */
  readonly headers: readonly string[]
  /** Null: all. */
  readonly cookies: readonly string[] | null
  readonly timeoutMs: number
  readonly cacheMs: number
  /** `Infinity`: never. */
  readonly recheckMs: number
  readonly concurrency: number
}

export interface AuthConfig {
  /** Empty: no tokens are checked. */
  readonly jwt: readonly JwtConfig[]
  readonly url: AuthUrlConfig | null
  /** In lower case: where a trusted proxy names the user. */
  readonly header: string | null
  /** Nothing but `authenticate` and `ping` is accepted before a user is known. */
  readonly required: boolean
  /** The cookie that may hold the token. */
  readonly cookie: string | null
}

/** Limits; every one counts what it refuses. */
export interface Limits {
  /** A client's message. */
  readonly frameBytes: number
  /** A publication's data, and an HTTP body. */
  readonly publicationBytes: number
  readonly subscriptions: number
  /** Characters of a channel's name. */
  readonly channelLength: number
  /** Calls and publications of one connection a second, and the burst that it may save up. */
  readonly callsPerSecond: number
  readonly callBurst: number
  /** The same for all connections of one user on this node together; null: no limit. */
  readonly userCallsPerSecond: number | null
  readonly userCallBurst: number | null
  /** Frames of any kind of one connection a second. */
  readonly framesPerSecond: number
  /** Calls of one connection under way at once. */
  readonly pendingCalls: number
  /** Bytes that may wait for a slow client before it is closed with 4450. */
  readonly bufferBytes: number
  readonly connections: number
  /** Loopback peers are spared while no `trustedProxies` are named. */
  readonly connectionsPerAddress: number
  readonly authenticationMs: number
  /** An action's deadline where it names none. */
  readonly callMs: number
  /** What an action answers, as JSON. */
  readonly replyBytes: number
  /** How long a module may hold up the event loop before it is named. */
  readonly blockMs: number
  /** Messages and bytes of the first answer to a recovering subscription. */
  readonly recoveryMessages: number
  readonly recoveryBytes: number
  /** Memory of the recent publications, all channels together. */
  readonly windowBytes: number
  /** How long an idempotency key is remembered, and how many are. */
  readonly idempotencyMs: number
  readonly idempotencyKeys: number
  /** How long a request's body may take, and how long a streamed answer's client may take nothing of what waits. */
  readonly bodyMs: number
  readonly stallMs: number
  /** How long a publication may wait for a journal that can't be reached, before its publisher is told. */
  readonly publishMs: number
  /** Different values of `conflate` that are kept of one channel. */
  readonly conflateKeys: number
  /** Events of one connection that wait for the client's answer, and for how long where nothing is said. */
  readonly pendingAcks: number
  readonly ackMs: number
  /** Clients on a channel up to which they are told who comes and leaves. */
  readonly presenceEvents: number
  /** Entries of presence that are kept of one other node. */
  readonly presenceEntries: number
}

export interface ApiConfig {
  readonly keys: readonly string[]
  /** Whether a program on this machine may publish without a key. */
  readonly loopback: boolean
}

/** Actions over HTTP. */
export interface CallsConfig {
  /** `POST <prefix>/<subsystem>/<action>`. */
  readonly prefix: string
  /** Further addresses: actions by path. */
  readonly aliases: ReadonlyMap<string, string>
  /** Those answer with the result alone. */
  readonly plain: boolean
}

/** Socket.IO clients; every subsystem is a namespace of its name. */
export interface SocketIoConfig {
  readonly path: string
  /** Further namespaces, and other subsystems behind them; `/` is no subsystem where it is not among them. */
  readonly namespaces: ReadonlyMap<string, string>
  readonly transports: readonly ('polling' | 'websocket')[]
  /** How often the server pings, and how long an answer may take. Null: as for all clients. */
  readonly pingMs: number | null
  readonly pongMs: number | null
  /** A packet of a client. Null: `limits.frameBytes`. */
  readonly maxPayloadBytes: number | null
  /** How long a connection may be in no namespace. Null: `limits.authenticationMs`. */
  readonly connectMs: number | null
  /** Whether an action's result that is a list is given to the client's callback as its several arguments. */
  readonly spread: boolean
}

/** Engine.IO clients without Socket.IO on top. */
export interface EngineIoConfig extends Pick<
  SocketIoConfig,
  'path' | 'transports' | 'pingMs' | 'pongMs' | 'maxPayloadBytes'
> {
  /** Whose clients' messages are their own; null: each message is one frame of the protocol. */
  readonly subsystem: string | null
}

/** The addresses that pages of the predecessors ask at, and the names on which their publishers NOTIFY. */
export interface PredecessorsConfig {
  /** `cid=5` is channel `<subsystem>:5`. */
  readonly subsystem: string
  readonly addresses: boolean
  readonly notify: readonly string[]
}

export type HookName = 'authenticate' | 'connect' | 'disconnect' | 'message' | 'call' | 'start'

/** The resolved configuration: every value there, every unit the same, every path absolute. */
export interface Config {
  /** The file it came from; null for an object given to the API. */
  readonly file: string | null
  /** The folder that relative paths start from. */
  readonly root: string
  readonly host: string
  readonly port: number
  /** A unix socket to listen on in place of host and port. */
  readonly socket: string | null
  readonly ACTIONS: Readonly<Record<string, Readonly<Record<string, ModuleReference>>>>
  readonly hooks: Readonly<Partial<Record<HookName, ModuleReference>>>
  /** The policy of every subsystem, those that the config says nothing of included. */
  readonly channels: ReadonlyMap<string, ChannelPolicy>
  readonly journal: 'memory' | 'postgres' | 'rabbitmq'
  /** Processes on this port. */
  readonly workers: number
  readonly postgres: PostgresConfig | EmbeddedConfig | null
  readonly databases: DatabaseNames
  readonly broker: BrokerConfig | null
  readonly auth: AuthConfig
  /** Allowed origins beside the host's own; `*` allows all. */
  readonly origins: readonly string[]
  readonly api: ApiConfig
  readonly calls: CallsConfig
  /** The functions that an iframe's page may have called. */
  readonly streamCallbacks: readonly string[]
  readonly limits: Limits
  readonly signals: SignalsConfig
  /** Null: neither the predecessors' addresses are served, nor their publishers heard. */
  readonly predecessors: PredecessorsConfig | null
  readonly trustedProxies: readonly string[]
  readonly listener: 'auto' | 'uws' | 'node'
  readonly compression: boolean
  /** Null: Socket.IO is not served. */
  readonly socketio: SocketIoConfig | null
  /** Null: Engine.IO alone is not served. */
  readonly engineio: EngineIoConfig | null
  readonly pingMs: number
  readonly pongMs: number
  /** Deadline of a graceful stop. */
  readonly stopMs: number
  readonly dev: boolean
  readonly log: { readonly level: string }
}

export function isEmbedded(postgres: PostgresConfig | EmbeddedConfig): postgres is EmbeddedConfig {
  return 'directory' in postgres
}
