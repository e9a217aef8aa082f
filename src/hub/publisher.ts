import type { Bus, Parcel } from '../bus/bus.ts'
import { drain } from '../drain.ts'
import { formatCursor } from '../journal/cursor.ts'
import type { Dedupe } from '../journal/dedupe.ts'
import type { Draft, Journal, Placed } from '../journal/journal.ts'
import type { Counts } from '../ops/counts.ts'
import { ClientError } from '../protocol/codes.ts'
import { encodeMessage } from '../protocol/encode.ts'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import type { Live } from '../rules.ts'
import { checkDatabase } from './policies.ts'
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
  /** See `Draft`. */
  readonly mark?: string | undefined
  readonly lease?: number | undefined
  readonly patience?: 'wait' | undefined
  /** Every node has heard it: a transient one is for this node's clients only. */
  readonly everywhere?: boolean | undefined
}

export interface PublisherDependencies {
  readonly live: Live
  readonly journal: Journal
  readonly bus: Bus
  /** For transient channels; the journal knows the keys of the others. */
  readonly dedupe: Dedupe
  readonly counts: Counts
  /** Hands a transient publication to this node's subscribers. */
  deliverHere(parcel: Parcel): void
  /** Whether this node is the one that journals what all nodes have heard. */
  leads(): boolean
}

/** Takes publications from everywhere: into the journal, where the channel has a history, or onto the bus. */
export class Publisher {
  readonly #deps: PublisherDependencies
  /** On their way into the journal. */
  readonly #pending = new Set<Promise<unknown>>()

  constructor(deps: PublisherDependencies) {
    this.#deps = deps
  }

  /**
   * Publishes. Answers with the cursor, or null on a transient channel; at once where nothing must be waited for.
   * @throws {ClientError} unknown_channel, too_large, conflict; unavailable while the journal can't be reached
   * @throws {LeaseLost} with a lease that is over
   */
  publish(submission: Submission): MaybePromise<string | null> {
    if (!this.#isJournaled(submission)) return this.#send(submission)
    if (this.#isForAnother(submission)) return null
    const { journal } = this.#deps
    const placed = journal.append(draftOf(submission))
    this.#deps.counts.published(submission.source)
    if (!(placed instanceof Promise)) return this.#cursorOf(placed)
    this.#await(placed)
    return placed.then((known) => this.#cursorOf(known))
  }

  /**
   * Publishes all or, where one of them is refused, none; those with a history get adjacent places. The answers are
   * those of `publish`, in order.
   * @throws as `publish`
   */
  publishAll(submissions: readonly Submission[]): MaybePromise<readonly (string | null)[]> {
    if (submissions.length === 1) {
      const id = this.publish(submissions[0]!)
      return id instanceof Promise ? id.then((known) => [known]) : [id]
    }
    const journaled: Submission[] = []
    const others: Submission[] = []
    for (const submission of submissions) {
      if (!this.#isJournaled(submission)) others.push(submission)
      else if (!this.#isForAnother(submission)) journaled.push(submission)
    }
    // What may be refused comes first: keys that came with other data, then the journal.
    const fresh = others.filter((submission) => !this.#isDuplicate(submission))
    const placed = journaled.length === 0 ? [] : this.#deps.journal.appendAll(journaled.map(draftOf))
    const answer = (known: readonly Placed[]): (string | null)[] => {
      for (const { source } of journaled) this.#deps.counts.published(source)
      for (const submission of fresh) this.#deliver(submission)
      this.#deps.counts.duplicates += others.length - fresh.length
      const cursors = new Map(journaled.map((one, index) => [one, this.#cursorOf(known[index]!)]))
      return submissions.map((one) => cursors.get(one) ?? null)
    }
    if (!(placed instanceof Promise)) return answer(placed)
    this.#await(placed)
    return placed.then(answer)
  }

  /**
   * Whether the channel has a history.
   * @throws {ClientError} unknown_channel, too_large: it can't be published
   */
  check(channel: string, json: string): boolean {
    return this.#isJournaled({ channel, json })
  }

  /** Waits for what is on its way into the journal, a deadline long: who published is to be answered. */
  settle(deadlineMs: number): Promise<void> {
    return drain(this.#pending, deadlineMs)
  }

  #await(placed: Promise<unknown>): void {
    this.#pending.add(placed)
    void Promise.allSettled([placed]).then(() => this.#pending.delete(placed))
  }

  /** A transient subsystem's sender has run on every node, and named a journaled channel. */
  #isForAnother({ everywhere, lease }: Submission): boolean {
    return everywhere === true && lease === undefined && !this.#deps.leads()
  }

  /** @throws {ClientError} where it can't be published at all */
  #isJournaled({ channel, json }: Pick<Submission, 'channel' | 'json'>): boolean {
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
    if (policy.databases !== undefined) checkDatabase(policy, channel)
    if (json.length > limits.publicationBytes || isOver(json, limits.publicationBytes)) {
      throw new ClientError('too_large', `the data is over ${limits.publicationBytes} bytes`)
    }
    return policy.history !== null
  }

  /** To a transient channel, once a key. Null, for it has no cursor. */
  #send(submission: Submission): null {
    if (this.#isDuplicate(submission)) this.#deps.counts.duplicates++
    else this.#deliver(submission)
    return null
  }

  #deliver(submission: Submission): void {
    const { dedupe, counts, bus, deliverHere } = this.#deps
    const { channel, json, source, key, exclude } = submission
    if (key !== undefined) dedupe.remember(scopedKey(submission, key), channel, json, null)
    counts.published(source)
    const message = encodeMessage(channel, null, json, Date.now())
    const parcel: Parcel =
      exclude === undefined
        ? { kind: 'publication', channel, message }
        : { kind: 'publication', channel, message, exclude }
    if (submission.everywhere === true) deliverHere(parcel)
    else bus.send(parcel)
  }

  /** @throws {ClientError} `conflict` */
  #isDuplicate(submission: Submission): boolean {
    const { channel, json, key } = submission
    if (key === undefined) return false
    return this.#deps.dedupe.find(scopedKey(submission, key), channel, json) !== undefined
  }

  #cursorOf({ position, duplicate }: Placed): string {
    if (duplicate) this.#deps.counts.duplicates++
    return formatCursor(this.#deps.journal.epoch, position)
  }
}

function draftOf(submission: Submission): Draft {
  const { channel, json, exclude, key, mark, lease, patience } = submission
  // Nearly every publication has nothing else.
  if (
    exclude === undefined &&
    key === undefined &&
    mark === undefined &&
    lease === undefined &&
    patience === undefined
  ) {
    return { channel, json }
  }
  return {
    channel,
    json,
    ...(exclude === undefined ? {} : { exclude }),
    ...(key === undefined ? {} : { key: scopedKey(submission, key) }),
    ...(mark === undefined ? {} : { mark }),
    ...(lease === undefined ? {} : { lease }),
    ...(patience === undefined ? {} : { patience }),
  }
}

/** A module's keys are not those of who publishes over HTTP. */
function scopedKey({ source }: Submission, key: string): string {
  return `${source} ${key}`
}

/** Bytes are counted only where the text is so long that its non-ASCII characters could matter. */
function isOver(json: string, limitBytes: number): boolean {
  return json.length * 3 > limitBytes && Buffer.byteLength(json) > limitBytes
}
