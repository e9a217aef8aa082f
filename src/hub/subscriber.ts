import type { ChannelPolicy } from '../config/config.ts'
import { type Decision, mayPublish, maySubscribe } from '../auth/access.ts'
import { formatCursor, parseCursor } from '../journal/cursor.ts'
import type { Journal, Page } from '../journal/journal.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import type { FrameId } from '../protocol/encode.ts'
import { subscribedFrame, unsubscribedFrame } from '../protocol/encode.ts'
import { restOf, subsystemOf } from '../protocol/names.ts'
import type { Services } from '../registry/context.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { Client } from './client.ts'
import type { Hub } from './hub.ts'
import { type Range, Recovery } from './recovery.ts'

export interface SubscriberDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly journal: Journal
  readonly services: Services
}

/** Lets clients onto channels: asks the policy and the hook, gives them what they missed, joins them. */
export class Subscriber {
  readonly #deps: SubscriberDependencies

  constructor(deps: SubscriberDependencies) {
    this.#deps = deps
  }

  /**
   * Subscribes to one channel and answers with `subscribed`. Resolves when the client is on the live stream.
   * @throws {ClientError} unknown_channel, forbidden, unauthenticated, limit_exceeded, invalid_input
   */
  subscribe(client: Client, id: FrameId | undefined, channel: string, range: Range): MaybePromise<void> {
    const { rules } = this.#deps.live
    this.#checkLimit(client, [channel])
    const admitted = this.admit(client, channel)
    if (!(admitted instanceof Promise)) return this.#start(client, id, [channel], range)
    return admitted.then(() =>
      // A policy that was swapped meanwhile has not been asked.
      this.#deps.live.rules === rules
        ? this.#start(client, id, [channel], range)
        : this.subscribe(client, id, channel, range),
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
    await this.#start(client, undefined, channels, range)
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
    const subsystem = subsystemOf(channel)
    const hook = registry.subscribe.get(subsystem)
    const decision = maySubscribe(policy, client.identity, client.grants, channel)
    // The policy first, then the hook: where both are, both must let it in.
    refuse(decision === 'hook' ? (hook === undefined ? 'forbidden' : 'yes') : decision, channel)
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
      client.send(unsubscribedFrame(channel, refusal.code, refusal.message))
    }
    return ended
  }

  /** @throws {ClientError} when the policy does not let this client publish there */
  checkPublish(client: Client, channel: string): void {
    refuse(mayPublish(this.#policyOf(channel), client.identity, client.grants, channel), channel)
  }

  isJournaled(channel: string): boolean {
    return this.#deps.live.rules.config.channels.get(subsystemOf(channel))?.history != null
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
    const policy = this.#deps.live.rules.config.channels.get(subsystemOf(channel))
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

  #start(
    client: Client,
    id: FrameId | undefined,
    channels: readonly string[],
    range: Range,
  ): MaybePromise<void> {
    const { hub } = this.#deps
    const journaled = channels.filter((channel) => this.isJournaled(channel))
    for (const channel of channels) {
      if (journaled.includes(channel)) continue
      client.send(subscribedFrame({ id, channel, cursor: null, recovered: false, messages: [] }))
      hub.join(client, channel, 'policy')
    }
    if (journaled.length === 0) return undefined
    const admit = (who: Client, channel: string): MaybePromise<void> => this.admit(who, channel)
    const recovery = new Recovery({ ...this.#deps, admit }, client, id, journaled)
    const page = this.#firstPage(journaled, range)
    if (page instanceof Promise) return page.then((known) => recovery.begin(known, range))
    return recovery.begin(page, range)
  }

  #firstPage(channels: readonly string[], { since, last }: Range): MaybePromise<Page | null> {
    const { journal } = this.#deps
    const limit = this.#deps.live.rules.config.limits.recoveryMessages
    if (last !== undefined) return journal.last(channels, Math.min(last, limit))
    if (since === undefined) return null
    const cursor = parseCursor(since)
    if (cursor === null) throw new ClientError('invalid_input', 'since: expected a cursor')
    if (cursor.epoch !== journal.epoch) {
      return { entries: [], lost: channels, more: false, upTo: journal.head }
    }
    return journal.since(channels, cursor.position, limit)
  }

  /** The cursor at which a subscription that starts now stands; null on a transient channel. */
  cursorOf(channel: string): string | null {
    const { journal } = this.#deps
    return this.isJournaled(channel) ? formatCursor(journal.epoch, journal.head) : null
  }
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
