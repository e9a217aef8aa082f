import type { Bus } from '../bus/bus.ts'
import { formatCursor } from '../journal/cursor.ts'
import type { Dedupe } from '../journal/dedupe.ts'
import type { Journal } from '../journal/journal.ts'
import type { Counts } from '../ops/counts.ts'
import { ClientError } from '../protocol/codes.ts'
import { encodeMessage } from '../protocol/encode.ts'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'

/** What is to be published. */
export interface Submission {
  readonly channel: string
  /** The data as JSON text, on one line. */
  readonly json: string
  /** Who brings it, for the counters: `http`, `amqp`, `postgres`, `client`, `action`. */
  readonly source: string
  /** An idempotency key, scoped to its publisher. */
  readonly key?: string | undefined
  /** A session that is not to get it. */
  readonly exclude?: string | undefined
}

export interface PublisherDependencies {
  readonly live: Live
  readonly journal: Journal
  readonly bus: Bus
  readonly dedupe: Dedupe
  readonly counts: Counts
}

/** Takes publications from everywhere: into the journal, where the channel has a history, or onto the bus. */
export class Publisher {
  readonly #deps: PublisherDependencies

  constructor(deps: PublisherDependencies) {
    this.#deps = deps
  }

  /**
   * Publishes. Answers with the cursor, or null on a transient channel; at once where nothing must be waited for.
   * @throws {ClientError} unknown_channel, too_large, conflict; unavailable while the journal can't be reached
   */
  publish(submission: Submission): MaybePromise<string | null> {
    const { channel, json, source } = submission
    if (!isChannel(channel)) {
      throw new ClientError('unknown_channel', `'${channel.slice(0, 80)}' is no channel: <subsystem>:<rest>`)
    }
    const { channels, limits } = this.#deps.live.rules.config
    const policy = channels.get(subsystemOf(channel))
    if (policy === undefined) {
      throw new ClientError('unknown_channel', `no subsystem '${subsystemOf(channel)}'`)
    }
    if (channel.length > limits.channelLength) {
      throw new ClientError(
        'unknown_channel',
        `the channel's name is over ${limits.channelLength} characters`,
      )
    }
    if (json.length > limits.publicationBytes || isOver(json, limits.publicationBytes)) {
      throw new ClientError('too_large', `the data is over ${limits.publicationBytes} bytes`)
    }
    if (submission.key === undefined) return this.#accept(submission, policy.history !== null, source)
    // A module's keys are not those of who publishes over HTTP.
    const key = `${source} ${submission.key}`
    const known = this.#deps.dedupe.find(key, channel, json)
    if (known !== undefined) {
      this.#deps.counts.duplicates++
      return known.id
    }
    const id = this.#accept(submission, policy.history !== null, source)
    this.#deps.dedupe.remember(key, channel, json, id)
    return id
  }

  #accept(submission: Submission, journaled: boolean, source: string): MaybePromise<string | null> {
    const { channel, json, exclude } = submission
    this.#deps.counts.published(source)
    if (!journaled) {
      const message = encodeMessage(channel, null, json, Date.now())
      this.#deps.bus.send(exclude === undefined ? { channel, message } : { channel, message, exclude })
      return null
    }
    const { journal } = this.#deps
    const entry = journal.append(exclude === undefined ? { channel, json } : { channel, json, exclude })
    return entry instanceof Promise
      ? entry.then(({ position }) => formatCursor(journal.epoch, position))
      : formatCursor(journal.epoch, entry.position)
  }
}

/** Bytes are counted only where the text is so long that its non-ASCII characters could matter. */
function isOver(json: string, limitBytes: number): boolean {
  return json.length * 3 > limitBytes && Buffer.byteLength(json) > limitBytes
}
