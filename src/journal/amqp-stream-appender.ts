import { messageOf } from '../errors.ts'
import { ClientError } from '../protocol/codes.ts'
import type { ConfirmChannel } from '../broker/connection.ts'
import type { Place, Verdict } from './amqp-stream-ledger.ts'
import { encodeStreamMessage, MAX_ENTRIES } from './amqp-stream-message.ts'
import type { StreamEntry } from './amqp-stream-message.ts'
import type { Draft, Placed } from './journal.ts'
import { checkUnitSize, MAX_UNIT_BYTES } from './unit-size.ts'

/** What goes into the stream: a publication, or a tombstone. */
export type StreamDraft = Draft & { readonly tombstone?: true }

export interface AppenderOptions {
  readonly queue: string
  /** This process. */
  readonly producer: string
  /** How long a draft waits before its publisher is told. */
  readonly patienceMs: () => number
  readonly keyMs: () => number
  /** Drafts that share a message: their data, unless a single one is larger. */
  readonly batchBytes: number
  /** Messages on their way. */
  readonly maxInFlight: number
  /** Data that waits or is on its way; more is refused, unless it is to wait. */
  readonly maxWaitingBytes: number
  readonly now: () => number
  /** The channel can't be trusted any more. */
  readonly onBroken: (reason: string) => void
}

/** What one `append` or `appendAll` brought: its drafts share a message. */
interface Parcel {
  readonly entries: readonly StreamEntry[]
  readonly bytes: number
  /** When its publisher is told that it takes too long, by the process's own clock. */
  readonly until: number
  readonly resolve: (placed: readonly Placed[]) => void
  readonly reject: (error: unknown) => void
  /** It may be in the stream. */
  sent: boolean
  /** Its publisher was told. */
  done: boolean
}

/** A message on its way. */
interface Batch {
  readonly session: number
  readonly seq: number
  readonly parcels: readonly Parcel[]
  confirmed: boolean
  placed: Verdict['placed']
}

/**
 * Brings drafts into the stream, in the order of the calls, many to a message when there are many. A draft is placed
 * when its message is confirmed, and was read back: only then its position is known. After a lost connection a new
 * session is announced; what is read before that announcement is in the stream, and what is not never will be, for
 * all readers then hold it for void: it is published again.
 */
export class StreamAppender {
  readonly #options: AppenderOptions
  #waiting: Parcel[] = []
  #next = 0
  /** Of the parcels that nobody was told about yet: how many, and their data. */
  #open = 0
  #openBytes = 0
  readonly #batches = new Map<string, Batch>()
  #channel: ConfirmChannel | null = null
  #session = -1
  #seq = 0
  /** Null while nothing but announcements may be sent. */
  #epoch: string | null = null
  #blocked = false
  #reason = 'it was not reached yet'
  #flushing = false
  #timer: NodeJS.Timeout | null = null
  #stopped = false
  /** Messages with publications that were sent. */
  batches = 0
  #onEmpty: (() => void) | null = null

  constructor(options: AppenderOptions) {
    this.#options = options
  }

  /** Appends all or none, at adjacent places. */
  async append(drafts: readonly StreamDraft[]): Promise<readonly Placed[]> {
    checkUnitSize(drafts, Math.min(MAX_UNIT_BYTES, this.#options.maxWaitingBytes))
    const wait = drafts.every(({ patience }) => patience === 'wait')
    let bytes = 0
    for (const { json } of drafts) bytes += json.length
    if (drafts.length > MAX_ENTRIES) {
      throw new ClientError('limit_exceeded', `at most ${MAX_ENTRIES} publications can be appended together`)
    }
    if (this.#stopped) throw new ClientError('unavailable', 'shutting down')
    if (!wait && this.#openBytes + bytes > this.#options.maxWaitingBytes) {
      throw new ClientError('unavailable', `too much waits for the journal: ${this.#reason}`)
    }
    return new Promise((resolve, reject) => {
      const until = wait ? Infinity : performance.now() + this.#options.patienceMs()
      const entries = drafts.map(entryOf)
      this.#waiting.push({ entries, bytes, until, resolve, reject, sent: false, done: false })
      this.#open++
      this.#openBytes += bytes
      this.#watch()
      this.#schedule()
    })
  }

  /** Begins a session on a new channel and announces it; nothing else is sent before `begin`. */
  open(channel: ConfirmChannel, epoch: string | null, proposal: string | null): number {
    this.close('a new session begins')
    this.#channel = channel
    this.#session++
    this.#seq = 0
    this.#publish([], epoch, proposal)
    return this.#session
  }

  /** Says what the epoch is. */
  announce(epoch: string): void {
    if (this.#channel !== null) this.#publish([], epoch, null)
  }

  /** The announcement was read, and with it all that there was of former sessions: what is in doubt no more is sent. */
  begin(epoch: string): void {
    const lost: Parcel[] = []
    for (const [id, batch] of this.#batches) {
      if (batch.session === this.#session) continue
      this.#batches.delete(id)
      lost.push(...batch.parcels)
    }
    for (const parcel of lost) parcel.sent = false
    this.#waiting = [...lost, ...this.#waiting.slice(this.#next)]
    this.#next = 0
    this.#epoch = epoch
    this.#schedule()
  }

  /** The broker takes nothing, or does again. */
  block(reason: string | null): void {
    this.#blocked = reason !== null
    if (reason !== null) this.#reason = reason
    this.#schedule()
  }

  /** One of this process's messages was read. */
  read({ message, placed }: Verdict): void {
    const { session, seq } = message
    const id = `${session}-${seq}`
    const batch = this.#batches.get(id)
    if (batch === undefined) return
    if (placed === null) {
      // Of a former session: everyone holds it for void, and it comes again in this one.
      if (session === this.#session) this.#options.onBroken('the stream has messages out of order')
      return
    }
    batch.placed = placed
    if (batch.confirmed || session !== this.#session) this.#settle(id, batch)
  }

  /** The session is over. What was read is in the stream, confirmed or not. */
  close(reason: string): void {
    this.#channel = null
    this.#epoch = null
    this.#reason = reason
    for (const [id, batch] of this.#batches) if (batch.placed !== null) this.#settle(id, batch)
  }

  /** Resolves when nothing waits or is on its way, or after the deadline; then what is left is refused. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopped = true
    if (this.#channel !== null && this.#open > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadlineMs)
        this.#onEmpty = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.close('shutting down')
    for (const parcel of this.#all()) this.#tellLate(parcel)
    this.#waiting = []
    this.#batches.clear()
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** What comes within one turn of the event loop goes together; while much is on its way, what waits gathers. */
  #schedule(): void {
    if (this.#flushing || !this.#mayFlush()) return
    this.#flushing = true
    setImmediate(() => {
      this.#flushing = false
      while (this.#mayFlush()) this.#publish(this.#nextParcels(), this.#epoch, null)
    })
  }

  #mayFlush(): boolean {
    if (this.#channel === null || this.#epoch === null || this.#blocked) return false
    return this.#batches.size < this.#options.maxInFlight && this.#next < this.#waiting.length
  }

  #nextParcels(): Parcel[] {
    const parcels: Parcel[] = []
    let bytes = 0
    let count = 0
    while (this.#next < this.#waiting.length) {
      const parcel = this.#waiting[this.#next]!
      bytes += parcel.bytes
      count += parcel.entries.length
      if (parcels.length > 0 && (bytes > this.#options.batchBytes || count > MAX_ENTRIES)) break
      this.#next++
      if (parcel.done) continue
      parcel.sent = true
      parcels.push(parcel)
    }
    if (this.#next > 256 && this.#next * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#next)
      this.#next = 0
    }
    return parcels
  }

  #publish(parcels: readonly Parcel[], epoch: string | null, proposal: string | null): void {
    const { producer, queue, keyMs, now, onBroken } = this.#options
    const channel = this.#channel!
    const session = this.#session
    const seq = this.#seq
    const entries = parcels.flatMap((parcel) => parcel.entries)
    let content: Buffer
    try {
      content = encodeStreamMessage({
        ...{ producer, session, seq, time: now(), epoch, proposal, keyMs: keyMs() },
        entries,
      })
    } catch (error) {
      // It can't be said at all, now or later.
      for (const parcel of parcels) this.#refuse(parcel, error)
      return
    }
    this.#seq++
    if (entries.length > 0) this.batches++
    const id = `${session}-${seq}`
    const batch: Batch = { session, seq, parcels, confirmed: false, placed: null }
    this.#batches.set(id, batch)
    const settle = (error: unknown): void => {
      if (session !== this.#session) return
      if (error) {
        onBroken(`the stream did not take a message: ${messageOf(error)}`)
        return
      }
      batch.confirmed = true
      if (batch.placed !== null) this.#settle(id, batch)
    }
    try {
      channel.publish('', queue, content, { persistent: true, mandatory: true }, settle)
    } catch (error) {
      // The channel was closed in this very turn.
      onBroken(messageOf(error))
    }
  }

  #settle(id: string, { parcels, placed }: Batch): void {
    this.#batches.delete(id)
    let from = 0
    for (const parcel of parcels) {
      const results = placed!.slice(from, (from += parcel.entries.length))
      this.#finish(parcel, results)
    }
    this.#schedule()
  }

  #finish(parcel: Parcel, results: readonly Place[]): void {
    if (parcel.done) return
    this.#leave(parcel)
    const error = results.find((result) => result instanceof Error)
    if (error === undefined) parcel.resolve(results as readonly Placed[])
    else parcel.reject(error)
  }

  #refuse(parcel: Parcel, cause: unknown): void {
    if (parcel.done) return
    this.#leave(parcel)
    const refusal = new ClientError('invalid_input', 'the journal can not hold this data')
    parcel.reject(Object.defineProperty(refusal, 'cause', { value: cause, enumerable: false }))
  }

  #leave(parcel: Parcel): void {
    parcel.done = true
    this.#open--
    this.#openBytes -= parcel.bytes
    if (this.#open === 0) this.#onEmpty?.()
  }

  #tellLate(parcel: Parcel): void {
    if (parcel.done) return
    this.#leave(parcel)
    // It is not said to be refused where it may be in the stream: and is not sent again, where it is not.
    const error = parcel.sent
      ? new ClientError('timeout', `it is not known whether the journal took it: ${this.#reason}`)
      : new ClientError('unavailable', `the journal can't be reached: ${this.#reason}`)
    parcel.reject(error)
  }

  #watch(): void {
    if (this.#timer !== null) return
    const everyMs = Math.max(10, Math.min(250, this.#options.patienceMs() / 8))
    this.#timer = setInterval(() => {
      const now = performance.now()
      let left = false
      for (const parcel of this.#all()) {
        if (!parcel.done && parcel.until <= now) this.#tellLate(parcel)
        left ||= !parcel.done && parcel.until < Infinity
      }
      if (left || this.#timer === null) return
      clearInterval(this.#timer)
      this.#timer = null
    }, everyMs).unref()
  }

  *#all(): Iterable<Parcel> {
    for (const { parcels } of this.#batches.values()) yield* parcels
    for (let index = this.#next; index < this.#waiting.length; index++) yield this.#waiting[index]!
  }
}

function entryOf(
  { channel, json, exclude, key, mark, lease, tombstone }: StreamDraft,
  index: number,
): StreamEntry {
  return { channel, json, exclude, key, mark, lease, joined: index > 0, tombstone }
}
