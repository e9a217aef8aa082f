import { Rechecks } from './auth/rechecks.ts'
import { type Backbone, checkAlone, createBackbone } from './backbone.ts'
import { createBurial } from './burial.ts'
import type { Parcel } from './bus/bus.ts'
import type { Home } from './database/home.ts'
import { Deadlines } from './hub/deadlines.ts'
import { Emitter } from './hub/emitter.ts'
import { Events } from './hub/events.ts'
import { Forgetting } from './hub/forgetting.ts'
import { ForgettingUser } from './hub/forgetting-user.ts'
import { History } from './hub/history.ts'
import { Cluster } from './hub/cluster.ts'
import { MovingCursors } from './hub/cursors.ts'
import type { Hub } from './hub/hub.ts'
import { createHub } from './hub/logged-hub.ts'
import { Intake } from './hub/intake.ts'
import { Presence } from './hub/presence/presence.ts'
import { Publisher } from './hub/publisher.ts'
import { Subscriber } from './hub/subscriber.ts'
import { Dedupe } from './journal/dedupe.ts'
import type { Address, Listener } from './listeners/listener.ts'
import type { Counts } from './ops/counts.ts'
import { Health } from './ops/health.ts'
import type { Log } from './ops/log.ts'
import type { MetricGroup } from './ops/metric-set.ts'
import type { Metrics } from './ops/metrics.ts'
import { createOutboxes, type Outboxes } from './outboxes.ts'
import type { Services } from './registry/context.ts'
import { watchModules } from './registry/watch.ts'
import type { Live } from './rules.ts'
import { createSignalling, type Signalling } from './signals/create.ts'
import { bothOf } from './signals/sink.ts'
import { createSources, type Sources } from './sources/create.ts'
import { HttpSource } from './sources/http.ts'
import type { Rejection } from './sources/source.ts'
import { Commands } from './transports/commands.ts'
import { demoRoutes } from './transports/demo.ts'
import { HttpRouter } from './transports/http.ts'
import { routes } from './transports/routes.ts'
import { prepareTransports, type Transports } from './transports/transports.ts'
import type { Peer } from './transports/websocket.ts'
import { createDuty } from './wiring/duty.ts'
import { handlersOf } from './wiring/handlers.ts'
import { hardBufferBytesOf, openListener } from './wiring/listener.ts'
import { createMailboxes } from './wiring/mailboxes.ts'
import { createMetrics } from './wiring/metrics.ts'
import { createRevoker } from './wiring/revoker.ts'
import { createServices } from './wiring/services.ts'

/** The parts of one node, wired together and not started. */
export interface Wired {
  readonly listener: Listener<Peer>
  readonly backbone: Backbone
  readonly outboxes: Outboxes
  readonly hub: Hub
  readonly presence: Presence
  readonly signals: Signalling
  readonly deadlines: Deadlines
  readonly subscriber: Subscriber
  readonly commands: Commands
  readonly publisher: Publisher
  readonly transports: Transports
  readonly services: Services
  readonly sources: Sources
  readonly intake: Intake
  readonly health: Health
  readonly metrics: Metrics
  /**
   * Comes among the nodes. Resolves after the first attempts to reach journal and bus.
   * @throws {LivemessageError} DATABASE_NOT_INSTALLED, DATABASE_INCOMPATIBLE
   */
  join(): Promise<void>
  /** @throws {LivemessageError} SEVERAL_NODES: others are there, and the journal is in this one's memory */
  checkAlone(): Promise<void>
  listen(): Promise<Address>
  /** Keeps what a source has given up. */
  bury(source: string, rejection: Rejection): void
  /** Idempotent; the journal goes last. */
  leave(): Promise<void>
}

export interface WireOptions {
  readonly live: Live
  readonly home: Home
  readonly log: Log
  readonly counts: Counts
  /** Aborted when the daemon stops. */
  readonly signal: AbortSignal
  /** Those whose port this node shares, if it does. */
  readonly group: MetricGroup | undefined
}

/** Builds every part of a node and gives each what it needs; nothing runs before `listen`. */
export async function wire({ live, home, log, counts, signal, group }: WireOptions): Promise<Wired> {
  const { config, registry } = live.rules
  const { limits } = config
  const hardBufferBytes = hardBufferBytesOf(config)
  const listener = await openListener(config, group !== undefined, log)
  const prepared = await prepareTransports(config, listener, hardBufferBytes)
  const backbone = await createBackbone({ live, home, log })
  const { journal, bus } = backbone
  const presence = new Presence({
    live,
    bus,
    counts,
    log,
    clients: () => hub,
    isOccupied: (channel) => hub.channels.has(channel),
    announce: (...told) => hub.announcePresence(...told),
  })
  const signals = await createSignalling({
    live,
    backbone,
    broker: config.broker,
    log,
    counts,
    services: () => services,
    hub: () => hub,
  })
  const hub: Hub = createHub(log, {
    live,
    attendance: bothOf(presence, signals.sink),
    broadcast: (event, args, except) => emitter.broadcast(event, args, except),
    fanouts: prepared.fanouts,
    counts,
    bufferBytes: limits.bufferBytes,
    hardBufferBytes,
    cursorOf: (channel) => subscriber.cursorOf(channel),
    openMailbox: (client, channel) => subscriber.openMailbox(client, channel),
  })
  const dedupe = new Dedupe({
    windowMs: () => live.rules.config.limits.idempotencyMs,
    maxKeys: () => live.rules.config.limits.idempotencyKeys,
  })
  const mailboxes = createMailboxes(backbone, live, log)
  const deliverHere = ({ channel, message, exclude }: Parcel): void => {
    hub.deliver(channel, message, exclude)
  }
  const publisher = new Publisher({
    live,
    journal,
    bus,
    dedupe,
    counts,
    deliverHere,
    leads: () => journal.kind === 'memory' || backbone.leadership?.token !== null,
  })
  const turns = watchModules(live, counts, log)
  const services = createServices({
    ...{ live, home, hub, publisher, journal, turns, signal, counts, log },
    emitter: () => emitter,
  })
  const subscriber: Subscriber = new Subscriber({ live, hub, journal, mailboxes, services })
  const deadlines = new Deadlines((client, code, reason) => hub.close(client, code, reason))
  const history = new History(live, journal)
  const shared = { live, hub, subscriber, deadlines, services, counts, signals: signals.sink }
  const commands = new Commands({ ...shared, publisher, history, presence, events: new Events(counts) })
  const intake = new Intake({ live, publisher, services })
  const http: HttpSource = new HttpSource({
    peers: () => live.rules.peers,
    limitBytes: () => live.rules.config.limits.publicationBytes,
    publish: (submission) => publisher.publish(submission),
    refuse: (response, error) => router.refuse(response, error),
  })
  const duty = await createDuty(backbone, live, log)
  const others = await createSources({
    listenUrl: home.listenUrl,
    ...(backbone.notifications === null ? {} : { notifications: backbone.notifications }),
    ...(duty === null ? {} : { duty }),
    maxBodyBytes: () => live.rules.config.limits.publicationBytes,
    database: config.databases.home,
    further: home.further,
    broker: config.broker,
    subsystems: config.channels.keys(),
    registry,
    predecessors: config.predecessors,
    log,
  })
  const sources: Sources = { all: [http, ...others.all], apply: others.apply }
  const burial = await createBurial({ backbone, broker: config.broker, log })
  const outboxes = await createOutboxes({
    backbone,
    further: home.further,
    journal: config.journal,
    publish: (submission) => publisher.publish(submission),
    bury: (source, rejection) => {
      counts.error(source, rejection.code)
      burial.bury(source, rejection)
    },
    log,
  })
  const cluster = new Cluster({ bus, hub, counts, log, journal })
  const ofUser = new ForgettingUser({ live, services, pool: backbone.pool, log })
  const forgetting = new Forgetting({ live, bus, hub, journal, user: ofUser, outboxes, counts, log })
  const revoker = createRevoker(backbone, live, hub, counts, log)
  const rechecks = new Rechecks({
    live,
    clients: () => hub,
    identify: async (client, user) => {
      commands.identify(client, user)
      await subscriber.recheck(client)
    },
    end: (client, error) => commands.dismiss(client, error),
  })
  const emitter: Emitter = new Emitter({ live, cluster, presence, counts, log })
  const cursors = new MovingCursors({
    journal,
    announce: (part, cursor) => hub.announce(part, cursor),
    everyMs: config.pingMs,
  })
  const health = new Health({
    sources: () => sources.all,
    journal,
    bus,
    database: () => home.part(),
    further: () => outboxes.parts(),
  })
  const metrics = createMetrics({
    ...{ live, home, backbone, hub, presence, signals, outboxes, burial, health, group, counts },
  })
  const transports = prepared.open({
    ...shared,
    commands,
    journal,
    bus,
    publish: (submission) => publisher.publish(submission),
    accepting: () => http.state === 'up',
    refuse: (response, error, headers) => router.refuse(response, error, headers),
  })
  const router: HttpRouter = new HttpRouter(
    [
      ...routes({
        live,
        http,
        health,
        metrics,
        cluster,
        revoker,
        presence,
        history,
        journal,
        forgetting,
        upstream: transports.upstream,
        publishAll: (submissions) => publisher.publishAll(submissions),
        take: (notification) => intake.take(notification),
        refuse: (response, error) => router.refuse(response, error),
      }),
      ...transports.routes,
      ...(config.dev ? await demoRoutes({ live, home, listener: listener.kind }) : []),
    ],
    counts,
    log,
  )
  const handlers = handlersOf({
    ...{ live, journal, hub, subscriber, duty, presence, revoker, forgetting, cluster, transports, signals },
    ...{ deliverHere, counts, log },
  })
  return {
    listener,
    backbone,
    outboxes,
    hub,
    presence,
    signals,
    deadlines,
    subscriber,
    commands,
    publisher,
    transports,
    services,
    sources,
    intake,
    health,
    metrics,
    join: async () => {
      const joined = backbone.start(handlers)
      burial.start()
      await Promise.all([joined, revoker.start(), outboxes.start(live.rules.config)])
    },
    checkAlone: () => checkAlone(live.rules.config, bus),
    listen: async () => {
      hub.start()
      turns.start()
      deadlines.start()
      cursors.start()
      rechecks.start()
      presence.start()
      transports.start()
      signals.start()
      const where =
        config.socket === null ? { host: config.host, port: config.port } : { socket: config.socket }
      const address = await listener.listen(where, {
        onRequest: (request, response) => router.handle(request, response),
        ...transports.handlers,
      })
      signals.listening()
      return address
    },
    bury: (source, rejection) => burial.bury(source, rejection),
    leave: async () => {
      turns.stop()
      cursors.stop()
      rechecks.stop()
      duty?.stop()
      cluster.stop()
      forgetting.stop()
      presence.stop()
      transports.stop()
      await revoker.stop()
      await mailboxes?.stop()
      await signals.stop()
      await burial.stop()
      await outboxes.stop()
      await backbone.stop()
    },
  }
}
