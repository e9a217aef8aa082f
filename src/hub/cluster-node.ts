import { setImmediate as nextTurn } from 'node:timers/promises'
import { Args } from '../protocol/args.ts'
import type { EventFrame } from '../protocol/frames.ts'
import { tryWriteJson } from '../protocol/json.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { Client } from './client.ts'
import { AckRound } from './acks.ts'
import type {
  AskedListing,
  ChannelInfo,
  ConnectionFilter,
  ConnectionInfo,
  Listing,
  Order,
  Person,
  PresentClient,
  Target,
} from './cluster-orders.ts'
import type { Hub } from './hub.ts'

export interface NodeOperationsDependencies {
  /** This node's name. */
  readonly node: string
  readonly hub: Hub
  stats(): Readonly<Record<string, unknown>>
}

/** So many clients are sent to in one turn of the event loop. */
const SLICE = 1000
/** The most channels that are listed of one connection. */
const MAX_CHANNELS = 100
/** What is listed in one answer, as JSON: it may have to cross the bus. */
const MAX_ANSWER_UNITS = 512 * 1024

/** What the server API asks of this node's own connections. */
export class NodeOperations {
  readonly #deps: NodeOperationsDependencies

  constructor(deps: NodeOperationsDependencies) {
    this.#deps = deps
  }

  run(order: Order): MaybePromise<unknown> {
    switch (order.op) {
      case 'emit':
        return this.emit(order)
      case 'ask':
        return this.ask(order)
      case 'disconnect':
        return this.disconnect(order)
      case 'connections':
        return this.connections(order.filter, order.limit)
      case 'presence':
        return this.presence(order.channel, order.limit)
      case 'channels':
        return this.channels(order.prefix, order.limit)
      case 'stats':
        return this.stats()
      default:
        return order satisfies never
    }
  }

  /** How many it was handed to. Not by a topic: who is behind on a channel is off it, and is to get this all the same. */
  emit({ target, event, args, exclude }: Order & { op: 'emit' }): MaybePromise<number> {
    const frame: EventFrame = { type: 'event', event, args: Args.ofJson(args) }
    const clients = targetsOf(this.#deps.hub, target)
    const send = (some: readonly Client[]): number =>
      some.filter((client) => client.session !== exclude && client.send(frame)).length
    return clients.length <= SLICE ? send(clients) : sliced(clients, send)
  }

  /** Sends it as `emit` does; resolves when all have answered or gone, at the timeout at the latest. */
  async ask({
    target,
    event,
    args,
    exclude,
    timeoutMs,
    limit,
  }: Order & { op: 'ask' }): Promise<AskedListing> {
    const shared = Args.ofJson(args)
    const round = new AckRound(limit, MAX_ANSWER_UNITS, timeoutMs)
    const ask = (some: readonly Client[]): number => {
      for (const client of some) if (client.session !== exclude) round.ask(client, event, shared)
      return 0
    }
    const clients = targetsOf(this.#deps.hub, target)
    if (clients.length <= SLICE) ask(clients)
    else await sliced(clients, ask)
    return round.end()
  }

  /** How many connections were closed. */
  disconnect({ person, reason, code }: Order & { op: 'disconnect' }): number {
    const open = clientsOf(this.#deps.hub, person).filter((client) => client.open)
    for (const client of open) client.disconnect(reason, code)
    return open.length
  }

  connections(filter: ConnectionFilter, limit: number): Listing<ConnectionInfo> {
    const { node, hub } = this.#deps
    return list(matching(hub, filter), limit, (client) => {
      const { session, user, database, address, transport, since, channels } = client
      return {
        node,
        session,
        user,
        ...(database === null ? {} : { database }),
        info: infoOf(client),
        address,
        transport,
        since,
        channels: channels.slice(0, MAX_CHANNELS),
        channelCount: channels.length,
      }
    })
  }

  presence(channel: string, limit: number): Listing<PresentClient> {
    return list(this.#deps.hub.on(channel), limit, (client) => {
      const { session, user, database } = client
      return { session, user, ...(database === null ? {} : { database }), info: infoOf(client) }
    })
  }

  /** The first by name, so that the first of all nodes together can be told from them. */
  channels(prefix: string, limit: number): Listing<ChannelInfo> {
    const { channels } = this.#deps.hub
    const first = new Smallest(limit)
    let count = 0
    for (const channel of channels.keys()) {
      if (!channel.startsWith(prefix)) continue
      count++
      first.add(channel)
    }
    const items = first.sorted().map((channel) => ({ channel, subscribers: channels.get(channel) ?? 0 }))
    return { items, count }
  }

  stats(): Readonly<Record<string, unknown>> {
    const { node, stats } = this.#deps
    return { node, ...stats() }
  }
}

/** Others have their turn between the slices. */
async function sliced(
  clients: readonly Client[],
  work: (slice: readonly Client[]) => number,
): Promise<number> {
  let count = 0
  for (let start = 0; start < clients.length; start += SLICE) {
    if (start > 0) await nextTurn()
    count += work(clients.slice(start, start + SLICE))
  }
  return count
}

function targetsOf(hub: Hub, target: Target): readonly Client[] {
  if ('all' in target) return [...hub]
  return 'channel' in target ? hub.on(target.channel) : clientsOf(hub, target)
}

function clientsOf(hub: Hub, person: Person): readonly Client[] {
  if ('user' in person) return hub.of(person.user, person.database)
  const client = hub.get(person.session)
  return client === undefined ? [] : [client]
}

/** Begins with what leaves the fewest. */
function matching(hub: Hub, { session, user, database, channel }: ConnectionFilter): Iterable<Client> {
  let clients: Iterable<Client> = hub
  if (session !== undefined) clients = clientsOf(hub, { session })
  else if (user !== undefined) clients = hub.of(user, database)
  else if (channel !== undefined) return hub.on(channel)
  else return hub
  return [...clients].filter(
    (client) =>
      (user === undefined || hub.isOf(client, user, database)) &&
      (channel === undefined || client.subscriptions.has(channel)),
  )
}

/** Writes the first ones down, as far as the answer's bounds allow, and counts all. */
function list<Item extends object>(
  clients: Iterable<Client>,
  limit: number,
  describe: (client: Client) => Item,
): Listing<Item> {
  const items: Item[] = []
  let count = 0
  let units = 0
  for (const client of clients) {
    if (!client.open) continue
    count++
    if (items.length >= limit || units > MAX_ANSWER_UNITS) continue
    const item = describe(client)
    units += JSON.stringify(item).length
    if (units <= MAX_ANSWER_UNITS) items.push(item)
  }
  return { items, count }
}

/** What a hook has given, if it can be told at all. */
function infoOf({ info }: Client): unknown {
  const json = tryWriteJson(info)
  return json === undefined ? null : (JSON.parse(json) as unknown)
}

/** Keeps the first few of many names. */
class Smallest {
  readonly #limit: number
  #names: string[] = []
  /** What does not come before it needs no look; only once enough are there. */
  #bound: string | null = null

  constructor(limit: number) {
    this.#limit = limit
  }

  add(name: string): void {
    if (this.#bound !== null && name >= this.#bound) return
    this.#names.push(name)
    if (this.#names.length < 2 * this.#limit + SLICE) return
    this.#names = this.sorted()
    this.#bound = this.#names.at(-1) ?? ''
  }

  sorted(): string[] {
    return this.#names.toSorted().slice(0, this.#limit)
  }
}
