import type { Counts } from '../ops/counts.ts'
import type { Args } from '../protocol/args.ts'
import { CLOSE, ClientError } from '../protocol/codes.ts'
import type { ForgottenFrame, ServerFrame } from '../protocol/frames.ts'
import { isChannel } from '../protocol/names.ts'
import type { ConnectionFilter, Connections, User } from '../registry/define.ts'
import type { Live } from '../rules.ts'
import { type Asked, unasked } from './answer.ts'
import { type Client, type ClientHome, completeTopic, type SubscriptionKind } from './client.ts'
import { Conflated, type Key } from './conflated.ts'
import { Laggards } from './laggards.ts'
import type { Fanout, Link } from './link.ts'
import { type Occupancy, Occupants } from './occupants.ts'
import { fitting } from './pacing.ts'
import { conflateOf, isJournaled, policyOf } from './policies.ts'
import { SlowGuard } from './slow.ts'
import { Users } from './users.ts'

export interface HubDependencies {
  readonly live: Live
  /** One for each kind of link: one call each, whatever the number of subscribers. */
  readonly fanouts: readonly Fanout[]
  /** Told who is on which channel. @default nobody */
  readonly attendance?: Attendance
  /** Sends an event to the clients of all nodes, but for one session. `args`: a JSON array. @default nothing happens */
  readonly broadcast?: (event: string, args: string, except: string) => void
  readonly counts: Counts
  readonly bufferBytes: number
  readonly hardBufferBytes: number
  /**
   * The cursor a subscription that starts now stands at; null for a transient channel.
   * @throws {ClientError} `unavailable` before the journal was reached
   */
  cursorOf(channel: string): string | null
  /** Puts a client on a mailbox channel, from its user's own cursor on. */
  openMailbox(client: Client, channel: string): Promise<void>
}

/** Who keeps book of the channels' clients. */
export interface Attendance {
  /** It is on the channel, and gets what is published there from the next line on. */
  joined(client: Client, channel: string): void
  /** It gets nothing of the channel any more. */
  left(client: Client, channel: string): void
  /** Somebody else, or with other grants, stands behind it now. */
  identified(client: Client): void
}

/** Who is connected to this node, and who is subscribed to what. */
export class Hub implements Connections, ClientHome {
  readonly #deps: HubDependencies
  readonly #clients = new Map<string, Client>()
  readonly #users: Users
  readonly #transports = new Map<string, number>()
  /** This node's clients on each channel; the sockets themselves are the listener's to know. */
  readonly #occupants = new Occupants()
  readonly #guard: SlowGuard
  readonly #conflated: Conflated
  readonly #laggards: Laggards
  #laggardsCheck: NodeJS.Timeout | null = null

  constructor(deps: HubDependencies) {
    this.#deps = deps
    this.#users = new Users(deps.live)
    this.#guard = new SlowGuard({
      clients: () => this.#clients.values(),
      close: (client) => this.#closeSlow(client),
      setAside: (client) => this.#laggards.setAside(client),
      softBytes: deps.bufferBytes,
      hardBytes: deps.hardBufferBytes,
    })
    this.#conflated = new Conflated({ maxKeys: () => deps.live.rules.config.limits.conflateKeys })
    this.#laggards = new Laggards({
      live: deps.live,
      conflated: this.#conflated,
      counts: deps.counts,
      close: (client) => this.#closeSlow(client),
      released: (client) => this.#guard.release(client),
    })
  }

  get size(): number {
    return this.#clients.size
  }

  /** How many came by each transport; one that somebody came by stays, with 0. */
  get transports(): ReadonlyMap<string, number> {
    return this.#transports
  }

  /** Clients that are behind on conflated channels. */
  get laggards(): number {
    return this.#laggards.size
  }

  /** Memory of the latest messages of conflated channels, estimated. */
  get conflatedBytes(): number {
    return this.#conflated.bytes
  }

  get channels(): Occupancy {
    return this.#occupants
  }

  [Symbol.iterator](): Iterator<Client> {
    return this.#clients.values()
  }

  get(session: string): Client | undefined {
    return this.#clients.get(session)
  }

  of(user: string, database?: string | null): readonly Client[] {
    return this.#users.of(user, database)
  }

  /** Whether it is a client of this user. @param database @default the home one */
  isOf(client: Client, user: string, database?: string | null): boolean {
    return this.#users.isOf(client, user, database)
  }

  on(channel: string): readonly Client[] {
    return this.#occupants.on(channel)
  }

  filter(by: ConnectionFilter): readonly Client[] {
    return this.#users.filter(by, by.channel === undefined ? this : this.on(by.channel))
  }

  start(): void {
    this.#guard.start()
    this.#laggardsCheck ??= setInterval(() => this.#laggards.resumeAll(), LAGGARDS_CHECK_MS).unref()
  }

  stop(): void {
    this.#guard.stop()
    if (this.#laggardsCheck !== null) clearInterval(this.#laggardsCheck)
    this.#laggardsCheck = null
  }

  add(client: Client): void {
    this.#clients.set(client.session, client)
    this.#countTransport(client, 1)
    this.#deps.counts.connectionsOpened++
  }

  remove(client: Client): void {
    if (!this.#clients.delete(client.session)) return
    this.#countTransport(client, -1)
    for (const channel of client.subscriptions.keys()) this.#vacate(client, channel)
    client.end()
    this.#laggards.remove(client)
    this.#guard.release(client)
    this.#users.delete(client)
  }

  identify(client: Client, user: User): void {
    client.identify(user)
    if (!client.open) return
    this.#users.add(client, user)
    if (client.link.fleeting !== true) this.#deps.attendance?.identified(client)
  }

  /** From now on, and not a publication earlier, the client gets what comes on the channel. */
  join(client: Client, channel: string, kind: SubscriptionKind): void {
    if (!client.open) return
    if (!client.subscriptions.has(channel)) {
      this.#occupants.add(channel, client)
      if (client.link.fleeting !== true) this.#deps.attendance?.joined(client, channel)
    }
    client.enter(channel, kind)
    if (this.#laggards.has(client, channel)) client.link.leave(channel)
  }

  /** As `join`, on a conflated channel: answers with the newest of each key; what does not fit comes first of all. */
  joinConflated(client: Client, channel: string, kind: SubscriptionKind, asked: Asked): void {
    const { limits } = this.#deps.live.rules.config
    const all = this.#conflated.all(channel).filter(({ exclude }) => exclude !== client.session)
    const { id, answer } = asked
    const fit = answer.apart === true ? 0 : fitting(all, limits)
    const messages = all.slice(0, fit).map(({ message }) => message)
    // Where it was behind there it begins anew.
    this.#laggards.forget(client, channel)
    answer.send({ type: 'subscribed', id, channel, cursor: null, recovered: false, messages })
    this.join(client, channel, kind)
    if (!client.open) return
    if (fit < all.length || this.#laggards.isBehind(client))
      this.#laggards.feed(client, channel, all.slice(fit))
  }

  /** Off the live stream, and no missed messages any more. False when the client was on neither. */
  leave(client: Client, channel: string): boolean {
    const recovering = client.endRecovery(channel)
    return this.suspend(client, channel) || recovering
  }

  /** Off the live stream. False when the client was not on it. */
  suspend(client: Client, channel: string): boolean {
    if (!client.exit(channel)) return false
    this.#laggards.forget(client, channel)
    this.#vacate(client, channel)
    return true
  }

  /** A frame of so many units is about to go to one client, whose link has a hard limit. */
  sending(units: number): void {
    this.#guard.count(units)
  }

  drained(client: Client): void {
    if (this.#laggards.size > 0) this.#laggards.resume(client)
  }

  isJournaled(channel: string): boolean {
    return isJournaled(this.#deps.live, channel)
  }

  get acks(): { readonly pending: number; readonly timeoutMs: number } {
    const { pendingAcks, ackMs } = this.#deps.live.rules.config.limits
    return { pending: pendingAcks, timeoutMs: ackMs }
  }

  noteAck(what: 'wanted' | 'missed'): void {
    if (what === 'wanted') this.#deps.counts.acksWanted++
    else this.#deps.counts.acksMissed++
  }

  broadcast(sender: Client, event: string, args: Args): void {
    // Written first: what JSON can't carry goes to nobody.
    this.#deps.broadcast?.(event, args.json, sender.session)
  }

  /** Hands a publication to this node's subscribers; false where there are none. */
  deliver(channel: string, message: string, exclude?: string): boolean {
    const field = conflateOf(this.#deps.live, channel)
    const audience = this.#occupants.get(channel)
    if (audience === undefined) {
      // The next one to come gets the newest of each key.
      if (field !== null) this.#conflated.put(channel, field, message, exclude)
      return false
    }
    // Before it is kept: who is set aside now is not given it by the topic.
    this.#guard.count(message.length + FRAME_UNITS)
    if (field !== null) this.#conflated.put(channel, field, message, exclude)
    const here = audience - this.#laggards.on(channel)
    const excluded = exclude === undefined ? undefined : this.#clients.get(exclude)
    // Who is behind is off the topic already.
    const spared = excluded?.subscriptions.has(channel) === true && !this.#laggards.has(excluded, channel)
    this.#publish(channel, { type: 'message', message }, spared ? excluded.link : null)
    this.#deps.counts.deliveries += spared ? here - 1 : here
    return true
  }

  /** Tells all who are on a channel of this node that somebody came or left. */
  announcePresence(
    channel: string,
    event: 'join' | 'leave',
    client: string,
    except: Client | null,
    count?: number,
  ): void {
    if (!this.#occupants.has(channel)) return
    this.#guard.count(client.length + channel.length + FRAME_UNITS)
    // A socket that is on nothing yet, or has gone, can't publish to others.
    const there = except !== null && except.open && except.subscriptions.has(channel)
    const spared = there && !this.#laggards.has(except, channel)
    const frame = { type: 'presence', channel, event, client, count } as const
    this.#publish(channel, frame, spared ? except.link : null)
  }

  /** Forgets what it keeps of a conflated channel, or one key of it; false where that was nothing. */
  forget(channel: string, key: Key | null): boolean {
    if (!this.#conflated.forget(channel, key)) return false
    this.#laggards.spare(channel, key)
    this.announceForgotten({ type: 'forgotten', channel, ...(key === null ? {} : { key }) })
    return true
  }

  /** Tells all who are on a channel of this node what is no more, for them to show it no longer. */
  announceForgotten(frame: ForgottenFrame): void {
    if (!this.#occupants.has(frame.channel)) return
    let units = frame.channel.length + FRAME_UNITS
    for (const id of frame.ids ?? []) units += id.length + 3
    this.#guard.count(units)
    this.#publish(frame.channel, frame, null)
  }

  /** Moves the cursor of a part of those who have a journaled subscription and miss nothing on any. */
  announce(part: number, cursor: string): void {
    this.#guard.count(cursor.length + FRAME_UNITS)
    this.#publish(completeTopic(part), { type: 'cursor', cursor }, null)
  }

  close(client: Client, code: number, reason: string): void {
    if (!client.open) return
    this.#deps.counts.closed(code)
    // Ended first: with uWS the close handler runs within `close`.
    client.end()
    client.link.close(code, reason)
  }

  /** A module puts a client on a channel: it is told as if it had asked. */
  async subscribeByServer(client: Client, channel: string): Promise<void> {
    if (!isChannel(channel)) throw new ClientError('unknown_channel', `'${channel}' is no channel's name`)
    // On its way to the live stream already.
    if (client.isRecovering(channel)) return
    if (!client.subscriptions.has(channel)) {
      const { live } = this.#deps
      if (policyOf(live, channel)?.mailbox === true) return this.#deps.openMailbox(client, channel)
      if (conflateOf(live, channel) !== null)
        return this.joinConflated(client, channel, 'server', unasked(client))
      const cursor = this.#deps.cursorOf(channel)
      client.send({ type: 'subscribed', channel, cursor, recovered: false, messages: [] })
    }
    this.join(client, channel, 'server')
  }

  unsubscribeByServer(client: Client, channel: string): void {
    if (!this.leave(client, channel)) return
    client.send({ type: 'unsubscribed', channel, code: 'forbidden', message: 'ended by the application' })
  }

  #publish(topic: string, frame: ServerFrame, except: Link | null): void {
    for (const fanout of this.#deps.fanouts) fanout.publish(topic, frame, except)
  }

  #vacate(client: Client, channel: string): void {
    this.#occupants.delete(channel, client)
    if (client.link.fleeting !== true) this.#deps.attendance?.left(client, channel)
  }

  #countTransport({ transport }: Client, change: 1 | -1): void {
    this.#transports.set(transport, (this.#transports.get(transport) ?? 0) + change)
  }

  #closeSlow(client: Client): void {
    this.#deps.counts.slowClients++
    this.close(client, CLOSE.tooSlow, 'too slow')
  }
}

/** What surrounds the longest of what is published, in any form. */
const FRAME_UNITS = 100

/** How often clients that are behind are looked after beside their drains. */
const LAGGARDS_CHECK_MS = 500
