import type { Duration, Size } from './units.ts'

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
  /**
   * `aliases` answer with the result alone, `{"success":true}` and not `{"data":{"success":true}}`: as pages expect it
   * that have a request layer of their own. Errors are as everywhere.
   * @default false
   */
  plain?: boolean
}

export interface StreamInput {
  /**
   * The functions that an iframe's page may have called, `format=html&callback=…`.
   * @default ['parent.handle']
   */
  callbacks?: string[]
}

export interface PredecessorsInput {
  /** `cid=5` is channel `<subsystem>:5`. For the addresses it must have a history. */
  subsystem: string
  /**
   * Whether the HTTP addresses are served.
   * @default true; with `notify`, where the subsystem has a history
   */
  addresses?: boolean
  /**
   * NOTIFY names, one or several, on which the publishers of web_longpolling say `{"channel","uid","date","values"}`.
   * @default none
   * @example 'longpolling_channel'
   */
  notify?: string | string[]
}
