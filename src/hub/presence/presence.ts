import type { Bus, Memo } from '../../bus/bus.ts'
import type { PresencePolicy } from '../../config/config.ts'
import type { Counts } from '../../ops/counts.ts'
import type { Log } from '../../ops/log.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { Live } from '../../rules.ts'
import type { Client } from '../client.ts'
import type { Attendance } from '../hub.ts'
import { policyOf } from '../policies.ts'
import { Announcements } from './announcements.ts'
import { clientText, type Entry, infoText } from './entry.ts'
import { Replication } from './replication.ts'
import type { Change, Room } from './room.ts'
import { Rooms } from './rooms.ts'

export interface PresenceDependencies {
  readonly live: Live
  readonly bus: Bus
  readonly counts: Counts
  readonly log: Log
  /** This node's clients, as a reload looks at them. */
  clients(): Iterable<Client>
  /** Whether somebody of this node is on the channel. */
  isOccupied(channel: string): boolean
  /** Tells those of this node. `client` is JSON. */
  announce(channel: string, change: Change, client: string, except: Client | null, count: number): void
  /** What happens within so short a time after something was told is told together. @default 25 */
  readonly windowMs?: number
  /** See `Replication`. */
  readonly batchMs?: number
  readonly digestMs?: number
  readonly pageMs?: number
}

/** What one answer lists, at the most. */
const MAX_LISTED = 1000
const MAX_LISTED_UNITS = 256 * 1024

/**
 * Who is on a channel, on all nodes. Each node knows all of them, so that asking costs nothing and leaves are told once
 * by each node to its own, a killed one's too. Channels whose policy has no presence cost nothing.
 */
export class Presence implements Attendance {
  readonly #deps: PresenceDependencies
  readonly #rooms: Rooms
  readonly #replication: Replication
  readonly #announcements: Announcements
  /** The policies that the rooms follow. */
  #followed: string
  /** Who comes at this moment: not to be told of itself. */
  #coming: Client | null = null

  constructor(deps: PresenceDependencies) {
    const { bus, log, live, counts, windowMs = 25, batchMs, digestMs, pageMs } = deps
    this.#deps = deps
    this.#announcements = new Announcements(windowMs)
    this.#rooms = new Rooms({
      policyOf: (channel) => this.#policyOf(channel),
      onChange: (channel, room, change, entry) => this.#tell(channel, room, change, entry),
    })
    this.#replication = new Replication({
      bus,
      rooms: this.#rooms,
      log,
      maxEntries: () => live.rules.config.limits.presenceEntries,
      onTrouble: (reason) => {
        counts.error('bus', 'bad_memo')
        log.debug({ reason }, 'memo of presence refused')
      },
      ...(batchMs === undefined ? {} : { batchMs }),
      ...(digestMs === undefined ? {} : { digestMs }),
      ...(pageMs === undefined ? {} : { pageMs }),
    })
    this.#followed = this.#policies()
  }

  /** Channels on which somebody is known to be. */
  get channels(): number {
    return this.#rooms.size
  }

  /** Clients of this node that others are told of. */
  get entries(): number {
    return this.#replication.own.count
  }

  /** Times that another node's entries were asked for anew. */
  get resyncs(): number {
    return this.#replication.resyncs
  }

  /** Whether it is kept there, at present. */
  isKept(channel: string): boolean {
    return this.#policyOf(channel) !== null
  }

  /**
   * `{"clients":[{"session","user","info"}],"count"}`: the first thousand of them, and how many there are.
   * @throws {ClientError} forbidden where the channel has no presence
   */
  read(channel: string, limit: number = MAX_LISTED): string {
    if (!this.isKept(channel)) throw new ClientError('forbidden', `presence is not kept on ${channel}`)
    const room = this.#rooms.get(channel)
    const clients: string[] = []
    let units = 0
    for (const entry of room?.present() ?? []) {
      const text = clientText(entry)
      units += text.length
      if (clients.length >= limit || units > MAX_LISTED_UNITS) break
      clients.push(text)
    }
    return `{"clients":[${clients.join(',')}],"count":${room?.count ?? 0}}`
  }

  joined(client: Client, channel: string): void {
    if (!this.isKept(channel)) return
    this.#put(channel, client)
  }

  left(client: Client, channel: string): void {
    const { own } = this.#replication
    // Not asked by the policy: it may have come while it said otherwise.
    if (this.#rooms.delete(channel, client.session, own)) this.#replication.left(channel, client.session)
  }

  identified(client: Client): void {
    for (const channel of client.subscriptions.keys()) {
      if (this.#rooms.get(channel)?.get(client.session) !== undefined) this.#put(channel, client)
    }
  }

  start(): void {
    this.#replication.start()
  }

  /** Idempotent. */
  stop(): void {
    this.#replication.stop()
    this.#rooms.stop()
    this.#announcements.stop()
  }

  /**
   * The policies were swapped. Where presence is new, all who are there are known at once, and nobody is told that they
   * came; where it has ended nobody is told that they went. Another node follows when it is reloaded itself.
   */
  apply(): void {
    const wanted = this.#policies()
    if (wanted === this.#followed) return
    this.#followed = wanted
    const { own } = this.#replication
    for (const [channel, room] of this.#rooms) {
      if (this.isKept(channel)) continue
      for (const { session, book } of room.entries()) {
        if (book !== own) continue
        this.#rooms.delete(channel, session, own, true)
        this.#replication.left(channel, session)
      }
    }
    this.#rooms.recount()
    for (const client of this.#deps.clients()) {
      for (const channel of client.subscriptions.keys()) {
        if (this.isKept(channel)) this.#put(channel, client, true)
      }
    }
  }

  /** For the bus's handlers. */
  onMemo(memo: Memo, from: string): void {
    this.#replication.onMemo(memo, from)
  }

  onPeer(node: string, here: boolean): void {
    this.#replication.onPeer(node, here)
  }

  onGap(): void {
    this.#replication.onGap()
  }

  #put(channel: string, client: Client, silent = false): void {
    const { session, userKey: user } = client
    const entry = { session, user, info: infoText(client.info), book: this.#replication.own, round: 0 }
    this.#coming = client
    const put = this.#rooms.put(channel, entry, silent)
    this.#coming = null
    if (put === 'new' || put === 'changed') this.#replication.entered(channel, entry)
  }

  #tell(channel: string, room: Room, change: Change, entry: Entry): void {
    const { live, announce, isOccupied } = this.#deps
    if (this.#policyOf(channel)?.events !== true || !isOccupied(channel)) return
    const { count } = room
    if (count > live.rules.config.limits.presenceEvents) return
    const client = clientText(entry)
    const except = this.#coming
    this.#announcements.tell(`${channel} ${client}`, change, () =>
      announce(channel, change, client, except, count),
    )
  }

  #policyOf(channel: string): PresencePolicy | null {
    return policyOf(this.#deps.live, channel)?.presence ?? null
  }

  #policies(): string {
    const { channels } = this.#deps.live.rules.config
    return JSON.stringify([...channels].map(([subsystem, { presence }]) => [subsystem, presence]))
  }
}
