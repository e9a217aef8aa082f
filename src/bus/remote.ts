import { setImmediate as nextTurn } from 'node:timers/promises'
import { backoffMs, DEFAULT_RETRY, pause, type Retry } from '../backoff.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { Bus, BusCounts, BusHandlers, Memo, Parcel } from './bus.ts'
import type { Carrier } from './carrier.ts'
import { within } from './deadline.ts'
import { decodeLetter, encodeLetter, encodeSign, type Letter, openMemo, type Sign } from './letters.ts'
import { newNodeName } from './node-name.ts'
import { Outbox, type Parting } from './outbox.ts'
import { decodePacket } from './packets.ts'
import { Peers } from './peers.ts'

export interface RemoteBusOptions {
  readonly log: Log
  /** How often a node says that it is here. @default 5000 */
  readonly helloMs?: number
  /** A node unheard of for so long is gone. @default 15000 */
  readonly peerMs?: number
  /** Nodes beside this one, at the most. @default 1000 */
  readonly maxPeers?: number
  /** Letters and bytes that may wait to leave; what comes when there is no room is dropped. @default 100000, 32 MiB */
  readonly maxLetters?: number
  readonly maxBytes?: number
  /** The largest letter. @default 8 MiB: RabbitMQ 4 takes 16 */
  readonly maxLetterBytes?: number
  /** How long a letter may wait for a server that is away. @default 10000 */
  readonly staleMs?: number
  /** Delays after a failed write. */
  readonly retry?: Retry
  /** How often `onGap` is called, at the most. @default 10000 */
  readonly gapMs?: number
  /** How long a stop waits for what is still to leave. @default 1000 */
  readonly stopMs?: number
}

/** Answers to several who asked at once go out as one. */
const GREETING_MS = 20

/**
 * A bus between nodes, over a carrier. A parcel is handed to this node within `send` and costs nothing more while there
 * is no other node; for the others letters are queued, and packed as they leave, so that a burst is few packets.
 */
export class RemoteBus implements Bus {
  readonly node = newNodeName()
  readonly counts: BusCounts = { sent: 0, received: 0, dropped: 0, malformed: 0, gaps: 0 }
  readonly #carrier: Carrier
  readonly #options: Required<RemoteBusOptions>
  readonly #outbox: Outbox
  readonly #peers: Peers
  readonly #stopped = new AbortController()
  #handlers: BusHandlers | null = null
  #ticks: NodeJS.Timeout | null = null
  #tickedAt = 0
  #greeting: NodeJS.Timeout | null = null
  /** Until it is over, gaps are counted only. */
  #gapPause: NodeJS.Timeout | null = null
  #gapsUntold = 0
  /** Why nothing comes; null while the carrier is up. */
  #down: string | null = 'not connected yet'
  /** Why nothing leaves. */
  #trouble: string | null = null
  #wasUp = false
  #troubled = false
  #overflowing = false
  #flushing = false
  #flushed: Promise<void> = Promise.resolve()
  #stopping: Promise<void> | null = null

  constructor(carrier: Carrier, options: RemoteBusOptions) {
    this.#carrier = carrier
    this.#options = { ...DEFAULTS, ...options }
    const { maxLetters, maxBytes, staleMs, maxPeers } = this.#options
    this.#outbox = new Outbox({ node: this.node, maxLetters, maxBytes, staleMs })
    this.#peers = new Peers(maxPeers, carrier.sealed)
  }

  get kind(): 'postgres' | 'rabbitmq' {
    return this.#carrier.kind
  }

  get peers(): ReadonlySet<string> {
    return this.#peers.names
  }

  get ready(): boolean {
    return this.reason === null
  }

  get reason(): string | null {
    if (this.#stopping !== null) return 'stopped'
    return this.#down ?? this.#trouble
  }

  async start(handlers: BusHandlers): Promise<void> {
    this.#handlers = handlers
    this.#tickedAt = performance.now()
    this.#ticks = setInterval(() => this.#tick(), this.#options.helloMs).unref()
    await this.#carrier.start({
      onPacket: (text) => this.#open(text),
      onUp: () => this.#up(),
      onDown: (reason) => {
        this.#down = reason
        this.#tell()
      },
      onLost: (reason) => this.#gap(reason),
    })
  }

  send(letter: Parcel | Memo): void {
    if (this.#stopping !== null) return
    if (letter.kind === 'publication') this.#handlers?.onParcel(letter)
    // Nobody is there, or a node that we don't hear at the moment: that one learns by our next number.
    if (this.#peers.names.size === 0) this.#outbox.skip()
    else this.#post(encodeLetter(letter))
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#leave())
  }

  async #leave(): Promise<void> {
    if (this.#ticks !== null) clearInterval(this.#ticks)
    if (this.#greeting !== null) clearTimeout(this.#greeting)
    if (this.#gapPause !== null) clearTimeout(this.#gapPause)
    if (this.#down === null) {
      this.#say('bye')
      await within(this.#flushed, this.#options.stopMs)
    }
    this.#handlers = null
    this.#stopped.abort()
    await this.#carrier.stop()
    await this.#flushed
  }

  #up(): void {
    this.#down = null
    this.#trouble = null
    this.#tell()
    // Those who are there answer: in a moment everybody knows everybody.
    this.#say('hello')
    if (this.#wasUp) this.#gap('the connection was lost for a while')
    this.#wasUp = true
  }

  #tick(): void {
    const { helloMs, peerMs } = this.#options
    const now = performance.now()
    // We were frozen, not they: what they said meanwhile is still to be read.
    const stalled = now - this.#tickedAt > 2 * helloMs
    this.#tickedAt = now
    if (this.#down === null) this.#say('here')
    if (stalled) return
    for (const node of this.#peers.expire(now - peerMs)) this.#gone(node, 'not heard of any more')
  }

  // --- what leaves

  #say(sign: Sign): void {
    this.#post(encodeSign(sign))
  }

  /** Tells who asked that we are here. */
  #greet(): void {
    this.#greeting ??= setTimeout(() => {
      this.#greeting = null
      this.#say('here')
    }, GREETING_MS).unref()
  }

  #post(line: string): void {
    const { maxLetterBytes, log } = this.#options
    // A unit of a string is at most three bytes.
    const tooLarge = line.length * 3 > maxLetterBytes && Buffer.byteLength(line) > maxLetterBytes
    if (tooLarge) this.#outbox.skip()
    if (tooLarge || !this.#outbox.push(line)) {
      this.counts.dropped++
      if (!this.#overflowing) {
        const { size: letters, bytes } = this.#outbox
        log.warn({ bus: this.kind, letters, bytes, tooLarge }, 'letters to other nodes are dropped')
      }
      this.#overflowing = true
    }
    if (this.#flushing || this.#down !== null) return
    this.#flushing = true
    this.#flushed = this.#flush()
  }

  async #flush(): Promise<void> {
    const { retry } = this.#options
    const { signal } = this.#stopped
    // What is sent in one turn of the event loop leaves together.
    await nextTurn()
    for (let attempt = 0; this.#down === null && !signal.aborted;) {
      this.counts.dropped += this.#outbox.dropStale()
      const packets = this.#outbox.take(this.#carrier.packetBytes, this.#carrier.packetsAtOnce)
      if (packets.length === 0) break
      try {
        await this.#carrier.write(packets)
        this.counts.sent += lettersIn(packets)
        this.#trouble = null
        attempt = 0
        this.#tell()
      } catch (error) {
        // Not again: they may have arrived. Receivers see by the numbers that some are missing.
        this.counts.dropped += lettersIn(packets)
        this.#trouble = messageOf(error)
        this.#tell()
        await pause(backoffMs(attempt++, retry), signal)
      }
    }
    if (this.#outbox.size === 0) this.#overflowing = false
    this.#flushing = false
  }

  // --- what comes

  #open(text: string): void {
    if (this.#handlers === null) return
    const packet = decodePacket(text)
    if (packet === null) {
      this.counts.malformed++
      return
    }
    const { node, number, letters } = packet
    if (node === this.node) return
    // A farewell of somebody who is not known needs no acquaintance.
    if (letters.at(-1) === encodeSign('bye') && !this.#peers.names.has(node)) return
    const heard = this.#peers.hear(node, number, performance.now())
    if (heard === null) {
      this.counts.malformed++
      return
    }
    if (heard.came) {
      this.#options.log.info({ bus: this.kind, node }, 'another node is here')
      this.#handlers.onPeer(node, true)
      this.#greet()
    }
    if (heard.missed > 0) this.#gap(`packets of node ${node} are missing`)
    for (const line of letters) this.#take(line, node)
  }

  #take(line: string, from: string): void {
    const letter = decodeLetter(line)
    if (letter === null) this.counts.malformed++
    else {
      try {
        this.#hand(letter, from)
      } catch (error) {
        // One letter that nobody foresaw must not cost the others.
        this.#options.log.error({ bus: this.kind, from, err: error }, 'letter failed')
      }
    }
  }

  #hand(letter: Letter, from: string): void {
    switch (letter.kind) {
      case 'publication':
        this.counts.received++
        this.#handlers?.onParcel(letter)
        return
      case 'sign':
        if (letter.sign === 'hello') this.#greet()
        else if (letter.sign === 'bye' && this.#peers.leave(from)) this.#gone(from, 'it said good-bye')
        return
      case 'memo': {
        if (letter.to !== null && letter.to !== this.node) return
        const memo = openMemo(letter)
        if (memo === undefined) {
          this.counts.malformed++
          return
        }
        this.counts.received++
        this.#handlers?.onMemo(memo, from)
        return
      }
      default:
        letter satisfies never
    }
  }

  #gone(node: string, reason: string): void {
    this.#options.log.info({ bus: this.kind, node, reason }, 'another node has gone')
    this.#handlers?.onPeer(node, false)
  }

  #gap(reason: string): void {
    this.counts.gaps++
    this.#gapsUntold++
    if (this.#gapPause === null) this.#tellGaps(reason)
  }

  #tellGaps(reason: string): void {
    const times = this.#gapsUntold
    this.#gapsUntold = 0
    this.#gapPause = setTimeout(() => {
      this.#gapPause = null
      if (this.#gapsUntold > 0) this.#tellGaps('again and again')
    }, this.#options.gapMs).unref()
    this.#handlers?.onGap(reason, times)
  }

  /** Logs the beginning and the end of an outage. */
  #tell(): void {
    const { reason } = this
    const troubled = reason !== null
    if (troubled === this.#troubled || this.#stopping !== null) return
    this.#troubled = troubled
    const { log } = this.#options
    if (troubled) log.warn({ bus: this.kind, reason }, 'bus is down')
    else log.info({ bus: this.kind }, 'bus is back')
  }
}

const DEFAULTS = {
  helloMs: 5_000,
  peerMs: 15_000,
  maxPeers: 1_000,
  maxLetters: 100_000,
  maxBytes: 32 * 1024 ** 2,
  maxLetterBytes: 8 * 1024 ** 2,
  staleMs: 10_000,
  retry: DEFAULT_RETRY,
  gapMs: 10_000,
  stopMs: 1_000,
}

function lettersIn(packets: readonly Parting[]): number {
  let count = 0
  for (const packet of packets) count += packet.letters
  return count
}
