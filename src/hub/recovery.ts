import { formatCursor } from '../journal/cursor.ts'
import type { Entry, Journal, Page } from '../journal/journal.ts'
import { CLOSE, isClientError } from '../protocol/codes.ts'
import type { FrameId } from '../protocol/encode.ts'
import { messageFrame, subscribedFrame, unsubscribedFrame } from '../protocol/encode.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { Client } from './client.ts'
import type { Hub } from './hub.ts'
import { answerBytesOf, highWaterOf, paced } from './pacing.ts'

/** What a subscriber wants of the past: nothing, what came after a cursor, or the newest. */
export interface Range {
  readonly since?: string | undefined
  readonly last?: number | undefined
}

export interface RecoveryDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly journal: Journal
  /** Asks the policy again. @throws {ClientError} */
  admit(client: Client, channel: string): MaybePromise<void>
}

/**
 * Brings one client from a place in the journal to the live stream. What it missed goes out page by page,
 * paced by its link; it joins in the same turn of the event loop in which a page reaches the journal's head,
 * so that nothing falls between the two and nothing comes twice. Until then its channels are `recovering`.
 */
export class Recovery {
  readonly #deps: RecoveryDependencies
  readonly #client: Client
  readonly #id: FrameId | undefined
  readonly #channels: readonly string[]

  constructor(
    deps: RecoveryDependencies,
    client: Client,
    id: FrameId | undefined,
    channels: readonly string[],
  ) {
    this.#deps = deps
    this.#client = client
    this.#id = id
    this.#channels = channels
  }

  /**
   * Answers with `subscribed`, sends what was missed, and joins; resolves when the client's next frame may be
   * looked at. `page` is null where nothing was asked.
   */
  begin(page: Page | null, range: Range): MaybePromise<void> {
    const { journal, live, hub } = this.#deps
    if (page === null) {
      for (const channel of this.#channels) this.#answer(channel, journal.head, false, [])
      return this.#join(this.#channels)
    }
    // A second subscribe starts anew: off the live stream until what was asked for has been given.
    for (const channel of this.#channels) hub.leave(this.#client, channel)
    const entries = page.entries.filter((entry) => entry.exclude !== this.#client.session)
    const fit = this.#channels.length === 1 ? this.#fitting(entries) : 0
    const first = entries.slice(0, fit)
    const rest = entries.slice(fit)
    const upTo = rest.length === 0 ? page.upTo : rest[0]!.position - 1
    for (const channel of this.#channels) {
      // A lost channel begins where this page ends: live from now on, it would run ahead of the others, and
      // the newest message's id would be no cursor for all of them.
      if (page.lost.includes(channel)) this.#answer(channel, page.upTo, false, [])
      else this.#answer(channel, upTo, range.since !== undefined, first)
    }
    if (rest.length > 0 || page.more || page.upTo !== journal.head) {
      return this.#flow({ ...page, entries: rest })
    }
    this.#join(this.#channels)
    return paced(this.#client, live.rules.config.limits)
  }

  async #flow(first: Page): Promise<void> {
    const client = this.#client
    client.recover(this.#channels)
    try {
      await this.#catchUp(first)
    } finally {
      client.recover(null)
    }
  }

  async #catchUp(first: Page): Promise<void> {
    const { journal, live, hub } = this.#deps
    const client = this.#client
    let { rules } = live
    let page = first
    for (;;) {
      await this.#send(page.entries)
      if (live.rules !== rules) {
        rules = live.rules
        await this.#askAgain()
      }
      const channels = client.recovering
      if (!client.open || channels.length === 0) return
      if (!page.more && page.upTo === journal.head) return this.#join(channels)
      const next = journal.since(channels, page.upTo, rules.config.limits.recoveryMessages)
      page = next instanceof Promise ? await next : next
      if (page.lost.length > 0) {
        // Retention overtook a client that reads slower than is written: it comes back and is told so.
        return hub.close(client, CLOSE.tooSlow, 'too slow to recover')
      }
    }
  }

  /** Sends entries as `message` frames, never more at once than may wait for a client. */
  async #send(entries: readonly Entry[]): Promise<void> {
    const client = this.#client
    const { limits } = this.#deps.live.rules.config
    const batch = highWaterOf(limits) / 4
    let next = 0
    while (next < entries.length && client.open) {
      client.link.cork(() => {
        let size = 0
        while (next < entries.length && size < batch) {
          const entry = entries[next++]!
          if (entry.exclude === client.session || !client.isRecovering(entry.channel)) continue
          const frame = messageFrame(entry.message)
          size += frame.length
          client.send(frame)
        }
      })
      const drained = paced(client, limits)
      if (drained !== undefined) await drained
    }
  }

  /** The policies that let it in are no more: what the new ones refuse ends here. */
  async #askAgain(): Promise<void> {
    const client = this.#client
    for (const channel of client.recovering) {
      try {
        const asked = this.#deps.admit(client, channel)
        if (asked instanceof Promise) await asked
      } catch (error) {
        // Whatever kept the policy from saying yes: closed is the safe side.
        if (!client.endRecovery(channel)) continue
        const code = isClientError(error) ? error.code : 'internal'
        client.send(unsubscribedFrame(channel, code, isClientError(error) ? error.message : 'refused'))
      }
    }
  }

  #answer(channel: string, position: number, recovered: boolean, entries: readonly Entry[]): void {
    const cursor = formatCursor(this.#deps.journal.epoch, position)
    const messages = entries.map((entry) => entry.message)
    this.#client.send(subscribedFrame({ id: this.#id, channel, cursor, recovered, messages }))
  }

  #join(channels: readonly string[]): void {
    for (const channel of channels) this.#deps.hub.join(this.#client, channel, 'policy')
  }

  /** How many entries go into the `subscribed` frame. */
  #fitting(entries: readonly Entry[]): number {
    const { limits } = this.#deps.live.rules.config
    const bytes = answerBytesOf(limits)
    let size = 0
    let count = 0
    for (const entry of entries) {
      size += entry.message.length
      if (size > bytes || count === limits.recoveryMessages) break
      count++
    }
    return count
  }
}
