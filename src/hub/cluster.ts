import type { Bus, Memo } from '../bus/bus.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { CLOSE, closeReason } from '../protocol/codes.ts'
import { VERSION } from '../version.ts'
import { Calls, obeying } from './cluster-calls.ts'
import { NodeOperations } from './cluster-node.ts'
import {
  type Acknowledgement,
  type AskedListing,
  type ChannelInfo,
  type ConnectionFilter,
  type ConnectionInfo,
  decodeAsked,
  decodeChannels,
  decodeConnections,
  decodeCount,
  decodeOrder,
  decodePresence,
  decodeStats,
  type Listing,
  MAX_LISTED,
  type Order,
  type Person,
  type PresentClient,
  type Target,
} from './cluster-orders.ts'
import type { Hub } from './hub.ts'

export type { ConnectionFilter, Person, Target } from './cluster-orders.ts'

export interface ClusterDependencies {
  readonly bus: Bus
  readonly hub: Hub
  readonly counts: Counts
  readonly log: Log
  readonly journal: { readonly kind: string; readonly head: number; readonly ready: boolean }
  /** How long the other nodes may take to answer. @default 1000 */
  readonly deadlineMs?: number
}

/** Every answer says which nodes it does not speak for: those that did not answer in time. */
export interface Coverage {
  readonly missing: readonly string[]
}

/** How many connections it was done to. */
export interface Reached extends Coverage {
  readonly count: number
}

/** What the clients answered; at most a thousand of them are told, `answered` is how many did. */
export interface Asked extends Reached {
  readonly answered: number
  readonly acks: readonly Acknowledgement[]
}

export interface EmitOptions {
  /** A session that is not to get it. */
  readonly exclude?: string
}

/** What the server API does on all nodes: here, and by memos at the others. At most once on each. */
export class Cluster {
  readonly #deps: ClusterDependencies
  readonly #here: NodeOperations
  readonly #calls: Calls
  readonly #since = Date.now()

  constructor(deps: ClusterDependencies) {
    const { bus, hub, log, counts, deadlineMs = 1_000 } = deps
    this.#deps = deps
    this.#here = new NodeOperations({ node: bus.node, hub, stats: () => this.#stats() })
    this.#calls = new Calls({
      bus,
      topic: 'cluster',
      deadlineMs,
      answer: obeying(decodeOrder, (order) => this.#here.run(order)),
      counts,
      log,
    })
  }

  /**
   * Sends an `event` frame. `args` is the JSON text of an array.
   * @throws {ClientError} unavailable
   */
  async emit(target: Target, event: string, args: string, options: EmitOptions = {}): Promise<Reached> {
    const order: Order = { op: 'emit', target, event, args, exclude: options.exclude ?? null }
    const here = this.#here.emit(order)
    // A session is at one node.
    if ('session' in target && here === 1) return { count: 1, missing: [] }
    return this.#sum(order, here instanceof Promise ? here : Promise.resolve(here))
  }

  /**
   * As `emit`, and waits for the clients' answers: no longer than `timeoutMs`, and what the other nodes take to tell.
   * @throws {ClientError} unavailable
   */
  async ask(
    target: Target,
    event: string,
    args: string,
    timeoutMs: number,
    options: EmitOptions = {},
  ): Promise<Asked> {
    const { exclude = null } = options
    const order: Order & { op: 'ask' } = {
      op: 'ask',
      target,
      event,
      args,
      exclude,
      timeoutMs: Math.ceil(timeoutMs),
      limit: MAX_LISTED,
    }
    const here = this.#here.ask(order)
    // A session is at one node.
    const only = 'session' in target && this.#deps.hub.get(target.session) !== undefined
    const others = only ? NOBODY : this.#calls.ask(order, decodeAsked, order.timeoutMs)
    const [own, { answers, missing }] = await Promise.all([here, others])
    const acks = [...own.items]
    let { sent: count, count: answered } = own
    for (const told of answers.values()) {
      acks.push(...told.items)
      count += told.sent
      answered += told.count
    }
    return { count, answered, acks: acks.slice(0, MAX_LISTED), missing }
  }

  /**
   * Closes a connection, or all of a user's.
   * @throws {ClientError} unavailable
   */
  async disconnect(
    person: Person,
    reason = 'disconnected',
    code: number = CLOSE.disconnected,
  ): Promise<Reached> {
    const order: Order = { op: 'disconnect', person, reason: closeReason(reason), code }
    const here = this.#here.disconnect(order)
    if ('session' in person && here === 1) return { count: 1, missing: [] }
    return this.#sum(order, Promise.resolve(here))
  }

  /** Who is connected: at most `limit` of them, and how many there are. */
  async connections(
    filter: ConnectionFilter = {},
    limit: number = MAX_LISTED,
  ): Promise<Coverage & { readonly connections: readonly ConnectionInfo[]; readonly count: number }> {
    const most = boundOf(limit)
    const { items, count, missing } = await this.#list(
      { op: 'connections', filter, limit: most },
      this.#here.connections(filter, most),
      decodeConnections,
    )
    return { connections: items.slice(0, most), count, missing }
  }

  /** Who is subscribed to a channel. */
  async presence(
    channel: string,
    limit: number = MAX_LISTED,
  ): Promise<Coverage & { readonly clients: readonly PresentClient[]; readonly count: number }> {
    const most = boundOf(limit)
    const { items, count, missing } = await this.#list(
      { op: 'presence', channel, limit: most },
      this.#here.presence(channel, most),
      decodePresence,
    )
    return { clients: items.slice(0, most), count, missing }
  }

  /** The channels that somebody is subscribed to, by name, and how many are on each. `more`: these are not all. */
  async channels(
    prefix = '',
    limit: number = MAX_LISTED,
  ): Promise<Coverage & { readonly channels: readonly ChannelInfo[]; readonly more: boolean }> {
    const most = boundOf(limit)
    const here = this.#here.channels(prefix, most)
    const { items, missing, cut } = await this.#list(
      { op: 'channels', prefix, limit: most },
      here,
      decodeChannels,
    )
    const subscribers = new Map<string, number>()
    for (const item of items) {
      subscribers.set(item.channel, (subscribers.get(item.channel) ?? 0) + item.subscribers)
    }
    // Each node's own first ones are complete: so are the first ones of all.
    const names = [...subscribers.keys()].toSorted()
    const channels = names.slice(0, most).map((channel) => ({
      channel,
      subscribers: subscribers.get(channel) ?? 0,
    }))
    return { channels, more: cut || names.length > most, missing }
  }

  /** The numbers of each node, this one's first. */
  async stats(): Promise<Coverage & { readonly nodes: readonly Readonly<Record<string, unknown>>[] }> {
    const { answers, missing } = await this.#calls.ask({ op: 'stats' }, decodeStats)
    const others = [...answers].map(([node, stats]) => ({ ...stats, node }))
    return { nodes: [this.#here.stats(), ...others], missing }
  }

  /** For the bus's handlers. */
  onMemo(memo: Memo, from: string): void {
    this.#calls.onMemo(memo, from)
  }

  onPeer(node: string, here: boolean): void {
    if (!here) this.#calls.onGone(node)
  }

  /** Who waits for other nodes is answered with what is there. Idempotent. */
  stop(): void {
    this.#calls.stop()
  }

  async #sum(order: Order, here: Promise<number>): Promise<Reached> {
    const [own, { answers, missing }] = await Promise.all([here, this.#calls.ask(order, decodeCount)])
    let count = own
    for (const number of answers.values()) count += number
    return { count, missing }
  }

  async #list<Item>(
    order: Order & { readonly limit: number },
    own: Listing<Item>,
    decode: (answer: unknown) => Listing<Item> | null,
  ): Promise<Coverage & { readonly items: Item[]; readonly count: number; readonly cut: boolean }> {
    const { answers, missing } = await this.#calls.ask(order, decode)
    const items = [...own.items]
    let { count } = own
    let cut = own.count > own.items.length
    for (const listing of answers.values()) {
      items.push(...listing.items)
      count += listing.count
      cut ||= listing.count > listing.items.length
    }
    return { items, count, cut, missing }
  }

  #stats(): Readonly<Record<string, unknown>> {
    const { hub, bus, counts, journal } = this.#deps
    let publications = 0
    for (const count of counts.publications.values()) publications += count
    return {
      version: VERSION,
      since: this.#since,
      connections: hub.size,
      transports: Object.fromEntries(hub.transports),
      channels: hub.channels.size,
      publications,
      deliveries: counts.deliveries,
      calls: counts.calls,
      slowClients: counts.slowClients,
      journal: { kind: journal.kind, position: journal.head, ready: journal.ready },
      bus: { kind: bus.kind, ready: bus.ready, peers: bus.peers.size, ...bus.counts },
    }
  }
}

const NOBODY = { answers: new Map<string, AskedListing>(), missing: [] }

function boundOf(limit: number): number {
  return Math.max(0, Math.min(limit, MAX_LISTED))
}
