import type { Counts } from '../ops/counts.ts'
import { CLOSE, ClientError } from '../protocol/codes.ts'
import { messageFrame, subscribedFrame, unsubscribedFrame } from '../protocol/encode.ts'
import { isChannel } from '../protocol/names.ts'
import type { Connections, User } from '../registry/define.ts'
import type { Client, ClientHome, SubscriptionKind } from './client.ts'
import { SlowGuard } from './slow.ts'

export interface HubDependencies {
  /** The listener's fan-out: one call, whatever the number of subscribers. */
  publish(channel: string, frame: string): void
  readonly counts: Counts
  readonly bufferBytes: number
  readonly hardBufferBytes: number
  /** The cursor a subscription that starts now stands at; null for a transient channel. */
  cursorOf(channel: string): string | null
}

/** Who is connected to this node, and who is subscribed to what. */
export class Hub implements Connections, ClientHome {
  readonly #deps: HubDependencies
  readonly #clients = new Map<string, Client>()
  readonly #users = new Map<string, Set<Client>>()
  /** How many of this node's clients are on a channel; the sockets themselves are the listener's to know. */
  readonly #occupancy = new Map<string, number>()
  readonly #guard: SlowGuard

  constructor(deps: HubDependencies) {
    this.#deps = deps
    this.#guard = new SlowGuard({
      clients: () => this.#clients.values(),
      close: (client) => this.#closeSlow(client),
      softBytes: deps.bufferBytes,
      hardBytes: deps.hardBufferBytes,
    })
  }

  get size(): number {
    return this.#clients.size
  }

  get channels(): ReadonlyMap<string, number> {
    return this.#occupancy
  }

  [Symbol.iterator](): Iterator<Client> {
    return this.#clients.values()
  }

  get(session: string): Client | undefined {
    return this.#clients.get(session)
  }

  of(user: string): readonly Client[] {
    return [...(this.#users.get(user) ?? [])]
  }

  on(channel: string): readonly Client[] {
    if (!this.#occupancy.has(channel)) return []
    return [...this.#clients.values()].filter((client) => client.subscriptions.has(channel))
  }

  start(): void {
    this.#guard.start()
  }

  stop(): void {
    this.#guard.stop()
  }

  add(client: Client): void {
    this.#clients.set(client.session, client)
    this.#deps.counts.connectionsOpened++
  }

  remove(client: Client): void {
    if (!this.#clients.delete(client.session)) return
    for (const channel of client.subscriptions.keys()) this.#vacate(channel)
    client.end()
    const user = client.user
    if (user === null) return
    const tabs = this.#users.get(user)
    tabs?.delete(client)
    if (tabs?.size === 0) this.#users.delete(user)
  }

  identify(client: Client, user: User): void {
    client.identify(user)
    if (!client.open) return
    const tabs = this.#users.get(user.id)
    if (tabs === undefined) this.#users.set(user.id, new Set([client]))
    else tabs.add(client)
  }

  /** From now on, and not a publication earlier, the client gets what comes on the channel. */
  join(client: Client, channel: string, kind: SubscriptionKind): void {
    if (!client.open) return
    if (!client.subscriptions.has(channel)) {
      this.#occupancy.set(channel, (this.#occupancy.get(channel) ?? 0) + 1)
    }
    client.enter(channel, kind)
  }

  /** False when the client was not on the channel. */
  leave(client: Client, channel: string): boolean {
    if (!client.exit(channel)) return false
    this.#vacate(channel)
    return true
  }

  /** A frame of so many units is about to go to one client. */
  sending(units: number): void {
    this.#guard.count(units)
  }

  /** Hands a publication to this node's subscribers. */
  deliver(channel: string, message: string, exclude?: string): void {
    const audience = this.#occupancy.get(channel)
    if (audience === undefined) return
    const frame = messageFrame(message)
    this.#guard.count(frame.length)
    const excluded = exclude === undefined ? undefined : this.#clients.get(exclude)
    if (excluded?.subscriptions.has(channel) === true) {
      excluded.link.publishToOthers(channel, frame)
      this.#deps.counts.deliveries += audience - 1
    } else {
      this.#deps.publish(channel, frame)
      this.#deps.counts.deliveries += audience
    }
  }

  close(client: Client, code: number, reason: string): void {
    if (!client.open) return
    this.#deps.counts.closed(code)
    // Ended first: with uWS the close handler runs within `close`.
    client.end()
    client.link.close(code, reason)
  }

  /** A module puts a client on a channel: it is told as if it had asked. */
  subscribeByServer(client: Client, channel: string): Promise<void> {
    if (!isChannel(channel)) {
      return Promise.reject(new ClientError('unknown_channel', `'${channel}' is no channel's name`))
    }
    // On its way to the live stream already.
    if (client.isRecovering(channel)) return Promise.resolve()
    if (!client.subscriptions.has(channel)) {
      const cursor = this.#deps.cursorOf(channel)
      client.send(subscribedFrame({ id: undefined, channel, cursor, recovered: false, messages: [] }))
    }
    this.join(client, channel, 'server')
    return Promise.resolve()
  }

  unsubscribeByServer(client: Client, channel: string): void {
    if (!client.endRecovery(channel) && !this.leave(client, channel)) return
    client.send(unsubscribedFrame(channel, 'forbidden', 'ended by the application'))
  }

  #vacate(channel: string): void {
    const left = this.#occupancy.get(channel)! - 1
    if (left === 0) this.#occupancy.delete(channel)
    else this.#occupancy.set(channel, left)
  }

  #closeSlow(client: Client): void {
    this.#deps.counts.slowClients++
    this.close(client, CLOSE.tooSlow, 'too slow')
  }
}
