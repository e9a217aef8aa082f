import type { ChannelPolicy } from '../config/config.ts'
import { type Decision, mayPublish, maySubscribe } from '../auth/access.ts'
import { formatCursor, parseCursor } from '../journal/cursor.ts'
import type { Journal } from '../journal/journal.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import type { FrameId } from '../protocol/frames.ts'
import { restOf, subsystemOf } from '../protocol/names.ts'
import type { Services } from '../registry/context.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import { type Answer, type Asked, unasked } from './answer.ts'
import type { Client, SubscriptionKind } from './client.ts'
import { notReached } from './history.ts'
import type { Hub } from './hub.ts'
import type { Mailboxes } from './mailboxes.ts'
import { paced } from './pacing.ts'
import { checkDatabase, conflateOf, isJournaled, policyOf } from './policies.ts'
import { Recovery, type Wanted } from './recovery.ts'

/** What a subscriber asks of the past: nothing, what came after a cursor, or the newest. */
export interface Range {
  readonly since?: string | undefined
  readonly last?: number | undefined
}

export interface SubscriberDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly journal: Journal
  /** Null without a database: there are no mailboxes then. */
  readonly mailboxes: Mailboxes | null
  readonly services: Services
}

/** Who wants to publish; without a connection where it asks by HTTP. */
export interface PublishAsker extends Pick<Client, 'identity' | 'grants'> {
  readonly client: Client | null
}

/** Lets clients onto channels: asks the policy and the hook, gives them what they missed, joins them. */
export class Subscriber {
  readonly #deps: SubscriberDependencies

  constructor(deps: SubscriberDependencies) {
    this.#deps = deps
  }

  /**
   * Subscribes to one channel and answers with `subscribed`. Resolves when the client is on the live stream.
   * @param answer where `subscribed` goes
   * @throws {ClientError} unknown_channel, forbidden, unauthenticated, limit_exceeded, invalid_input; unavailable while
   *   the journal can't be reached
   */
  subscribe(
    client: Client,
    id: FrameId | undefined,
    channel: string,
    range: Range,
    answer: Answer = client,
  ): MaybePromise<void> {
    const { rules } = this.#deps.live
    this.#checkLimit(client, [channel])
    const admitted = this.admit(client, channel)
    if (!(admitted instanceof Promise)) return this.#start(client, { id, answer }, [channel], range)
    return admitted.then(() =>
      // A policy that was swapped meanwhile has not been asked.
      this.#deps.live.rules === rules
        ? this.#start(client, { id, answer }, [channel], range)
        : this.subscribe(client, id, channel, range, answer),
    )
  }

  /** Subscribes to several at once: what they missed comes in one order over all of them. */
  async subscribeAll(client: Client, channels: readonly string[], range: Range): Promise<void> {
    this.#checkLimit(client, channels)
    let rules
    do {
      rules = this.#deps.live.rules
      for (const channel of channels) await this.admit(client, channel)
    } while (rules !== this.#deps.live.rules)
    await this.#start(client, unasked(client), channels, range)
  }

  /**
   * Asks whether the client may subscribe: returns when it may.
   * @throws {ClientError}
   */
  admit(client: Client, channel: string): MaybePromise<void> {
    const { config, registry } = this.#deps.live.rules
    const policy = this.#policyOf(channel)
    if (channel.length > config.limits.channelLength) {
      throw new ClientError('unknown_channel', `longer than ${config.limits.channelLength} characters`)
    }
    checkDatabase(policy, channel)
    const subsystem = subsystemOf(channel)
    const hook = registry.subscribe.get(subsystem)
    const decision = maySubscribe(policy, client.identity, client.grants, channel)
    // The policy first, then the hook: where both are, both must let it in.
    refuse(decision === 'hook' ? (hook === undefined ? 'forbidden' : 'yes') : decision, channel)
    // Whatever the policy says: a mailbox is somebody's.
    if (policy.mailbox && client.identity === null) refuse('unauthenticated', channel)
    if (hook === undefined) return undefined
    const place = `${subsystem}.subscribe`
    const answer = runHook(
      { place, connection: client, deadlineMs: config.limits.callMs },
      this.#deps.services,
      (run) => hook({ channel, subsystem, rest: restOf(channel) }, run),
    )
    if (answer instanceof Promise) return answer.then((yes) => refuseUnless(yes, channel))
    return refuseUnless(answer, channel)
  }

  /**
   * Asks the present policies, for the user that the client is now, about each subscription that one let in;
   * ends those that are refused. Resolves with their number, never rejects.
   */
  async recheck(client: Client): Promise<number> {
    let ended = 0
    for (const [channel, kind] of [...client.subscriptions]) {
      if (kind === 'server') continue
      const refusal = await this.#refusalOf(client, channel)
      if (refusal === null || !this.#deps.hub.leave(client, channel)) continue
      ended++
      client.send({ type: 'unsubscribed', channel, code: refusal.code, message: refusal.message })
    }
    return ended
  }

  /**
   * Asks whether this may be published: the policy first, then the hook. Returns when it may.
   * @throws {ClientError}
   */
  admitPublish(asker: PublishAsker, channel: string, data: unknown): MaybePromise<void> {
    const { client, identity, grants } = asker
    const { rules } = this.#deps.live
    refuse(mayPublish(this.#policyOf(channel), identity, grants, channel), channel)
    const subsystem = subsystemOf(channel)
    const hook = rules.registry.publish.get(subsystem)
    if (hook === undefined) return undefined
    const { id: user = null, database = null } = identity ?? {}
    const place = `${subsystem}.publish`
    const call = { place, connection: client, user, database, deadlineMs: rules.config.limits.callMs }
    const answer = runHook(call, this.#deps.services, (run) =>
      hook({ channel, subsystem, rest: restOf(channel), data }, run),
    )
    if (!(answer instanceof Promise)) return refuseUnless(answer, channel)
    return answer.then((yes) => {
      refuseUnless(yes, channel)
      // A policy that was swapped meanwhile has not been asked.
      return this.#deps.live.rules === rules ? undefined : this.admitPublish(asker, channel, data)
    })
  }

  isJournaled(channel: string): boolean {
    return isJournaled(this.#deps.live, channel)
  }

  async #refusalOf(client: Client, channel: string): Promise<ClientError | null> {
    try {
      const asked = this.admit(client, channel)
      if (asked instanceof Promise) await asked
      return null
    } catch (error) {
      // Whatever kept the policy from saying yes: closed is the safe side.
      return isClientError(error) ? error : new ClientError('internal', 'the policy could not be asked')
    }
  }

  #policyOf(channel: string): ChannelPolicy {
    const policy = policyOf(this.#deps.live, channel)
    if (policy === undefined) {
      throw new ClientError('unknown_channel', `no subsystem '${subsystemOf(channel)}'`)
    }
    return policy
  }

  #checkLimit(client: Client, channels: readonly string[]): void {
    const { subscriptions } = this.#deps.live.rules.config.limits
    const added = channels.filter((channel) => !client.subscriptions.has(channel)).length
    if (client.subscriptions.size + added > subscriptions) {
      throw new ClientError('limit_exceeded', `at most ${subscriptions} subscriptions a connection`)
    }
  }

  #start(client: Client, asked: Asked, channels: readonly string[], range: Range): MaybePromise<void> {
    const wanted = wantedOf(range)
    const journaled = channels.filter((channel) => this.isJournaled(channel))
    if (journaled.length > 0 && this.#deps.journal.epoch === '') throw notReached()
    for (const channel of channels) {
      if (!journaled.includes(channel)) this.#startTransient(client, asked, channel)
    }
    if (journaled.length === 0) return paced(client, this.#deps.live.rules.config.limits)
    if (wanted !== null) return this.#recover(client, asked, journaled, wanted)
    const mailboxes = journaled.filter((channel) => this.#policyOf(channel).mailbox)
    for (const channel of journaled) {
      if (mailboxes.includes(channel)) continue
      // A second subscribe that asks for nothing goes on where the first one is.
      const cursor = this.cursorOf(channel)
      const { id, answer } = asked
      answer.send({ type: 'subscribed', id, channel, cursor, recovered: false, messages: [] })
      this.#deps.hub.join(client, channel, 'policy')
    }
    return mailboxes.length === 0 ? undefined : this.#openMailboxes(client, asked, mailboxes)
  }

  #startTransient(client: Client, asked: Asked, channel: string): void {
    const { hub, live } = this.#deps
    if (conflateOf(live, channel) !== null) return hub.joinConflated(client, channel, 'policy', asked)
    const { id, answer } = asked
    answer.send({ type: 'subscribed', id, channel, cursor: null, recovered: false, messages: [] })
    hub.join(client, channel, 'policy')
  }

  /** One after the other: each has a place of its own. */
  async #openMailboxes(client: Client, asked: Asked, channels: readonly string[]): Promise<void> {
    for (const channel of channels) {
      const opened = this.#openMailbox(client, asked, channel, 'policy', channels.length > 1)
      if (opened !== undefined) await opened
    }
  }

  #openMailbox(
    client: Client,
    asked: Asked,
    channel: string,
    kind: SubscriptionKind,
    partial = false,
  ): MaybePromise<void> {
    const { mailboxes } = this.#deps
    const { userKey: user } = client
    if (user === null) throw new ClientError('unauthenticated', `${channel} is for authenticated users`)
    if (mailboxes === null) throw new ClientError('unavailable', 'mailboxes need a database')
    const wanted: Wanted = { what: 'own', read: () => mailboxes.read(user, channel) }
    return this.#recover(client, asked, [channel], wanted, kind, partial)
  }

  #recover(
    client: Client,
    asked: Asked,
    channels: readonly string[],
    wanted: Wanted,
    kind: SubscriptionKind = 'policy',
    partial = false,
  ): MaybePromise<void> {
    const admit = (who: Client, channel: string): MaybePromise<void> => this.admit(who, channel)
    return new Recovery({ ...this.#deps, admit }, { client, asked, channels, kind, wanted, partial }).run()
  }

  /**
   * Brings a client what it missed, since a cursor, where modules have put it: no policy is asked.
   * @throws {ClientError} invalid_input, unavailable
   */
  resume(client: Client, channels: readonly string[], since: string): MaybePromise<void> {
    const wanted = wantedOf({ since })
    return wanted === null ? undefined : this.#recover(client, unasked(client), channels, wanted, 'server')
  }

  /** For modules: no policy is asked. @throws {ClientError} unauthenticated, unavailable */
  async openMailbox(client: Client, channel: string): Promise<void> {
    if (this.#deps.journal.epoch === '') throw notReached()
    await this.#openMailbox(client, unasked(client), channel, 'server')
  }

  /**
   * Moves the user's mailbox cursor, at this turn; resolves when that is durable.
   * @throws {ClientError} at once: invalid_input, unauthenticated, unknown_channel; later: unavailable
   */
  confirm(client: Client, channel: string, text: string): Promise<void> {
    const { journal, mailboxes } = this.#deps
    if (!this.#policyOf(channel).mailbox) throw new ClientError('invalid_input', `${channel} is no mailbox`)
    const { userKey: user } = client
    if (user === null) throw new ClientError('unauthenticated', `${channel} is for authenticated users`)
    if (mailboxes === null) throw new ClientError('unavailable', 'mailboxes need a database')
    if (journal.epoch === '') throw notReached()
    const cursor = parseCursor(text)
    if (cursor === null) throw new ClientError('invalid_input', 'cursor: expected a cursor')
    if (cursor.epoch !== journal.epoch) {
      throw new ClientError('invalid_input', 'cursor: it is of another journal: subscribe again')
    }
    // Who is live was given everything up to the head.
    const live = client.subscriptions.has(channel) ? journal.head : -1
    const given = Math.max(live, client.recoveryOf(channel)?.given ?? -1)
    if (given === -1) throw new ClientError('invalid_input', `channel: not subscribed to ${channel}`)
    if (cursor.position > given) throw new ClientError('invalid_input', 'cursor: beyond what was delivered')
    return mailboxes.confirm(user, channel, cursor.position)
  }

  /** Positions start anew: every live subscription to a journaled channel is told that it does. */
  onEpoch(): void {
    for (const client of this.#deps.hub) {
      for (const channel of client.subscriptions.keys()) {
        // Who is recovering is told there.
        if (!this.isJournaled(channel) || client.isRecovering(channel)) continue
        const cursor = this.cursorOf(channel)
        client.send({ type: 'subscribed', channel, cursor, recovered: false, messages: [], lost: true })
      }
    }
  }

  /**
   * The cursor at which a subscription that starts now stands; null on a transient channel.
   * @throws {ClientError} unavailable before the journal was reached
   */
  cursorOf(channel: string): string | null {
    const { journal } = this.#deps
    if (!this.isJournaled(channel)) return null
    if (journal.epoch === '') throw notReached()
    return formatCursor(journal.epoch, journal.head)
  }
}

/** Null where nothing is asked. */
function wantedOf({ since, last }: Range): Wanted | null {
  if (last !== undefined) return { what: 'last', count: last }
  if (since === undefined) return null
  const cursor = parseCursor(since)
  if (cursor === null) throw new ClientError('invalid_input', 'since: expected a cursor')
  return { what: 'since', cursor }
}

function refuse(verdict: Decision, channel: string): void {
  if (verdict === 'yes') return
  throw new ClientError(
    verdict,
    verdict === 'unauthenticated'
      ? `${channel} is for authenticated users`
      : `${channel} is not for this client`,
  )
}

function refuseUnless(yes: unknown, channel: string): void {
  // True itself: a hook that forgets to return, or answers an object, must not open the channel.
  if (typeof yes !== 'boolean' || !yes)
    throw new ClientError('forbidden', `${channel} is not for this client`)
}
