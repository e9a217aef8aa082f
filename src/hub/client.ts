import { randomFillSync } from 'node:crypto'
import { type Grants, grantsOf, NO_GRANTS } from '../auth/access.ts'
import { CLOSE, ClientError, closeReason, isCloseCode } from '../protocol/codes.ts'
import { Args } from '../protocol/args.ts'
import type { FrameId, ServerFrame } from '../protocol/frames.ts'
import { userKey } from '../protocol/people.ts'
import type { AckOptions, Connection, User } from '../registry/define.ts'
import { type AckWaiter, awaitAck, checkAckMs, PendingAcks } from './events.ts'
import type { Link } from './link.ts'

/** Why a client is on a channel: it asked and the policy let it, or a module put it there. */
export type SubscriptionKind = 'policy' | 'server'

/** Brings a client what it missed on some channels. */
export interface Missed {
  /** The position up to which the client was given everything. */
  readonly given: number
}

/** In how many parts those whose subscriptions are complete are told so: all at once would hold up the others. */
export const COMPLETE_PARTS = 16

/** The topic of a part of those whose subscriptions are complete. No channel has such a name. */
export function completeTopic(part: number): string {
  return ` complete ${part}`
}

/** A topic is this or a channel's name. */
export function isCompleteTopic(topic: string): boolean {
  return topic.startsWith(' ')
}

/** Where a client lives: the hub, as far as a client knows it. */
export interface ClientHome {
  subscribeByServer(client: Client, channel: string): Promise<void>
  unsubscribeByServer(client: Client, channel: string): void
  close(client: Client, code: number, reason: string): void
  /** Some of what waited for the client has left. */
  drained(client: Client): void
  /** Whether the channel has a history, at present. */
  isJournaled(channel: string): boolean
  /** How many answers of one client may be waited for, and for how long where nothing is said. */
  readonly acks: { readonly pending: number; readonly timeoutMs: number }
  /** A client was asked for an answer; nobody waits for it any more. */
  noteAck(what: 'wanted' | 'missed'): void
  /** Sends an event to all other clients, of all nodes. */
  broadcast(sender: Client, event: string, args: Args): void
}

/** One connection, whatever carries its bytes. Kept small: what few clients need is made when needed. */
export class Client implements Connection {
  readonly session: string
  readonly since: number = Date.now()
  readonly address: string
  readonly transport: string
  readonly link: Link
  readonly #home: ClientHome
  #identity: User | null = null
  #grants: Grants = NO_GRANTS
  #subscriptions: Map<string, SubscriptionKind> | null = null
  #bag: Map<string, unknown> | null = null
  #drained: (() => void)[] | null = null
  #recovering: Map<string, Missed> | null = null
  #acks: PendingAcks | null = null
  /** On a topic of those that are complete. */
  #complete = false
  #open = true

  constructor(
    home: ClientHome,
    link: Link,
    origin: {
      readonly address: string
      readonly transport: string
      /** As the transport names it in public already. @default a new one */
      readonly session?: string
    },
  ) {
    this.session = origin.session ?? newSession()
    this.#home = home
    this.link = link
    this.address = origin.address
    this.transport = origin.transport
  }

  get open(): boolean {
    return this.#open
  }

  get identity(): User | null {
    return this.#identity
  }

  /** What the user's token opens beside the policies. */
  get grants(): Grants {
    return this.#grants
  }

  get user(): string | null {
    return this.#identity === null ? null : this.#identity.id
  }

  get database(): string | null {
    return this.#identity?.database ?? null
  }

  /** Names the user among those of all databases; null until authenticated. */
  get userKey(): string | null {
    return this.#identity === null ? null : userKey(this.#identity)
  }

  get info(): unknown {
    return this.#identity?.info ?? null
  }

  get channels(): readonly string[] {
    return this.#subscriptions === null ? [] : [...this.#subscriptions.keys()]
  }

  get bag(): Map<string, unknown> {
    return (this.#bag ??= new Map())
  }

  get subscriptions(): ReadonlyMap<string, SubscriptionKind> {
    return this.#subscriptions ?? NONE
  }

  emit(event: string, ...args: unknown[]): boolean {
    return this.send({ type: 'event', event, args: Args.of(args) })
  }

  async emitWithAck(
    event: string,
    args: readonly unknown[] = [],
    options: AckOptions = {},
  ): Promise<readonly unknown[]> {
    const timeoutMs = checkAckMs(options.timeoutMs ?? this.#home.acks.timeoutMs)
    return awaitAck((waiter) => this.ask(event, Args.of(args), waiter), timeoutMs)
  }

  broadcast(event: string, ...args: unknown[]): void {
    this.#home.broadcast(this, event, Args.of(args))
  }

  subscribe(channel: string): Promise<void> {
    return this.#home.subscribeByServer(this, channel)
  }

  unsubscribe(channel: string): void {
    this.#home.unsubscribeByServer(this, channel)
  }

  /** @throws {RangeError} for a code that no server may close with */
  disconnect(reason = 'disconnected', code: number = CLOSE.disconnected): void {
    if (!isCloseCode(code)) {
      throw new RangeError(
        `disconnect: expected a code of 1000, 1001, 1008, 1011 to 1013 or 3000 to 4999, got ${code}`,
      )
    }
    this.#home.close(this, code, closeReason(reason))
  }

  /**
   * Sends one frame, or a text or Buffer as the event `message`; false when the client is gone.
   * @throws {TypeError} where JSON can't carry an event's arguments
   */
  send(frame: ServerFrame | string | Buffer): boolean {
    if (typeof frame === 'string' || Buffer.isBuffer(frame)) return this.emit('message', frame)
    return this.#open && this.link.send(frame)
  }

  /**
   * Sends an event that asks for an answer, of which the waiter is told. Gives what takes the question back; null where
   * the client has gone: the waiter is not told so.
   * @throws {ClientError} limit_exceeded
   * @throws {TypeError} where JSON can't carry the arguments
   */
  ask(event: string, args: Args, waiter: AckWaiter): (() => void) | null {
    const { pending } = this.#home.acks
    if (!this.#open) return null
    const acks = (this.#acks ??= new PendingAcks())
    if (acks.size >= pending) {
      throw new ClientError('limit_exceeded', `at most ${pending} events of a connection wait for answers`)
    }
    const id = acks.add(waiter)
    let sent = false
    try {
      sent = this.send({ type: 'event', event, args, id })
    } finally {
      // It may have been closed meanwhile, and the waiter told.
      if (!sent && acks.take(id) === undefined) sent = true
    }
    if (!sent) return null
    this.#home.noteAck('wanted')
    return () => {
      if (acks.take(id) !== undefined) this.#home.noteAck('missed')
    }
  }

  /** The client's answer to an event; false where nobody waits for it. */
  acknowledge(id: FrameId, args: readonly unknown[]): boolean {
    const waiter = this.#acks?.take(id)
    waiter?.acknowledged(args)
    return waiter !== undefined
  }

  /** Whether `by` brings it all that it misses, and no other journaled channel of its is live meanwhile. */
  isAllOf(by: Missed): boolean {
    if (this.#recovering !== null) for (const one of this.#recovering.values()) if (one !== by) return false
    return !this.#hasJournaled()
  }

  /** Channels whose missed messages are asked for or on their way. */
  get recovering(): readonly string[] {
    return this.#recovering === null ? [] : [...this.#recovering.keys()]
  }

  isRecovering(channel: string): boolean {
    return this.#recovering?.has(channel) === true
  }

  /** Who brings it what it missed there. */
  recoveryOf(channel: string): Missed | undefined {
    return this.#recovering?.get(channel)
  }

  /** From now on these are `by`'s: whoever had one of them before has it no more. */
  beginRecovery(channels: readonly string[], by: Missed): void {
    if (!this.#open) return
    this.#recovering ??= new Map()
    for (const channel of channels) this.#recovering.set(channel, by)
    this.#track()
  }

  /** False when the channel was not recovering, or not as `by`'s. */
  endRecovery(channel: string, by?: Missed): boolean {
    const owner = this.#recovering?.get(channel)
    if (owner === undefined || (by !== undefined && owner !== by)) return false
    this.#recovering!.delete(channel)
    if (this.#recovering!.size === 0) this.#recovering = null
    this.#track()
    return true
  }

  /** Resolves when the link has sent some of what it buffers, or has ended. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#open) (this.#drained ??= []).push(resolve)
      else resolve()
    })
  }

  onDrain(): void {
    this.#wake()
    if (this.#open) this.#home.drained(this)
  }

  /** Only the hub calls what follows: it keeps its own indexes beside. */
  identify(user: User): void {
    this.#identity = user
    this.#grants = grantsOf(user)
  }

  enter(channel: string, kind: SubscriptionKind): void {
    ;(this.#subscriptions ??= new Map()).set(channel, kind)
    this.link.join(channel)
    if (!this.#complete) this.#track()
  }

  /** False when it was not there, or has gone: who goes is taken off all its channels at once. */
  exit(channel: string): boolean {
    if (!this.#open || this.#subscriptions?.delete(channel) !== true) return false
    this.link.leave(channel)
    if (this.#complete) this.#track()
    return true
  }

  end(): void {
    this.#open = false
    this.#wake()
    const acks = this.#acks
    this.#acks = null
    acks?.end()
  }

  #wake(): void {
    const waiting = this.#drained
    this.#drained = null
    if (waiting !== null) for (const resolve of waiting) resolve()
  }

  /** Complete is who has a journaled subscription and misses nothing on any. */
  #track(): void {
    if (!this.#open) return
    const complete = this.#recovering === null && this.#hasJournaled()
    if (complete === this.#complete) return
    this.#complete = complete
    // Sessions are random: so are the parts.
    const topic = completeTopic(this.session.charCodeAt(0) % COMPLETE_PARTS)
    if (complete) this.link.join(topic)
    else this.link.leave(topic)
  }

  #hasJournaled(): boolean {
    for (const channel of this.subscriptions.keys()) if (this.#home.isJournaled(channel)) return true
    return false
  }
}

const NONE: ReadonlyMap<string, SubscriptionKind> = new Map()

/** 96 random bits: names a connection in public and authorises nothing. */
function newSession(): string {
  return randomFillSync(Buffer.allocUnsafe(12)).toString('base64url')
}
