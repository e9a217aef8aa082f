import type {
  AuthenticateHook,
  CallHook,
  ConnectHook,
  DisconnectHook,
  MessageHook,
  StartHook,
} from '../registry/define.ts'
import type { ModuleReference } from './config.ts'
import type { Duration, Size } from './units.ts'

/** What a config file exports by default. Every key has a default but `ACTIONS`. */
export interface ConfigInput {
  /**
   * The interface to listen on; `'0.0.0.0'` for all.
   * @default '127.0.0.1'
   */
  host?: string
  /**
   * The port for everything: WebSocket and HTTP. 0 takes a free one.
   * @default 7777
   */
  port?: number
  /** A unix socket to listen on in place of host and port; its path, relative to this file. */
  socket?: string
  /**
   * The subsystems, and in each its actions, its `sender` and its hooks (`subscribe`): a path relative to this
   * file, a package, either with `#export`, or the function or definition itself.
   * @example { messages: { read: './actions/messages/read.ts', sender: './actions/messages/sender.ts' } }
   */
  ACTIONS: Record<string, Record<string, ModuleReference>>
  /** Modules that see every connection, whatever its subsystems. */
  hooks?: HooksInput
  /** The policy of each subsystem's channels, by subsystem; closed when not said. */
  channels?: Record<string, ChannelInput>
  /**
   * Where publications with a history are kept. `postgres`: in the home database; `rabbitmq`: in a stream of the
   * broker, as far as the window in memory reaches; `memory`: in this process, until it ends.
   * @default 'postgres' with a database, otherwise 'memory'
   */
  journal?: 'memory' | 'postgres' | 'rabbitmq'
  /**
   * The home database. `false`: none; `'embedded'`: a server of the daemon's own, which is the default
   * too, except with NODE_ENV=production.
   */
  postgres?: false | 'embedded' | PostgresInput
  /**
   * The RabbitMQ server to consume from.
   * @default false
   */
  broker?: false | BrokerInput
  auth?: AuthInput
  /**
   * Origins that browsers may come from, beside the daemon's own host: `'https://app.example'`; `'*'` allows all.
   * @default []
   */
  origins?: string[]
  api?: ApiInput
  /** Actions over HTTP. */
  calls?: CallsInput
  /** The endless answers of `/stream`. */
  stream?: StreamInput
  limits?: LimitsInput
  /**
   * Serves the predecessors' addresses: `/publish/?cid=`, `/listen/?cid=`, `/get_messages/?channel_id=`,
   * `/messages/?cid=`.
   * @default false
   */
  predecessors?: false | PredecessorsInput
  /**
   * Processes on this port. More than one need a database or a broker between them.
   * @default 1
   */
  workers?: number
  /**
   * Addresses and networks (`'10.0.0.0/8'`) of the proxies whose forwarded addresses are believed; `'unix'`: whoever
   * comes over the unix socket.
   * @default []
   */
  trustedProxies?: string[]
  /**
   * The engine under the transports: uWebSockets.js (`uws`), or `ws` on node:http (`node`). `auto` takes the first
   * where it has a binary for the running Node.
   * @default 'auto'
   */
  listener?: 'auto' | 'uws' | 'node'
  /**
   * Whether clients may compress (permessage-deflate): less traffic for more CPU and memory.
   * @default false
   */
  compression?: boolean
  /**
   * Socket.IO clients, of which each subsystem is a namespace; `false`: they are not served.
   * @default {}
   */
  socketio?: false | SocketIoInput
  /**
   * Engine.IO clients without Socket.IO on top: the whole protocol over long-polling or WebSocket, as the client's
   * library finds them to work. `false`: they are not served.
   * @default false
   */
  engineio?: false | EngineIoInput
  /**
   * How often the server pings a quiet connection.
   * @default '25s'
   */
  ping?: Duration
  /**
   * How long a connection may leave a ping unanswered.
   * @default '16s'
   */
  pong?: Duration
  /**
   * How long a graceful stop may take.
   * @default '10s'
   */
  stop?: Duration
  /**
   * Serves the demo page; only on a loopback interface, not on a `socket`. The flag `--dev` sets it.
   * @default false
   */
  dev?: boolean
  log?: {
    /** @default 'info' */
    level?: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
  }
  /**
   * An INI file with a section `[livemessages]`, relative to this file. What it says counts where this file says
   * nothing.
   * @default 'livemessages.ini' beside this file, where there is one
   */
  ini?: string
}

/** Each a reference as in `ACTIONS`, or the function itself. */
export interface HooksInput {
  /** Who it is, by the handshake's headers and cookies and the token. */
  authenticate?: string | AuthenticateHook
  /** After the welcome: may subscribe the client, or refuse it. */
  connect?: string | ConnectHook
  /** When a connection has ended. */
  disconnect?: string | DisconnectHook
  /** Before every frame of a client. */
  message?: string | MessageHook
  /** Before every action. */
  call?: string | CallHook
  /** Once, when everything listens. */
  start?: string | StartHook
}

/** Who: everybody, whoever is authenticated, the user whose id is the channel's rest, or nobody. */
export type AccessInput = 'public' | 'authenticated' | 'user' | 'none'

/** The policy of one subsystem's channels. */
export interface ChannelInput {
  /**
   * Who may subscribe. With a `subscribe` hook in ACTIONS both must agree: this first, then the hook.
   * @default 'none'; where there is a `subscribe` hook, the hook alone says
   */
  access?: AccessInput
  /**
   * Which clients may publish.
   * @default 'none'
   */
  publish?: AccessInput
  /**
   * `transient`: at most once. `journaled`: with a history, so that clients get what they missed. `mailbox`:
   * journaled, and kept for each user until confirmed, across devices; needs `journal: 'postgres'`.
   * @default 'journaled' with `history`, otherwise 'transient'
   */
  delivery?: 'transient' | 'journaled' | 'mailbox'
  /** How much is kept of each channel: no more than either says. */
  history?: {
    /** @default 1000 */
    count?: number
    /** @default '7d'; of a mailbox '30d' */
    maxAge?: Duration
  }
  /**
   * Whether it is known who is on a channel. True stands for `{ by: 'session' }`.
   * @default false
   */
  presence?: boolean | PresenceInput
  /**
   * For quotes, progress and the like, transient only: of all publications with the same value of this field of
   * their data, the newest stands for the others. New subscribers get the newest of each; so do clients that fell
   * behind, in place of a close with 4450. Data without the field, or with one that is neither text nor number, is
   * not conflated.
   */
  conflate?: string
}

export interface PresenceInput {
  /**
   * One entry a connection, or one a user, whatever the number of tabs: there when the first comes, gone when the last
   * has left. Without a user each connection stands for itself.
   * @default 'session'
   */
  by?: 'session' | 'user'
  /**
   * Whether those on a channel are told who comes and who leaves.
   * @default true
   */
  events?: boolean
  /**
   * Who comes back within this time has not left: a reload of a page is not told then. By session nobody comes back,
   * and each is only told later.
   * @default '5s' by user; by session at once
   */
  leaveAfter?: Duration
}

export interface PostgresInput {
  /** `postgres://user:password@host:5432/database`. Left out: the embedded server. */
  url?: string
  /**
   * The URL for LISTEN where `url` leads to a pooler that doesn't carry it.
   * @default url
   */
  listenUrl?: string
  /** Asks for the embedded server where NODE_ENV=production. */
  embedded?: boolean
  /**
   * Where the embedded server keeps its data, relative to this file.
   * @default '.livemessages/postgres'
   */
  directory?: string
  /**
   * Connections that are kept open.
   * @default 1
   */
  minConnections?: number
  /** @default 20 */
  maxConnections?: number
  /**
   * Idle connections above the minimum close after this time.
   * @default '10s'
   */
  cleanupTimeout?: Duration
  /**
   * Further databases of the same server; each has its own pool and its own LISTEN.
   * @default []
   */
  databases?: string[]
  /**
   * What the journal's NOTIFYs carry: the publications themselves, or only where they are, for the nodes to read.
   * Any role of the database may LISTEN and NOTIFY: with `'positions'` nothing can be overheard or forged there, for
   * one query more a publication. It is kept in the database, for all nodes and for SQL.
   * @default as the database has it, which begins with 'data'
   */
  notify?: 'data' | 'positions'
}

export interface BrokerInput {
  /** `amqp://user:password@host:5672/vhost`, or `amqps:`. */
  url?: string
  /** A host with RabbitMQ's default port, user and password; `url` wins over it. */
  host?: string
  /**
   * The topic exchange; `<exchange>.dead` takes what can't be handled.
   * @default 'livemessages'
   */
  exchange?: string
  /**
   * Unacknowledged deliveries that a subsystem's queue may have at this node, 1 to 65,535.
   * @default 100
   */
  prefetch?: number
  /**
   * Attempts at one message before it is dead-lettered.
   * @default 5
   */
  maxAttempts?: number
}

export interface SocketIoInput {
  /** @default '/socket.io/' */
  path?: string
  /**
   * Further namespaces, and the subsystem behind each. The main namespace, `/`, is no subsystem unless it is named
   * here: its events are actions by their whole names (`chat.say`).
   * @example { '/': 'chat', '/old-chat': 'chat' }
   * @default {}
   */
  namespaces?: Record<string, string>
  /**
   * How clients may connect. Across several nodes, polling needs a proxy that keeps a client on one node.
   * @default ['polling', 'websocket']
   */
  transports?: ('polling' | 'websocket')[]
  /**
   * How often the server pings.
   * @default the config's `ping`
   */
  ping?: Duration
  /**
   * How long a client may leave a ping unanswered.
   * @default the config's `pong`
   */
  pong?: Duration
  /**
   * A packet of a client; with its binary parts, twice that.
   * @default limits.frameBytes
   */
  maxPayload?: Size
  /**
   * How long a connection may be in no namespace.
   * @default limits.authenticationMs
   */
  connectTimeout?: Duration
  /**
   * Whether an action's result that is a list is given to the client's callback as its several arguments.
   * @default false
   */
  spread?: boolean
}

export interface EngineIoInput {
  /** @default '/engine.io/' */
  path?: string
  /**
   * Whose clients' messages are their own, texts or binary data, and no frames of the protocol: each one calls the
   * subsystem's action `message`, and the event `message` with one text or Buffer goes out as such.
   * @default none: each message is one frame
   */
  subsystem?: string
  /**
   * How clients may connect. Across several nodes, polling needs a proxy that keeps a client on one node.
   * @default ['polling', 'websocket']
   */
  transports?: ('polling' | 'websocket')[]
  /**
   * How often the server pings.
   * @default the config's `ping`
   */
  ping?: Duration
  /**
   * How long a client may leave a ping unanswered.
   * @default the config's `pong`
   */
  pong?: Duration
  /**
   * A message of a client, and the body of a request with several.
   * @default limits.frameBytes
   */
  maxPayload?: Size
}

export interface AuthInput {
  /** Tokens that clients bring: exactly one of `secret`, `publicKey`, `jwksUrl`. */
  jwt?: JwtInput
  /**
   * Nothing but `authenticate` and `ping` is accepted before a user is known.
   * @default false
   */
  required?: boolean
  /** The name of a cookie that may hold the token. */
  cookie?: string
}

export interface JwtInput {
  /** For HS256: at least 32 bytes (HS384: 48, HS512: 64), as RFC 7518 demands. */
  secret?: string
  /** PEM text of an RSA, EC or Ed25519 public key. */
  publicKey?: string
  /** Where the issuer publishes its keys. */
  jwksUrl?: string
  /** @default HS256 with a secret; what the key can do with `publicKey`; all but HS* with `jwksUrl` */
  algorithms?: string[]
  /** Tokens must be for this audience. */
  audience?: string
  /** Tokens must come from this issuer. */
  issuer?: string
}

export interface ApiInput {
  /**
   * Keys for publishing and the server API (`Authorization: Bearer <key>`).
   * @default []
   */
  keys?: string[]
  /**
   * Whether a program on this machine may publish and read `/metrics` without a key. A proxy on this machine
   * is one too, unless its requests show that they came through it: behind one, say false.
   * @default true, but with NODE_ENV=production false
   */
  loopback?: boolean
}

export interface CallsInput {
  /**
   * Where the actions are: `POST <prefix>/<subsystem>/<action>`.
   * @default '/call'
   */
  prefix?: string
  /**
   * Further addresses of actions, by their whole path, for pages that know others; POST as well.
   * @default {}
   * @example { '/roles/messages/all': 'messages.query' }
   */
  aliases?: Record<string, string>
}

export interface StreamInput {
  /**
   * The functions that an iframe's page may have called, `format=html&callback=…`.
   * @default ['parent.handle']
   */
  callbacks?: string[]
}

export interface PredecessorsInput {
  /** `cid=5` is channel `<subsystem>:5`. It must have a history. */
  subsystem: string
}

/** Limits; every one counts what it refuses. */
export interface LimitsInput {
  /**
   * A client's message.
   * @default '64kb'
   */
  frameBytes?: Size
  /**
   * A publication's data, and an HTTP body.
   * @default '64kb'
   */
  publicationBytes?: Size
  /**
   * Subscriptions of one connection.
   * @default 128
   */
  subscriptions?: number
  /**
   * Characters of a channel's name; no more than the default.
   * @default 265
   */
  channelLength?: number
  /**
   * Calls and publications of one connection a second.
   * @default 100
   */
  callsPerSecond?: number
  /**
   * How many of them a quiet connection may save up.
   * @default twice `callsPerSecond`
   */
  callBurst?: number
  /**
   * Frames of any kind of one connection a second.
   * @default 1000
   */
  framesPerSecond?: number
  /**
   * Calls of one connection under way at once.
   * @default 64
   */
  pendingCalls?: number
  /**
   * Bytes that may wait for a slow client before it is closed with 4450.
   * @default '1mb'
   */
  bufferBytes?: Size
  /**
   * Connections of this node.
   * @default 100000
   */
  connections?: number
  /**
   * Connections of one address; loopback peers are spared while no `trustedProxies` are named.
   * @default 1000
   */
  connectionsPerAddress?: number
  /**
   * How long a client may take to authenticate.
   * @default '10s'
   */
  authenticationMs?: Duration
  /**
   * An action's deadline where it names none.
   * @default '10s'
   */
  callMs?: Duration
  /**
   * Messages in the first answer to a recovering subscription.
   * @default 1000
   */
  recoveryMessages?: number
  /**
   * Bytes of it.
   * @default '256kb'
   */
  recoveryBytes?: Size
  /**
   * Memory of the recent publications, all channels together.
   * @default '64mb'
   */
  windowBytes?: Size
  /**
   * How long an idempotency key is remembered.
   * @default '5m'
   */
  idempotencyMs?: Duration
  /**
   * How many are.
   * @default 100000
   */
  idempotencyKeys?: number
  /**
   * How long the body of a request may take, from its first byte to its last.
   * @default '30s'
   */
  bodyMs?: Duration
  /**
   * How long a client of a streamed answer may take nothing while bytes wait for it.
   * @default '10s'
   */
  stallMs?: Duration
  /**
   * How long a publication may wait for a journal that can't be reached, before its publisher is told
   * `unavailable`. A queue's messages wait for as long as it takes.
   * @default '5s'
   */
  publishMs?: Duration
  /**
   * Different values of `conflate` that are kept of one channel; the oldest go first.
   * @default 10000
   */
  conflateKeys?: number
  /**
   * Events of one connection that wait for the client's answer.
   * @default 256
   */
  pendingAcks?: number
  /**
   * How long they wait where nothing is said.
   * @default '10s'
   */
  ackMs?: Duration
  /**
   * How many may be on a channel for them to be told who comes and leaves: every one is told of every other. With more
   * there, ask for `presence`.
   * @default 1000
   */
  presenceEvents?: number
  /**
   * Entries of presence that are kept of one other node.
   * @default 1000000
   */
  presenceEntries?: number
}
