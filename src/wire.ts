import { authReadings } from './auth/readings.ts'
import { Rechecks } from './auth/rechecks.ts'
import { RevocationTable } from './auth/revocation-table.ts'
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
import { Hub } from './hub/hub.ts'
import { Mailboxes } from './hub/mailboxes.ts'
import { Intake } from './hub/intake.ts'
import { Presence } from './hub/presence/presence.ts'
import { Publisher } from './hub/publisher.ts'
import { Revoker } from './hub/revoker.ts'
import { Subscriber } from './hub/subscriber.ts'
import { createTransactionPublisher, refusedPublication } from './hub/transactions.ts'
import { Dedupe } from './journal/dedupe.ts'
import { createListener } from './listeners/create.ts'
import type { Address, Listener } from './listeners/listener.ts'
import type { Counts } from './ops/counts.ts'
import { Health } from './ops/health.ts'
import type { Log } from './ops/log.ts'
import type { MetricGroup } from './ops/metric-set.ts'
import { Metrics } from './ops/metrics.ts'
import { writeJson } from './protocol/json.ts'
import { subsystemOf } from './protocol/names.ts'
import { createOutboxes, type Outboxes } from './outboxes.ts'
import { databaseReadings, lendDatabases } from './several-databases.ts'
import { readingsOf } from './readings.ts'
import type { Services } from './registry/context.ts'
import { callWithin } from './registry/dispatch.ts'
import { watchModules } from './registry/watch.ts'
import type { Live } from './rules.ts'
import { createSignalling, type Signalling } from './signals/create.ts'
import { signalReadings } from './signals/readings.ts'
import { bothOf } from './signals/sink.ts'
import { createSources, type Sources } from './sources/create.ts'
import type { Duty } from './sources/duty.ts'
import { HttpSource } from './sources/http.ts'
import type { Rejection } from './sources/source.ts'
import { Commands } from './transports/commands.ts'
import { demoRoutes } from './transports/demo.ts'
import { HttpRouter } from './transports/http.ts'
import { routes } from './transports/routes.ts'
import { prepareTransports, type Transports, WEBSOCKET_PATH } from './transports/transports.ts'
import type { Peer } from './transports/websocket.ts'

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
  const hardBufferBytes = Math.max(16 * 1024 * 1024, 4 * limits.bufferBytes)
  const listener: Listener<Peer> = await createListener(
    config.listener,
    {
      websocketPath: WEBSOCKET_PATH,
      maxFrameBytes: limits.frameBytes,
      hardBufferBytes,
      pingMs: config.pingMs,
      pongMs: config.pongMs,
      compression: config.compression,
      bodyMs: limits.bodyMs,
      stallMs: limits.stallMs,
      shared: group !== undefined,
    },
    log,
  )
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
  const hub: Hub = new Hub({
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
  const mailboxes =
    backbone.pool === null
      ? null
      : new Mailboxes({
          query: (text, values, abort) => backbone.pool!.withSignal(abort).query(text, values),
          patienceMs: () => live.rules.config.limits.publishMs,
          log,
        })
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
  const transactions = createTransactionPublisher({ publisher, journal, counts, log })
  const services: Services = {
    log,
    ...lendDatabases(live, home, transactions),
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
    emit: (target, event, args, options) => emitter.emit(target, event, args, options),
    presence: (channel) => emitter.presence(channel),
    call: (outer, name, data, options) =>
      callWithin(outer, name, data, options, live.rules.dispatch, services),
    turns,
  }
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
  const duty = await dutyOf(backbone, live, log)
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
  const noteStray = strays(log, counts)
  const cluster = new Cluster({ bus, hub, counts, log, journal })
  const ofUser = new ForgettingUser({ live, services, pool: backbone.pool, log })
  const forgetting = new Forgetting({ live, bus, hub, journal, user: ofUser, counts, log })
  const revoker = new Revoker({
    revocations: live.rules.revocations,
    table: backbone.pool === null ? null : new RevocationTable({ pool: backbone.pool }),
    bus,
    hub,
    forget: (user, database) => live.rules.whoami?.forget(user, database),
    counts,
    log,
  })
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
  const health = new Health({
    sources: () => sources.all,
    journal,
    bus,
    database: () => home.part(),
    further: () => outboxes.parts(),
  })
  const metrics = new Metrics({
    group,
    readings: [...readingsOf(backbone, hub, presence, counts), ...authReadings(live)],
    labelled: [...databaseReadings(live, home, outboxes), ...signalReadings(signals)],
    ...(burial.letters === null ? {} : { deadLetters: burial.letters }),
    counts,
    health,
    connections: () => hub.size,
    transports: () => hub.transports,
    channels: () => hub.channels.size,
    journal,
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
      const joined = backbone.start({
        onEntry: (entry) => {
          counts.entries++
          const heard = hub.deliver(entry.channel, entry.message, entry.exclude)
          if (!heard && !live.rules.config.channels.has(subsystemOf(entry.channel))) noteStray(entry.channel)
          if (entry.mark !== undefined) duty?.onEntry(entry)
        },
        onForget: (forgotten) => forgetting.onForget(forgotten),
        onVoid: (mark) => duty?.onEntry({ mark }),
        onEpoch: () => subscriber.onEpoch(),
        onReady: () => log.debug({ journal: journal.kind, ready: journal.ready }, 'journal'),
        onParcel: deliverHere,
        onMemo: (memo, from) => {
          cluster.onMemo(memo, from)
          revoker.onMemo(memo, from)
          forgetting.onMemo(memo, from)
          presence.onMemo(memo, from)
          transports.onMemo(memo, from)
          signals.onMemo(memo.topic)
        },
        onPeer: (node, here) => {
          cluster.onPeer(node, here)
          revoker.onPeer(node, here)
          forgetting.onPeer(node, here)
          presence.onPeer(node, here)
          transports.onPeer(node, here)
        },
        onGap: (reason, times) => {
          log.warn({ reason, times }, 'letters of other nodes may have been missed')
          presence.onGap()
          revoker.onGap()
        },
      })
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

/** Who of the nodes answers for what all of them hear; null where there is one node, or nothing that all hear. */
async function dutyOf({ leadership, journal }: Backbone, live: Live, log: Log): Promise<Duty | null> {
  if (leadership === null || journal.kind === 'memory') return null
  const { Duty } = await import('./sources/duty.ts')
  return new Duty({
    leadership,
    isJournaled: (subsystem) => live.rules.config.channels.get(subsystem)?.history !== null,
    caughtUp: async () => journal.caughtUp(),
    log,
  })
}

/** Told once a subsystem: SQL takes publications of those too that no node knows, for one may be about to come. */
function strays(log: Log, counts: Counts): (channel: string) => void {
  const told = new Set<string>()
  return (channel) => {
    counts.error('journal', 'unknown_channel')
    const subsystem = subsystemOf(channel)
    if (told.has(subsystem) || told.size > 1000) return
    told.add(subsystem)
    log.warn(
      { subsystem, channel },
      'published to a subsystem that the config does not have: nobody can subscribe',
    )
  }
}
