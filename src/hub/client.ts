import { randomFillSync } from 'node:crypto'
import { type Grants, grantsOf, NO_GRANTS } from '../auth/access.ts'
import { CLOSE, closeReason, isCloseCode } from '../protocol/codes.ts'
import { eventFrame } from '../protocol/encode.ts'
import type { Connection, User } from '../registry/define.ts'
import type { Link } from './link.ts'

/** Why a client is on a channel: it asked and the policy let it, or a module put it there. */
export type SubscriptionKind = 'policy' | 'server'

/** Where a client lives: the hub, as far as a client knows it. */
export interface ClientHome {
  subscribeByServer(client: Client, channel: string): Promise<void>
  unsubscribeByServer(client: Client, channel: string): void
  close(client: Client, code: number, reason: string): void
  /** A frame of so many units is about to go to one client. */
  sending(units: number): void
}

/** One connection, whatever carries its bytes. Kept small: what few clients need is made when needed. */
export class Client implements Connection {
  readonly session: string = newSession()
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
  #recovering: Set<string> | null = null
  #open = true

  constructor(
    home: ClientHome,
    link: Link,
    origin: { readonly address: string; readonly transport: string },
  ) {
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
    return this.send(eventFrame(event, args))
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

  send(frame: string): boolean {
    if (!this.#open) return false
    // May find that the client is too slow, and close it.
    this.#home.sending(frame.length)
    return this.#open && this.link.send(frame)
  }

  /** Channels whose missed messages are on their way: not live yet. */
  get recovering(): readonly string[] {
    return this.#recovering === null ? [] : [...this.#recovering]
  }

  isRecovering(channel: string): boolean {
    return this.#recovering?.has(channel) === true
  }

  recover(channels: readonly string[] | null): void {
    this.#recovering = channels === null ? null : new Set(channels)
  }

  /** False when the channel was not recovering. */
  endRecovery(channel: string): boolean {
    return this.#recovering?.delete(channel) === true
  }

  /** Resolves when the link has sent some of what it buffers, or has ended. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#open) (this.#drained ??= []).push(resolve)
      else resolve()
    })
  }

  onDrain(): void {
    const waiting = this.#drained
    this.#drained = null
    if (waiting !== null) for (const resolve of waiting) resolve()
  }

  /** Only the hub calls what follows: it keeps its own indexes beside. */
  identify(user: User): void {
    this.#identity = user
    this.#grants = grantsOf(user)
  }

  enter(channel: string, kind: SubscriptionKind): void {
    ;(this.#subscriptions ??= new Map()).set(channel, kind)
    this.link.join(channel)
  }

  /** False when it was not there, or has gone: who goes is taken off all its channels at once. */
  exit(channel: string): boolean {
    if (!this.#open || this.#subscriptions?.delete(channel) !== true) return false
    this.link.leave(channel)
    return true
  }

  end(): void {
    this.#open = false
    this.onDrain()
  }
}

const NONE: ReadonlyMap<string, SubscriptionKind> = new Map()

/** 96 random bits: names a connection in public and authorises nothing. */
function newSession(): string {
  return randomFillSync(Buffer.allocUnsafe(12)).toString('base64url')
}
