import type { Test } from 'tap'
import type { Bus, Memo } from '../../src/bus/bus.ts'
import { createBus } from '../../src/bus/create.ts'
import type { ChannelInput } from '../../src/config/input.ts'
import { createModuleLoader } from '../../src/config/modules.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { Notifications } from '../../src/database/notifications.ts'
import { Client } from '../../src/hub/client.ts'
import { Cluster } from '../../src/hub/cluster.ts'
import { Emitter } from '../../src/hub/emitter.ts'
import { Hub } from '../../src/hub/hub.ts'
import type { Link } from '../../src/hub/link.ts'
import { Presence } from '../../src/hub/presence/presence.ts'
import { Counts } from '../../src/ops/counts.ts'
import { encodeFrame } from '../../src/protocol/encode.ts'
import type { ServerFrame } from '../../src/protocol/frames.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import { buildRules, type Rules } from '../../src/rules.ts'
import { silent } from '../support/postgres.ts'
import { until } from '../support/wait.ts'

type Topics = Map<string, Set<Recorder>>
type Frame = Readonly<Record<string, unknown>>

/** A link that keeps what it is sent. */
export class Recorder implements Link {
  readonly bufferedBytes = 0
  readonly frames: Frame[] = []
  /** Answers the events that ask, if there is one. */
  answer: ((frame: Frame) => void) | null = null
  readonly #topics: Topics

  constructor(topics: Topics) {
    this.#topics = topics
  }

  send(frame: ServerFrame): boolean {
    const told: Frame = JSON.parse(encodeFrame(frame))
    this.frames.push(told)
    if (told['type'] === 'event' && told['id'] !== undefined) this.answer?.(told)
    return true
  }

  cork(write: () => void): void {
    write()
  }

  join(topic: string): void {
    this.#topics.set(topic, (this.#topics.get(topic) ?? new Set()).add(this))
  }

  leave(topic: string): void {
    this.#topics.get(topic)?.delete(this)
  }

  end(): void {
    for (const links of this.#topics.values()) links.delete(this)
  }

  close(): void {}

  terminate(): void {}

  /** What it was told of who comes and leaves: `join alice`, `leave <session>`. */
  get moves(): string[] {
    return this.frames
      .filter(({ type }) => type === 'presence')
      .map(({ event, client }) => `${String(event)} ${nameOf(client)}`)
  }
}

export interface PresenceNodeOptions {
  readonly channels?: Readonly<Record<string, ChannelInput>>
  readonly limits?: Readonly<Record<string, number>>
  /** How long the others' answers are waited for, beside the clients'. @default 10000 */
  readonly deadlineMs?: number
  /** @default 200 */
  readonly digestMs?: number
  /** @default 0: each change is told at once */
  readonly windowMs?: number
}

export const CHANNELS: Readonly<Record<string, ChannelInput>> = {
  chat: { access: 'public', presence: true },
  team: { access: 'public', presence: { by: 'user', leaveAfter: 1 } },
  slow: { access: 'public', presence: { by: 'user', leaveAfter: 300 } },
  quiet: { access: 'public', presence: { events: false } },
  plain: { access: 'public' },
}

/** Bus, hub, presence and events of a node, and no transports. */
export class PresenceNode {
  readonly live: { rules: Rules }
  readonly bus: Bus
  readonly hub: Hub
  readonly cluster: Cluster
  readonly presence: Presence
  readonly emitter: Emitter
  readonly counts = new Counts()
  readonly topics: Topics = new Map()
  /** Memos of presence that come are lost. */
  deaf = false

  constructor(
    bus: Bus,
    rules: Rules,
    { deadlineMs = 10_000, digestMs = 200, windowMs = 0 }: PresenceNodeOptions,
  ) {
    const { counts, topics } = this
    const log = silent()
    this.bus = bus
    this.live = { rules }
    const { live } = this
    this.presence = new Presence({
      live,
      bus,
      counts,
      log,
      clients: () => this.hub,
      isOccupied: (channel) => this.hub.channels.has(channel),
      announce: (...told) => this.hub.announcePresence(...told),
      windowMs,
      digestMs,
      pageMs: 500,
    })
    this.hub = new Hub({
      live,
      attendance: this.presence,
      broadcast: (event, args, except) => this.emitter.broadcast(event, args, except),
      fanouts: [
        {
          publish: (topic, frame, except) => {
            for (const link of topics.get(topic) ?? []) if (link !== except) link.send(frame)
          },
        },
      ],
      counts,
      bufferBytes: 1e6,
      hardBufferBytes: 1e7,
      cursorOf: () => null,
      openMailbox: () => Promise.resolve(),
    })
    const journal = { kind: 'memory', head: 7, ready: true }
    this.cluster = new Cluster({ bus, hub: this.hub, counts, log, journal, deadlineMs })
    this.emitter = new Emitter({ live, cluster: this.cluster, presence: this.presence, counts, log })
  }

  onMemo(memo: Memo, from: string): void {
    this.cluster.onMemo(memo, from)
    if (!this.deaf) this.presence.onMemo(memo, from)
  }

  client(user: string | null, channels: readonly string[] = [], info?: unknown): [Client, Recorder] {
    const link = new Recorder(this.topics)
    const client = new Client(this.hub, link, { address: '127.0.0.1', transport: 'websocket' })
    this.hub.add(client)
    if (user !== null) this.hub.identify(client, { id: user, info })
    for (const channel of channels) this.hub.join(client, channel, 'policy')
    return [client, link]
  }

  /** It closes its page. */
  go(client: Client): void {
    if (client.link instanceof Recorder) client.link.end()
    this.hub.remove(client)
  }

  /** Who is there, by name, sorted; the count last. */
  on(channel: string): (string | number)[] {
    const { clients, count }: { clients: unknown[]; count: number } = JSON.parse(this.presence.read(channel))
    return [...clients.map(nameOf).toSorted(), count]
  }
}

function nameOf(client: unknown): string {
  const { user, session } = client as { user: string | null; session: string }
  return user ?? session
}

export async function rulesOf({ channels = CHANNELS, limits = {} }: PresenceNodeOptions): Promise<Rules> {
  const input = { ACTIONS: {}, channels, limits, postgres: false as const }
  const { config } = resolveConfig({ config: input }, { root: process.cwd(), file: null })
  return buildRules(config, await loadRegistry(config, createModuleLoader({ root: process.cwd() })), silent())
}

/** A node whose bus goes by this server. */
export async function startPresenceNode(
  t: Test,
  url: string,
  options: PresenceNodeOptions = {},
): Promise<PresenceNode> {
  const rules = await rulesOf(options)
  const notifications = new Notifications({ url, retry: { minMs: 20, maxMs: 50 } })
  t.teardown(() => notifications.stop())
  const bus = await createBus({
    kind: 'postgres',
    notifications,
    url,
    log: silent(),
    helloMs: 150,
    peerMs: 900,
    gapMs: 100,
  })
  t.teardown(() => bus.stop())
  const node = new PresenceNode(bus, rules, options)
  t.teardown(() => node.presence.stop())
  const started = bus.start({
    onParcel() {},
    onMemo: (memo, from) => node.onMemo(memo, from),
    onPeer: (name, here) => {
      node.cluster.onPeer(name, here)
      node.presence.onPeer(name, here)
    },
    onGap: () => node.presence.onGap(),
  })
  await Promise.all([started, notifications.start()])
  node.presence.start()
  return node
}

export async function acquainted(...nodes: readonly PresenceNode[]): Promise<void> {
  await until('they know one another', () => nodes.every(({ bus }) => bus.peers.size >= nodes.length - 1))
}
