import { formatCursor } from '../journal/cursor.ts'
import type { Entry, Journal, Page } from '../journal/journal.ts'
import type { FrameId } from '../protocol/encode.ts'
import { messageFrame, subscribedFrame } from '../protocol/encode.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { Client } from './client.ts'
import type { Hub } from './hub.ts'
import type { Range } from './subscriber.ts'

export interface RecoveryDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly journal: Journal
}

/**
 * Brings one client from a place in the journal to the live stream. What it missed goes out page by page,
 * paced by its link; it joins in the same turn of the event loop in which a page reaches the journal's head,
 * so that nothing falls between the two and nothing comes twice.
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

  /** Answers with `subscribed`, sends what was missed, and joins. `page` is null where nothing was asked. */
  begin(page: Page | null, range: Range): MaybePromise<void> {
    const { journal } = this.#deps
    if (page === null) {
      for (const channel of this.#channels) this.#answer(channel, journal.head, false, [])
      return this.#join(this.#channels)
    }
    // A second subscribe starts anew: off the live stream until what was asked for has been given.
    for (const channel of this.#channels) this.#deps.hub.leave(this.#client, channel)
    const recovered = range.since !== undefined
    // Lost channels have no backlog: they are live from here on.
    for (const channel of page.lost) this.#answer(channel, journal.head, false, [])
    this.#join(page.lost)
    const channels = this.#channels.filter((channel) => !page.lost.includes(channel))
    if (channels.length === 0) return undefined
    const fit = channels.length === 1 ? this.#fitting(page.entries) : 0
    const first = page.entries.slice(0, fit)
    const rest = page.entries.slice(fit)
    const upTo = rest.length === 0 ? page.upTo : rest[0]!.position - 1
    for (const channel of channels) {
      this.#answer(channel, upTo, recovered, first)
    }
    if (rest.length === 0 && !page.more && page.upTo === journal.head) return this.#join(channels)
    return this.#flow(channels, { ...page, entries: rest })
  }

  async #flow(channels: readonly string[], first: Page): Promise<void> {
    const { journal, live } = this.#deps
    const { rules } = live
    let page = first
    for (;;) {
      await this.#send(page.entries)
      if (!this.#client.open) return
      // The policy that let it in is no more: it comes back, and the new one is asked.
      if (live.rules !== rules) return this.#deps.hub.close(this.#client, 1012, 'reloaded')
      if (!page.more && page.upTo === journal.head) return this.#join(channels)
      const { recoveryMessages } = live.rules.config.limits
      const next = journal.since(channels, page.upTo, recoveryMessages)
      page = next instanceof Promise ? await next : next
      if (page.lost.length > 0) {
        // Retention overtook a client that reads slower than is written: it comes back and is told so.
        return this.#deps.hub.close(this.#client, 4450, 'too slow to recover')
      }
    }
  }

  /** Sends entries as `message` frames, never more at once than a quarter of what may wait for a client. */
  async #send(entries: readonly Entry[]): Promise<void> {
    const highWater = this.#deps.live.rules.config.limits.bufferBytes / 4
    let next = 0
    while (next < entries.length && this.#client.open) {
      this.#client.link.cork(() => {
        let size = 0
        while (next < entries.length && size < highWater / 4) {
          const frame = messageFrame(entries[next++]!.message)
          size += frame.length
          this.#client.send(frame)
        }
      })
      while (this.#client.open && this.#client.link.bufferedBytes > highWater) await this.#client.drained()
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
    const { recoveryMessages, recoveryBytes } = this.#deps.live.rules.config.limits
    let size = 0
    let count = 0
    for (const entry of entries) {
      size += entry.message.length
      if (size > recoveryBytes || count === recoveryMessages) break
      count++
    }
    return count
  }
}
