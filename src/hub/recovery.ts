import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Cursor, formatCursor } from '../journal/cursor.ts'
import type { Entry, Journal, Page } from '../journal/journal.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import { type Asked, unasked } from './answer.ts'
import type { Client, Missed, SubscriptionKind } from './client.ts'
import type { Hub } from './hub.ts'
import { fitting, highWaterOf, paced } from './pacing.ts'

/** What a subscriber wants of the past: what came after a cursor, the newest, or what it has not confirmed. */
export type Wanted =
  | { readonly what: 'since'; readonly cursor: Cursor }
  | { readonly what: 'last'; readonly count: number }
  /** Of one mailbox. `read` answers with the user's own place; null where there is none yet. */
  | { readonly what: 'own'; read(): Promise<number | null> }

export interface Subscription {
  readonly client: Client
  readonly asked: Asked
  readonly channels: readonly string[]
  readonly kind: SubscriptionKind
  readonly wanted: Wanted
  /** Further recoveries of what was asked for follow: what this one brings proves no place for all of it. */
  readonly partial: boolean
}

export interface RecoveryDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly journal: Journal
  /** Asks the policy again. @throws {ClientError} */
  admit(client: Client, channel: string): MaybePromise<void>
}

/**
 * Brings one client from a place in the journal to the live stream. What it missed goes out page by page, paced by
 * its link; it joins in the same turn of the event loop in which a page reaches the journal's head, so that nothing
 * falls between the two and nothing comes twice. A page that had to be waited for ends at the head of when it was
 * asked for; what came since is in memory, and is had at once: steady traffic can't keep a client from the stream.
 *
 * After every wait the world is looked at again: the client may have gone, been taken off a channel, or be another
 * recovery's; the policies may be others; positions may have started anew.
 */
export class Recovery implements Missed {
  given = 0
  readonly #deps: RecoveryDependencies
  readonly #subscription: Subscription
  readonly #client: Client
  /** What is sent and proved is of this epoch, and of these rules. */
  #epoch: string
  #rules: Live['rules']
  /** The channels are this recovery's as long as the client says so. */
  #registered = false
  #answered = false
  /** Whether `recovered: true` would be a lie, whatever the pages say. */
  #unproved = false
  /** The user's own place, once it is known. */
  #own: number | null | undefined
  /** Where it is read by what is left of the channels: from these positions on. */
  #starts: ReadonlyMap<string, number> | null = null
  /** How far each channel is known to have lost something: the client was told. */
  readonly #gone = new Map<string, number>()

  constructor(deps: RecoveryDependencies, subscription: Subscription) {
    this.#deps = deps
    this.#subscription = subscription
    this.#client = subscription.client
    this.#epoch = deps.journal.epoch
    this.#rules = deps.live.rules
  }

  /**
   * Answers with `subscribed`, sends what was missed, and joins; resolves when the client's next frame may be looked
   * at.
   * @throws {ClientError} before the answer; afterwards the client is told by `unsubscribed`
   */
  run(): MaybePromise<void> {
    const page = this.#first()
    return page instanceof Promise ? this.#wait(page) : this.#begin(page)
  }

  async #wait(asked: Promise<Page>): Promise<void> {
    const { live, journal } = this.#deps
    this.#register(this.#subscription.channels)
    try {
      let page = await asked
      for (;;) {
        if (this.#rules !== live.rules) await this.#askAgain()
        else if (this.#epoch !== journal.epoch) {
          this.#epoch = journal.epoch
          this.#unproved = true
          page = await this.#first()
        } else break
      }
      await this.#begin(page)
    } finally {
      this.#release()
    }
  }

  /** What is wanted, as far as one page goes. */
  #first(): MaybePromise<Page> {
    const { live, journal } = this.#deps
    const { channels, wanted } = this.#subscription
    this.#starts = null
    this.#gone.clear()
    if (wanted.what === 'own') return this.#unconfirmed(channels, wanted.read)
    if (wanted.what === 'last') {
      return this.#newest(
        journal.last(channels, Math.min(wanted.count, live.rules.config.limits.recoveryMessages)),
      )
    }
    if (wanted.cursor.epoch === journal.epoch) return this.#from(channels, wanted.cursor.position)
    return { entries: [], lost: channels, more: false, upTo: journal.head }
  }

  async #unconfirmed(channels: readonly string[], read: () => Promise<number | null>): Promise<Page> {
    this.#own ??= await read()
    if (this.#own !== null) {
      const page = await this.#from(channels, this.#own)
      if (page.lost.length === 0) return page
    }
    // What can't be proved from there any more: all that is left of it.
    return this.#kept(channels, this.#own ?? 0)
  }

  async #kept(channels: readonly string[], position: number): Promise<Page> {
    this.#unproved = true
    // A place that was never reached is none to go on from.
    const start = Math.min(position, this.#deps.journal.head)
    this.#starts = new Map(channels.map((channel) => [channel, start]))
    return { ...(await this.#left(position)), lost: [] }
  }

  /** The newest may be more than one page takes: then they come from the first on, as all that goes forward does. */
  #newest(asked: MaybePromise<Page>): MaybePromise<Page> {
    if (asked instanceof Promise) return asked.then((page) => this.#newest(page))
    const { more, starts, upTo } = asked
    if (!more || starts === undefined) return asked
    const { channels } = this.#subscription
    this.#starts = new Map(channels.map((channel) => [channel, starts.get(channel) ?? upTo]))
    return (async () => ({ ...(await this.#left(0)), lost: [] }))()
  }

  /** What is left after a position. `lost` are the channels that have lost more than is known, beyond it. */
  async #left(position: number): Promise<Page> {
    const { live, journal } = this.#deps
    const after = new Map<string, number>()
    for (const [channel, start] of this.#starts!) after.set(channel, Math.max(start, position))
    const page = await journal.left(after, live.rules.config.limits.recoveryMessages)
    const lost: string[] = []
    for (const [channel, gone] of page.gone) {
      if (gone > Math.max(after.get(channel)!, this.#gone.get(channel) ?? 0)) lost.push(channel)
      this.#gone.set(channel, gone)
    }
    return { ...page, lost }
  }

  #from(channels: readonly string[], position: number): MaybePromise<Page> {
    const { live, journal } = this.#deps
    return journal.since(channels, position, live.rules.config.limits.recoveryMessages)
  }

  #begin(page: Page): MaybePromise<void> {
    const { journal, live, hub } = this.#deps
    const client = this.#client
    const channels = this.#mine()
    if (!client.open) return undefined
    if (channels.length === 0) {
      if (this.#subscription.kind === 'server') return undefined
      throw new ClientError('forbidden', 'ended by the application')
    }
    // A second subscribe starts anew: off the live stream until what was asked for has been given.
    for (const channel of channels) hub.suspend(client, channel)
    const entries = page.entries.filter((entry) => entry.exclude !== client.session)
    const whole = channels.length === 1 && this.#subscription.asked.answer.apart !== true
    const fit = whole ? fitting(entries, live.rules.config.limits) : 0
    const first = entries.slice(0, fit)
    const rest = entries.slice(fit)
    this.given = rest.length === 0 ? page.upTo : rest[0]!.position - 1
    for (const channel of channels) {
      // A lost channel begins where this page ends: live from now on, it would run ahead of the others, and
      // the newest message's id would be no cursor for all of them.
      if (page.lost.includes(channel)) this.#answer(channel, page.upTo, false)
      else this.#answer(channel, this.given, this.#isProof, first)
    }
    this.#answered = true
    if (rest.length > 0 || page.more || page.upTo !== journal.head) {
      return this.#flow({ ...page, entries: rest, lost: [] }, channels)
    }
    this.#join(channels)
    return paced(client, live.rules.config.limits)
  }

  /** Whether a place in what it brings is one for all the client's channels. */
  get #isWhole(): boolean {
    return !this.#subscription.partial && this.#client.isAllOf(this)
  }

  /** Whether what is given is all that was missed. */
  get #isProof(): boolean {
    const { what } = this.#subscription.wanted
    return !this.#unproved && (what === 'since' || (what === 'own' && this.#own !== null))
  }

  async #flow(first: Page, channels: readonly string[]): Promise<void> {
    if (!this.#registered) this.#register(channels)
    try {
      await this.#catchUp(first)
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#release()
    }
  }

  async #catchUp(first: Page): Promise<void> {
    const { journal, live } = this.#deps
    const client = this.#client
    let page = first
    for (;;) {
      if (page.lost.length > 0) page = await this.#overtaken(page)
      const sent = this.#send(page.entries)
      if (sent !== undefined) await sent
      while (this.#rules !== live.rules) await this.#askAgain()
      const channels = this.#mine()
      if (!client.open || channels.length === 0) return
      if (this.#epoch !== journal.epoch) return this.#startAnew(channels)
      this.given = page.upTo
      if (!page.more && page.upTo === journal.head) return this.#join(channels)
      // A long way: others get their turn between two pages.
      if (page.more) await nextTurn()
      const next = this.#starts === null ? this.#from(channels, page.upTo) : this.#left(page.upTo)
      page = next instanceof Promise ? await next : next
    }
  }

  /** Retention was faster than the client: it is told, and goes on with what is left. */
  async #overtaken(page: Page): Promise<Page> {
    const lost = this.#mine().filter((channel) => page.lost.includes(channel))
    const isOwn = this.#subscription.wanted.what === 'own' && lost.length > 0
    const left = isOwn && this.#starts === null ? await this.#kept(lost, this.given) : page
    // Told of a new epoch, they need not be told of this.
    if (this.#epoch !== this.#deps.journal.epoch) return left
    // Where it goes on with what is left, that begins here; else with what comes.
    const position = this.#starts === null ? page.upTo : this.given
    for (const channel of this.#mine()) {
      if (lost.includes(channel)) this.#answer(channel, position, false)
    }
    return left
  }

  /** Sends entries as `message` frames, never more at once than may wait for a client. */
  #send(entries: readonly Entry[]): MaybePromise<void> {
    const client = this.#client
    const { journal, live } = this.#deps
    const { limits } = live.rules.config
    const batch = highWaterOf(limits) / 4
    let next = 0
    const go = (): MaybePromise<void> => {
      while (next < entries.length && client.open && this.#epoch === journal.epoch) {
        client.link.cork(() => {
          const complete = this.#isWhole
          let size = 0
          while (next < entries.length && size < batch) {
            const entry = entries[next++]!
            if (entry.exclude === client.session || client.recoveryOf(entry.channel) !== this) continue
            size += entry.message.length
            client.send({ type: 'message', message: entry.message, complete })
            this.given = entry.position
          }
        })
        const drained = paced(client, limits)
        if (drained !== undefined) return drained.then(go)
      }
      return undefined
    }
    return go()
  }

  /** The policies that let it in are no more: what the new ones refuse ends here. */
  async #askAgain(): Promise<void> {
    const client = this.#client
    this.#rules = this.#deps.live.rules
    if (this.#subscription.kind === 'server') return
    for (const channel of this.#mine()) {
      try {
        const asked = this.#deps.admit(client, channel)
        if (asked instanceof Promise) await asked
      } catch (error) {
        // Whatever kept the policy from saying yes: closed is the safe side.
        if (!client.endRecovery(channel, this)) continue
        if (!this.#answered) throw error
        this.#tellEnd(channel, error)
      }
    }
  }

  /** Positions start anew: what was proved and what was still to come is of a past that is no more. */
  #startAnew(channels: readonly string[]): void {
    for (const channel of channels) this.#answer(channel, this.#deps.journal.head, false)
    this.#join(channels)
  }

  /** It got no further. The client knows how far: it subscribes again from there. */
  #fail(error: unknown): void {
    for (const channel of this.#mine()) {
      this.#client.endRecovery(channel, this)
      this.#tellEnd(channel, error)
    }
    if (!isClientError(error)) throw error
  }

  #tellEnd(channel: string, error: unknown): void {
    const told = isClientError(error) ? error : new ClientError('internal', 'the daemon failed here')
    this.#client.send({ type: 'unsubscribed', channel, code: told.code, message: told.message })
  }

  #answer(channel: string, position: number, recovered: boolean, entries: readonly Entry[] = []): void {
    const { epoch } = this.#deps.journal
    const complete = this.#isWhole
    const cursor = formatCursor(epoch, position)
    const messages = entries.map((entry) => entry.message)
    const since = this.#own == null || this.#answered ? undefined : formatCursor(epoch, this.#own)
    // Only the first is an answer; what else there is to say comes where the messages do.
    const { id, answer } = this.#answered ? unasked(this.#client) : this.#subscription.asked
    // What was asked for from a place on, or had been promised already.
    const lost = !recovered && (this.#answered || this.#subscription.wanted.what === 'since')
    answer.send({ type: 'subscribed', id, channel, cursor, since, recovered, messages, lost, complete })
  }

  #register(channels: readonly string[]): void {
    this.#registered = true
    this.#client.beginRecovery(channels, this)
  }

  #release(): void {
    for (const channel of this.#mine()) this.#client.endRecovery(channel, this)
  }

  /** The channels that nobody has ended meanwhile. */
  #mine(): readonly string[] {
    const { channels } = this.#subscription
    if (!this.#registered) return channels
    return channels.filter((channel) => this.#client.recoveryOf(channel) === this)
  }

  #join(channels: readonly string[]): void {
    this.#release()
    for (const channel of channels) this.#deps.hub.join(this.#client, channel, this.#subscription.kind)
  }
}
