import { createAddresses } from '../auth/addresses.ts'
import type { Bus, Memo } from '../bus/bus.ts'
import type { Config } from '../config/config.ts'
import type { Fanout } from '../hub/link.ts'
import type { Journal } from '../journal/journal.ts'
import type { Listener, ListenerHandlers } from '../listeners/listener.ts'
import type { Submission } from '../hub/publisher.ts'
import type { MaybePromise } from '../sources/source.ts'
import { type Attachments, createAttachments } from './attachments.ts'
import type { StopReason } from './farewell.ts'
import { FeedFanout } from './feeds/fanout.ts'
import { Reception } from './requests/reception.ts'
import { createFeeds } from './feeds/routes.ts'
import type { HttpRouter, Route } from './http.ts'
import { PollFanout } from './poll/fanout.ts'
import { createPoll, type Poll } from './poll/poll.ts'
import { predecessorRoutes } from './predecessors/routes.ts'
import { Upstream } from './upstream/upstream.ts'
import { type Peer, WebSocketFanout, WebSocketTransport, type WebSocketDependencies } from './websocket.ts'

export interface TransportsDependencies extends Omit<WebSocketDependencies, 'addresses'> {
  readonly journal: Journal
  readonly bus: Bus
  /** For the predecessors' addresses. */
  publish(submission: Submission): MaybePromise<string | null>
  /** False when the daemon is stopping. */
  accepting(): boolean
  refuse: HttpRouter['refuse']
}

/** What the hub must know of the transports before they can know it. */
export interface Prepared {
  /** One for each kind of link. */
  readonly fanouts: readonly Fanout[]
  /** Opens them; called once. */
  open(deps: TransportsDependencies): Transports
}

/** Everything by which a client can be reached, on one listener. */
export interface Transports {
  readonly websocket: WebSocketTransport
  readonly reception: Reception
  readonly poll: Poll
  readonly upstream: Upstream
  readonly routes: readonly Route[]
  /** The listener's events, requests excepted. */
  readonly handlers: Omit<ListenerHandlers<Peer>, 'onRequest'>
  onMemo(memo: Memo, from: string): void
  onPeer(node: string, here: boolean): void
  start(): void
  /**
   * Tells everyone when to come back, spread so that they don't all come at once, and closes: no new client is taken
   * any more. Resolves when they are gone, and the hooks have been told.
   */
  dismiss(reason: StopReason): Promise<void>
  /** Before the listener is closed: what is attached to it. */
  detach(): void
  stop(): void
}

/** The path of raw WebSockets. */
export const WEBSOCKET_PATH = '/ws'

export async function prepareTransports(
  config: Config,
  listener: Listener<Peer>,
  hardBufferBytes: number,
): Promise<Prepared> {
  const attachments = await createAttachments(config, { hardBufferBytes, websocketPath: WEBSOCKET_PATH })
  const feeds = new FeedFanout({ quietMs: config.pingMs })
  const polls = new PollFanout()
  return {
    fanouts: [new WebSocketFanout(listener), feeds, polls, ...attachments.fanouts],
    open: (deps) => open(deps, { listener, attachments, feeds, polls }),
  }
}

interface Parts {
  readonly listener: Listener<Peer>
  readonly attachments: Attachments
  readonly feeds: FeedFanout
  readonly polls: PollFanout
}

function open(deps: TransportsDependencies, { listener, attachments, feeds, polls }: Parts): Transports {
  const { live, hub, journal, counts, refuse } = deps
  const { config } = live.rules
  const addresses = createAddresses({
    limit: config.limits.connectionsPerAddress,
    proxied: config.trustedProxies.length > 0,
  })
  const websocket = new WebSocketTransport({ ...deps, addresses })
  attachments.attach(listener, { ...deps, addresses })
  const reception = new Reception({ ...deps, addresses })
  const upstream = new Upstream(deps)
  const { routes: feedRoutes, stream } = createFeeds({
    live,
    hub,
    journal,
    reception,
    fanout: feeds,
    counts,
    callbacks: () => live.rules.config.streamCallbacks,
    secretOf: (client) => upstream.sessions.issue(client),
    refuse,
  })
  const poll = createPoll({
    live,
    hub,
    journal,
    subscriber: deps.subscriber,
    reception,
    fanout: polls,
    sessions: upstream.sessions,
    refuse,
  })
  const routes = [...feedRoutes, ...poll.routes]
  if (config.predecessors?.addresses === true) {
    const { accepting, publish } = deps
    const predecessors = { live, hub, poll, stream, accepting, publish, refuse }
    routes.push(...predecessorRoutes(predecessors, config.predecessors.subsystem))
  }
  return {
    websocket,
    reception,
    poll,
    upstream,
    routes,
    handlers: {
      onRefused: (status) => counts.error('http', String(status)),
      onUpgrade: (request) => websocket.onUpgrade(request),
      onOpen: (socket) => websocket.onOpen(socket),
      onMessage: (socket, text) => websocket.onMessage(socket, text),
      onDropped: (socket) => websocket.onDropped(socket),
      onDrain: (socket) => websocket.onDrain(socket),
      onClose: (socket, code) => websocket.onClose(socket, code),
    },
    onMemo: (memo, from) => upstream.onMemo(memo, from),
    onPeer: (node, here) => upstream.onPeer(node, here),
    start: () => feeds.start(),
    dismiss: async (reason) => {
      upstream.drain()
      attachments.drain()
      await Promise.all([websocket.dismiss(reason), reception.dismiss(reason)])
      await attachments.settle()
    },
    detach: () => attachments.stop(),
    stop: () => {
      feeds.stop()
      upstream.stop()
    },
  }
}
