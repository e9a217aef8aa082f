import type {
  AuthenticateHook,
  CallHook,
  ConnectHook,
  DisconnectHook,
  MessageHook,
  StartHook,
} from '../registry/define.ts'
import type { AuthInput } from './auth-input.ts'
import type {
  CallsInput,
  EngineIoInput,
  PredecessorsInput,
  SocketIoInput,
  StreamInput,
} from './clients-input.ts'
import type { ModuleReference } from './config.ts'
import type { LimitsInput } from './limits-input.ts'
import type { BrokerInput, PostgresInput } from './servers-input.ts'
import type { SignalsInput } from './signals-input.ts'
import type { Duration } from './units.ts'

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
  /** Who is told what happens to connections and channels: webhooks, an AMQP exchange. */
  signals?: SignalsInput
  /**
   * Serves the predecessors' addresses: `/publish/?cid=`, `/listen/?cid=`, `/get_messages/?channel_id=`,
   * `/messages/?cid=`. With `notify` it hears the publishers of web_longpolling, too.
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
  /**
   * Whether each database has channels of its own, `<subsystem>:<database>:<rest>`, that only its users may have. What
   * is published by SQL, NOTIFY or a sender leaves the database out.
   * @default false
   */
  perDatabase?: boolean
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
