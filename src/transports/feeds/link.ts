import { type Client, isCompleteTopic } from '../../hub/client.ts'
import type { ResponseStream, StreamHandlers } from '../../listeners/listener.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import { Block, type Chain } from './chain.ts'
import type { FeedFanout } from './fanout.ts'
import { type Arrival, LOST, type RequestLink } from '../requests/arrival.ts'
import type { Writer } from './writer.ts'

export interface FeedDependencies {
  readonly fanout: FeedFanout
  readonly hub: { sending(units: number): void }
  /** The cursor of who has everything; null before the journal was reached. */
  cursor(): string | null
  /** What authorises requests in the name of the client; null where there are none. */
  secretOf(client: Client): string | null
}

/** The headers of all feeds. */
export const FEED_HEADERS: Readonly<Record<string, string>> = {
  'Cache-Control': 'no-store',
  // nginx would keep it until its buffers are full.
  'X-Accel-Buffering': 'no',
  'X-Content-Type-Options': 'nosniff',
}

/**
 * An endless answer as a client's link. It begins with the first proof that the client was let in: an answer to its
 * subscriptions, or `open`; until then frames wait, and a close is an HTTP status.
 */
export class FeedLink implements RequestLink, StreamHandlers {
  readonly writer: Writer
  readonly #deps: FeedDependencies
  readonly #arrival: Arrival
  /** Frames that came before the answer began; null after it. */
  #early: ServerFrame[] | null = []
  #stream: ResponseStream | null = null
  /** What came in this turn of the event loop. */
  #tail: Chain | null = null
  #quiet = false
  #ended = false
  #leftWith = LOST
  /** That of those who miss nothing on any of their channels, while it is one of them. */
  #completeTopic: string | null = null
  /** On all that it asked for: what it is on before it is not yet the whole. */
  #settled = false
  #held = false

  constructor(deps: FeedDependencies, writer: Writer, arrival: Arrival) {
    this.#deps = deps
    this.writer = writer
    this.#arrival = arrival
  }

  /** Whether the id of a message that comes by a topic is a cursor for all the client's channels. */
  get complete(): boolean {
    return this.#completeTopic !== null && this.#settled
  }

  get begun(): boolean {
    return this.#early === null
  }

  get bufferedBytes(): number {
    const waiting = this.#tail === null ? 0 : this.#tail.byteLength
    return this.#stream === null ? waiting : this.#stream.bufferedBytes + waiting
  }

  send(frame: ServerFrame): boolean {
    if (this.#ended) return false
    if (this.#early !== null && frame.type === 'subscribed') this.#begin()
    if (this.#early !== null) {
      // What can't be written is to fail for who sends it, not when the answer begins.
      if (frame.type === 'event') void frame.args.json
      this.#early.push(frame)
      return true
    }
    // Mostly it goes to many, one after the other.
    const block = frame.type === 'event' ? this.writer.shared(frame, false) : new Block(this.#write(frame))
    if (block.text === '') return true
    // May find that the client is too slow, and close it.
    this.#deps.hub.sending(block.text.length)
    return this.give(block)
  }

  /** Hands on what is written already, and may be shared with others. */
  give(block: Block): boolean {
    if (this.#ended || this.#stream === null) return false
    if (block.text === '') return true
    if (this.#tail === null) {
      this.#tail = block.alone
      this.#deps.fanout.enqueue(this)
    } else this.#tail = this.#tail.with(block)
    return true
  }

  cork(write: () => void): void {
    write()
  }

  join(topic: string): void {
    if (this.#ended) return
    this.#deps.fanout.join(topic, this)
    if (!isCompleteTopic(topic)) return
    this.#completeTopic = topic
    this.#tellPlace()
  }

  leave(topic: string): void {
    this.#deps.fanout.leave(topic, this)
    if (topic === this.#completeTopic) this.#completeTopic = null
  }

  holdPlace(): void {
    this.#held = true
  }

  open(): void {
    this.#begin()
    this.#held = false
    this.#settled = true
    this.#tellPlace()
    this.flush()
  }

  close(code: number, reason: string): void {
    if (this.#ended) return
    this.#leftWith = code
    const stream = this.#stream
    if (stream === null) {
      this.#end()
      return this.#arrival.refuseByClose(code, reason)
    }
    this.give(new Block(this.writer.format.close(code, reason)))
    const last = this.#tail
    this.#end()
    stream.cork(() => {
      if (last !== null) stream.write(last.bytes)
      stream.end()
    })
  }

  terminate(): void {
    const stream = this.#stream
    this.#end()
    if (stream !== null) stream.terminate()
    else this.#arrival.refuseByClose(this.#leftWith, 'ended')
  }

  /** For the stream's handlers, which are this: a closure for each would stay as long as the stream does. */
  onDrain(): void {
    this.#arrival.client.onDrain()
  }

  onClose(): void {
    this.#end()
    this.#arrival.leave(this.#leftWith)
  }

  /** What came in this turn goes to the engine. */
  flush(): void {
    const tail = this.#tail
    if (tail === null || this.#stream === null) return
    this.#tail = null
    this.#quiet = false
    this.#stream.write(tail.bytes)
    // What the engine took at once never drains.
    this.#arrival.client.onDrain()
  }

  /** Whether nothing was sent since this was asked last. */
  isQuiet(): boolean {
    const { bufferedBytes } = this
    const quiet = this.#quiet && bufferedBytes === 0
    this.#quiet = true
    return quiet
  }

  #begin(): void {
    const early = this.#early
    if (this.#ended || early === null) return
    this.#early = null
    const { response, headers } = this.#arrival
    const { format } = this.writer
    const head = { ...format.headers, ...FEED_HEADERS, ...headers }
    this.#stream = response.stream(200, head, this, FILLER)
    // The client has gone: its arrival is told so.
    if (this.#stream === null) return this.#end()
    this.#deps.fanout.add(this)
    this.give(new Block(format.opening()))
    for (const frame of early) this.send(frame)
    // Together with the head.
    this.flush()
  }

  /** From where the client goes on, should it lose the connection before anything comes. */
  #tellPlace(): void {
    const cursor = this.complete ? this.#deps.cursor() : null
    if (cursor !== null) this.send({ type: 'cursor', cursor })
  }

  #write(frame: ServerFrame): string {
    const { format } = this.writer
    if (frame.type === 'welcome') {
      return format.welcome(frame, () => this.#deps.secretOf(this.#arrival.client))
    }
    return format.frame(frame, !this.#held && 'complete' in frame && frame.complete)
  }

  /** Off all topics; nothing is handed on any more. */
  #end(): void {
    this.#ended = true
    this.#early = null
    this.#tail = null
    const { fanout } = this.#deps
    for (const channel of this.#arrival.client.subscriptions.keys()) fanout.leave(channel, this)
    if (this.#completeTopic !== null) fanout.leave(this.#completeTopic, this)
    this.#completeTopic = null
    fanout.remove(this)
  }
}

/** An empty line, which means nothing in any of the formats. */
const FILLER = Buffer.from('\n')
