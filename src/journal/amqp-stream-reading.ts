import { randomBytes } from 'node:crypto'
import type { AmqpLink, ConfirmChannel } from '../broker/connection.ts'
import type { StreamAppender } from './amqp-stream-appender.ts'
import { mintEpoch } from './amqp-stream-ledger.ts'
import type { Ledger, LedgerHandlers } from './amqp-stream-ledger.ts'
import { openTail } from './amqp-stream-tail.ts'
import type { From, Tail } from './amqp-stream-tail.ts'

export interface ReadingOptions {
  readonly link: AmqpLink
  /** Where the appender's next session is announced. */
  readonly channel: ConfirmChannel
  readonly queue: string
  readonly from: From
  readonly readAhead: number
  /** How long the broker may take for each message until the announcement is read. */
  readonly silentMs: number
  readonly producer: string
  readonly appender: StreamAppender
  readonly ledger: Ledger
  /** The ledger was current before: its last message must come first. */
  readonly resume: boolean
  /** The last that was read of it into another ledger: if that is gone, cursors of that time prove nothing. */
  readonly former: Former | null
  readonly handlers: LedgerHandlers
  readonly now: () => number
  /** While the broker takes nothing, its silence means nothing. */
  readonly isBlocked: () => boolean
  /** A message was none of ours. */
  readonly onForeign: () => void
  /** After it was current. */
  readonly onEnd: (reason: string) => void
}

export interface Former {
  readonly epoch: string
  readonly offset: number
  readonly content: Buffer
}

/** `changed`: it is not the stream that was read before. `shallow`: it must be read from its beginning. */
export type Arrival = 'current' | 'changed' | 'shallow' | 'silent'

/**
 * Reads the stream up to this process's own announcement, by which it knows that it has read all there was; and goes
 * on reading. An epoch is used only after a message that states it was read, so that all nodes agree on it: of those
 * who find none, the first one's proposal is stated by all.
 */
export class Reading {
  readonly #options: ReadingOptions
  #tail: Tail | null = null
  #session = -1
  #unproved: boolean
  #announced = false
  #stated = false
  #renewing = false
  #formerFound = false
  #arrive: ((arrival: Arrival) => void) | null = null
  #timer: NodeJS.Timeout | null = null
  #over = false

  constructor(options: ReadingOptions) {
    this.#options = options
    this.#unproved = options.resume
  }

  /** Resolves when all is read, or why that can't be. */
  async arrive(): Promise<Arrival> {
    const { link, channel, queue, from, readAhead, appender, ledger } = this.#options
    const arrived = new Promise<Arrival>((resolve) => (this.#arrive = resolve))
    this.#awaitNext()
    this.#session = appender.open(channel, ledger.epoch || null, mintEpoch(null, random()))
    const tail = await openTail(link, {
      ...{ queue, from, readAhead },
      onMessage: (offset, content) => this.#read(offset, content),
      onEnd: (reason) => this.#options.onEnd(reason),
    })
    if (this.#over) tail.close()
    else this.#tail = tail
    return arrived
  }

  close(): void {
    this.#over = true
    this.#arrive = null
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#tail?.close()
  }

  #read(offset: number, content: Buffer): void {
    const { ledger, former, handlers, producer, appender } = this.#options
    if (this.#over) return
    if (this.#arrive !== null) this.#awaitNext()
    if (this.#unproved) {
      const { last } = ledger
      this.#unproved = false
      if (offset !== last.offset || !content.equals(last.content)) this.#end('changed')
      return
    }
    const verdict = ledger.take(offset, content, handlers)
    if (verdict === null) this.#options.onForeign()
    if (offset === former?.offset) this.#formerFound = !ledger.warming && content.equals(former.content)
    if (verdict?.message.producer === producer) {
      appender.read(verdict)
      const { session, seq } = verdict.message
      if (session === this.#session && seq === 0) this.#announced = true
    }
    if (this.#announced && this.#arrive !== null) this.#settleEpoch()
  }

  /** Called for each message from the announcement on, until it is settled. */
  #settleEpoch(): void {
    const { ledger, former, from, appender, resume, now } = this.#options
    if (ledger.epoch === '') {
      if (ledger.first > 0 && from !== 'first') this.#end('shallow')
      // What stated it is gone, if there was anything: this one is above whatever other nodes may have read.
      else if (ledger.first > 0) this.#state(`${Math.floor(now() / 1000)}x${random()}`)
      else this.#state(ledger.proposal ?? mintEpoch(null, random()))
      return
    }
    if (former !== null && !this.#formerFound && ledger.epoch === former.epoch) {
      // The stream is the same, but the broker has lost what this node gave to clients, or what came after it.
      if (!this.#renewing) appender.announce(mintEpoch(former.epoch, random()))
      this.#renewing = true
      return
    }
    // Stated by each that begins: so the stream says it as long as it holds any message of theirs.
    if (!resume) this.#state(ledger.epoch)
    ledger.settle()
    appender.begin(ledger.epoch)
    this.#end('current')
  }

  #state(epoch: string): void {
    if (!this.#stated) this.#options.appender.announce(epoch)
    this.#stated = true
  }

  #end(arrival: Arrival): void {
    const arrive = this.#arrive
    this.#arrive = null
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (arrival !== 'current') this.close()
    arrive?.(arrival)
  }

  #awaitNext(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      if (this.#options.isBlocked()) this.#awaitNext()
      // A stream that is shorter than what was read of it has nothing to send from there on.
      else this.#end(this.#options.resume ? 'changed' : 'silent')
    }, this.#options.silentMs).unref()
  }
}

function random(): string {
  return randomBytes(6).toString('hex')
}
