import { MemoryBus } from './bus/memory.ts'
import type { Config } from './config/config.ts'
import type { Home } from './database/home.ts'
import { LivemessageError } from './errors.ts'
import { Deadlines } from './hub/deadlines.ts'
import { History } from './hub/history.ts'
import { Hub } from './hub/hub.ts'
import { Intake } from './hub/intake.ts'
import { Publisher } from './hub/publisher.ts'
import { Subscriber } from './hub/subscriber.ts'
import { Dedupe } from './journal/dedupe.ts'
import type { Retention } from './journal/journal.ts'
import { MemoryJournal } from './journal/memory.ts'
import { createListener } from './listeners/create.ts'
import type { Address, Listener } from './listeners/listener.ts'
import type { Counts } from './ops/counts.ts'
import { Health } from './ops/health.ts'
import type { Log } from './ops/log.ts'
import { Metrics } from './ops/metrics.ts'
import { isClientError } from './protocol/codes.ts'
import { writeJson } from './protocol/json.ts'
import type { Services } from './registry/context.ts'
import type { Live } from './rules.ts'
import { createSources, type Sources } from './sources/create.ts'
import { HttpSource } from './sources/http.ts'
import { Commands } from './transports/commands.ts'
import { demoRoutes } from './transports/demo.ts'
import { HttpRouter } from './transports/http.ts'
import { routes } from './transports/routes.ts'
import { type Peer, WebSocketTransport } from './transports/websocket.ts'

/** The parts of one node, wired together and not started. */
export interface Wired {
  readonly listener: Listener<Peer>
  readonly journal: MemoryJournal
  readonly bus: MemoryBus
  readonly hub: Hub
  readonly deadlines: Deadlines
  readonly subscriber: Subscriber
  readonly commands: Commands
  readonly websocket: WebSocketTransport
  readonly services: Services
  readonly sources: Sources
  readonly intake: Intake
  readonly health: Health
  readonly metrics: Metrics
  listen(): Promise<Address>
}

/** How much of each journaled subsystem is kept. */
export function retentionOf(config: Config): ReadonlyMap<string, Retention> {
  const retention = new Map<string, Retention>()
  for (const [subsystem, { history }] of config.channels) {
    if (history !== null) retention.set(subsystem, history)
  }
  return retention
}

export interface WireOptions {
  readonly live: Live
  readonly home: Home
  readonly log: Log
  readonly counts: Counts
  /** Aborted when the daemon stops. */
  readonly signal: AbortSignal
}

/**
 * What a module sees of a publication that failed. A channel that can't be is the module's own mistake, of which
 * the client must not be told as if it were the client's: no ClientError, therefore logged where nobody catches
 * it. What the client's data or an outage may be the cause of stays as it is.
 */
function refusedPublication(channel: string, error: unknown): unknown {
  if (!isClientError(error) || error.code !== 'unknown_channel') return error
  return new LivemessageError('PUBLISH_REFUSED', `publish to '${channel}': ${error.message}`, {
    cause: error,
  })
}

/** Builds every part of a node and gives each what it needs; nothing runs before `listen`. */
export async function wire({ live, home, log, counts, signal }: WireOptions): Promise<Wired> {
  const { config, registry } = live.rules
  const { limits } = config
  const hardBufferBytes = Math.max(16 * 1024 * 1024, 4 * limits.bufferBytes)
  const listener: Listener<Peer> = await createListener(
    config.listener,
    {
      websocketPath: '/ws',
      maxFrameBytes: limits.frameBytes,
      hardBufferBytes,
      pingMs: config.pingMs,
      pongMs: config.pongMs,
      compression: config.compression,
    },
    log,
  )
  const journal = new MemoryJournal({ windowBytes: limits.windowBytes })
  journal.retain(retentionOf(config))
  const bus = new MemoryBus()
  const hub: Hub = new Hub({
    publish: (channel, frame) => listener.publish(channel, frame),
    counts,
    bufferBytes: limits.bufferBytes,
    hardBufferBytes,
    cursorOf: (channel) => subscriber.cursorOf(channel),
  })
  const dedupe = new Dedupe({
    windowMs: () => live.rules.config.limits.idempotencyMs,
    maxKeys: () => live.rules.config.limits.idempotencyKeys,
  })
  const publisher = new Publisher({ live, journal, bus, dedupe, counts })
  const services: Services = {
    log,
    db: home.pool,
    connections: hub,
    signal,
    async publish(channel, data, options) {
      const { key, exclude } = options ?? {}
      const json = writeJson(data)
      try {
        return { id: await publisher.publish({ channel, json, source: 'action', key, exclude }) }
      } catch (error) {
        throw refusedPublication(channel, error)
      }
    },
  }
  const subscriber: Subscriber = new Subscriber({ live, hub, journal, services })
  const deadlines = new Deadlines((client, code, reason) => hub.close(client, code, reason))
  const history = new History(live, journal)
  const shared = { live, hub, subscriber, deadlines, services, counts }
  const commands = new Commands({ ...shared, publisher, history })
  const websocket = new WebSocketTransport({ ...shared, commands })
  const intake = new Intake({ live, publisher, services })
  const http: HttpSource = new HttpSource({
    peers: () => live.rules.peers,
    limitBytes: () => live.rules.config.limits.publicationBytes,
    publish: (submission) => publisher.publish(submission),
    refuse: (response, error) => router.refuse(response, error),
  })
  const others = await createSources({
    listenUrl: home.listenUrl,
    databases: config.postgres !== null && 'url' in config.postgres ? config.postgres.databases : [],
    broker: config.broker,
    subsystems: config.channels.keys(),
    registry,
    log,
  })
  const sources: Sources = { all: [http, ...others.all], apply: others.apply }
  const health = new Health({
    sources: () => sources.all,
    journal,
    database: () => home.part(),
  })
  const metrics = new Metrics({
    counts,
    health,
    connections: () => hub.size,
    channels: () => hub.channels.size,
    journal,
  })
  const router: HttpRouter = new HttpRouter(
    [
      ...routes({ live, http, health, metrics, refuse: (response, error) => router.refuse(response, error) }),
      ...(config.dev ? await demoRoutes({ live, home, listener: listener.kind }) : []),
    ],
    counts,
    log,
  )
  return {
    listener,
    journal,
    bus,
    hub,
    deadlines,
    subscriber,
    commands,
    websocket,
    services,
    sources,
    intake,
    health,
    metrics,
    listen: async () => {
      journal.start({ onEntry: (entry) => hub.deliver(entry.channel, entry.message, entry.exclude) })
      bus.start({ onParcel: (parcel) => hub.deliver(parcel.channel, parcel.message, parcel.exclude) })
      hub.start()
      deadlines.start()
      const where =
        config.socket === null ? { host: config.host, port: config.port } : { socket: config.socket }
      return listener.listen(where, {
        onRequest: (request, response) => router.handle(request, response),
        onUpgrade: (request) => websocket.onUpgrade(request),
        onOpen: (socket) => websocket.onOpen(socket),
        onMessage: (socket, text) => websocket.onMessage(socket, text),
        onDropped: (socket) => websocket.onDropped(socket),
        onDrain: (socket) => websocket.onDrain(socket),
        onClose: (socket, code) => websocket.onClose(socket, code),
      })
    },
  }
}
