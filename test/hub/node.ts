import { createAddresses } from '../../src/auth/addresses.ts'
import type { Test } from 'tap'
import { MemoryBus } from '../../src/bus/memory.ts'
import { createModuleLoader } from '../../src/config/modules.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { openHome } from '../../src/database/home.ts'
import { MovingCursors } from '../../src/hub/cursors.ts'
import { Deadlines } from '../../src/hub/deadlines.ts'
import { History } from '../../src/hub/history.ts'
import { Hub } from '../../src/hub/hub.ts'
import { Mailboxes, type MailboxesOptions } from '../../src/hub/mailboxes.ts'
import { Publisher } from '../../src/hub/publisher.ts'
import { Subscriber } from '../../src/hub/subscriber.ts'
import { Dedupe } from '../../src/journal/dedupe.ts'
import type { Journal, Retention } from '../../src/journal/journal.ts'
import { createListener } from '../../src/listeners/create.ts'
import { Counts } from '../../src/ops/counts.ts'
import { createLogger } from '../../src/ops/logger.ts'
import type { Services } from '../../src/registry/context.ts'
import { callWithin } from '../../src/registry/dispatch.ts'
import { watchModules } from '../../src/registry/watch.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import { buildRules, type Rules } from '../../src/rules.ts'
import { Commands } from '../../src/transports/commands.ts'
import { type Peer, WebSocketFanout, WebSocketTransport } from '../../src/transports/websocket.ts'
import type { TestConfig } from '../support/daemon.ts'

export interface HubNodeOptions {
  readonly journal: Journal
  /** Where mailboxes ask; without it there are none. */
  readonly query?: MailboxesOptions['query']
  /** How often cursors move. @default 3_600_000 */
  readonly cursorsMs?: number
}

/** A node as far as clients see it, with the journal of the test. */
export interface HubNode {
  readonly ws: string
  readonly hub: Hub
  readonly counts: Counts
  readonly subscriber: Subscriber
  readonly mailboxes: Mailboxes | null
  publish(channel: string, data: unknown, options?: { exclude?: string }): Promise<string>
  /** Swaps the policies, as a reload does. */
  reload(input: TestConfig): Promise<void>
}

/** Hub, commands and WebSocket transport on a real listener. */
export async function startHubNode(t: Test, input: TestConfig, options: HubNodeOptions): Promise<HubNode> {
  const { journal } = options
  const root = process.cwd()
  const log = createLogger({ level: 'debug', destination: { write: () => undefined } })
  const load = async (wanted: TestConfig): Promise<Rules> => {
    const whole = { ACTIONS: {}, postgres: false as const, ...wanted }
    const { config } = resolveConfig({ config: whole }, { root, file: null })
    return buildRules(config, await loadRegistry(config, createModuleLoader({ root })), log)
  }
  const live = { rules: await load(input) }
  const { config } = live.rules
  const counts = new Counts()
  const hardBufferBytes = 16 * 1024 * 1024
  const listener = await createListener<Peer>(
    config.listener,
    {
      websocketPath: '/ws',
      maxFrameBytes: config.limits.frameBytes,
      hardBufferBytes,
      pingMs: config.pingMs,
      pongMs: config.pongMs,
      compression: false,
    },
    log,
  )
  const hub: Hub = new Hub({
    live,
    fanouts: [new WebSocketFanout(listener)],
    counts,
    bufferBytes: config.limits.bufferBytes,
    hardBufferBytes,
    cursorOf: (channel) => subscriber.cursorOf(channel),
    openMailbox: (client, channel) => subscriber.openMailbox(client, channel),
  })
  const bus = new MemoryBus()
  const dedupe = new Dedupe({ windowMs: () => 60_000, maxKeys: () => 1000 })
  const deliverHere = (parcel: { channel: string; message: string; exclude?: string }): void => {
    hub.deliver(parcel.channel, parcel.message, parcel.exclude)
  }
  const publisher = new Publisher({ live, journal, bus, dedupe, counts, deliverHere, leads: () => true })
  const publish: HubNode['publish'] = async (channel, data, { exclude } = {}) =>
    (await publisher.publish({ channel, json: JSON.stringify(data), source: 'test', exclude })) ?? ''
  const services: Services = {
    log,
    db: (await openHome(null, [], log)).pool,
    connections: hub,
    signal: new AbortController().signal,
    publish: async (channel, data) => ({ id: await publish(channel, data) }),
    emit: () => Promise.reject(new Error('no other nodes here')),
    presence: () => Promise.reject(new Error('no other nodes here')),
    call: (outer, name, data, called) => callWithin(outer, name, data, called, live.rules.dispatch, services),
    turns: watchModules(live, counts, log),
  }
  const { query } = options
  const mailboxes =
    query === undefined
      ? null
      : new Mailboxes({ query, patienceMs: () => live.rules.config.limits.publishMs, log, retryMs: 10 })
  const subscriber: Subscriber = new Subscriber({ live, hub, journal, mailboxes, services })
  const deadlines = new Deadlines((client, code, reason) => hub.close(client, code, reason))
  const shared = { live, hub, subscriber, deadlines, services, counts }
  const addresses = createAddresses({ limit: 1000, proxied: false })
  const commands = new Commands({ ...shared, publisher, history: new History(live, journal) })
  const websocket = new WebSocketTransport({ ...shared, commands, addresses })
  const { cursorsMs: everyMs = 3_600_000 } = options
  const cursors = new MovingCursors({
    journal,
    announce: (part, cursor) => hub.announce(part, cursor),
    everyMs,
  })
  const retain = (): void => journal.retain(retentionOf(live.rules))
  retain()
  await journal.start({
    onEntry: (entry) => hub.deliver(entry.channel, entry.message, entry.exclude),
    onEpoch: () => subscriber.onEpoch(),
    onReady: () => undefined,
  })
  bus.start({
    onParcel: deliverHere,
    onMemo: () => undefined,
    onPeer: () => undefined,
    onGap: () => undefined,
  })
  hub.start()
  cursors.start()
  const address = await listener.listen(
    { host: '127.0.0.1', port: 0 },
    {
      onRequest: (_request, response) => response.reply(404, {}, ''),
      onUpgrade: (request) => websocket.onUpgrade(request),
      onOpen: (socket) => websocket.onOpen(socket),
      onMessage: (socket, text) => websocket.onMessage(socket, text),
      onDropped: (socket) => websocket.onDropped(socket),
      onDrain: (socket) => websocket.onDrain(socket),
      onClose: (socket, code) => websocket.onClose(socket, code),
    },
  )
  t.teardown(async () => {
    hub.stop()
    cursors.stop()
    await listener.close()
    await mailboxes?.stop()
    await journal.stop()
  })
  const port = 'port' in address ? address.port : 0
  return {
    ws: `ws://127.0.0.1:${port}/ws`,
    hub,
    counts,
    subscriber,
    mailboxes,
    publish,
    async reload(wanted) {
      live.rules = await load(wanted)
      retain()
      for (const client of hub) await subscriber.recheck(client)
    },
  }
}

function retentionOf({ config }: Rules): ReadonlyMap<string, Retention> {
  const retention = new Map<string, Retention>()
  for (const [subsystem, { history }] of config.channels)
    if (history !== null) retention.set(subsystem, history)
  return retention
}
