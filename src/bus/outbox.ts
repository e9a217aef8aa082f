import { encodePacket, HEAD_BYTES } from './packets.ts'

export interface OutboxOptions {
  readonly node: string
  readonly maxLetters: number
  readonly maxBytes: number
  /** What has waited longer is given up: an old order must not be carried out when the server is back. */
  readonly staleMs: number
}

/** A packet on its way. */
export interface Parting {
  readonly text: string
  readonly letters: number
  /** Longer than what was asked for: a large letter by itself. */
  readonly large: boolean
}

interface Waiting {
  readonly line: string
  readonly bytes: number
  readonly at: number
}

/** Letters that wait to leave, in order, within bounds; and how they are packed. */
export class Outbox {
  readonly #options: OutboxOptions
  #letters: Waiting[] = []
  /** Letters before this one have left: shifting an array of thousands for each would cost more. */
  #next = 0
  #bytes = 0
  #number = 0
  #skipped = false

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#letters.length - this.#next
  }

  get bytes(): number {
    return this.#bytes
  }

  /** False when there is no room. */
  push(line: string): boolean {
    const { maxLetters, maxBytes } = this.#options
    const bytes = Buffer.byteLength(line)
    if (this.size >= maxLetters || this.#bytes + bytes > maxBytes) {
      this.skip()
      return false
    }
    this.#letters.push({ line, bytes, at: performance.now() })
    this.#bytes += bytes
    return true
  }

  /** Something will not be sent: the next packet's number tells the receivers so. */
  skip(): void {
    this.#skipped = true
  }

  /** Drops what is too old by now; how many. */
  dropStale(): number {
    const oldest = performance.now() - this.#options.staleMs
    let count = 0
    for (let first = this.#letters[this.#next]; first !== undefined && first.at < oldest; count++) {
      this.#remove(first)
      first = this.#letters[this.#next]
    }
    if (count > 0) this.skip()
    return count
  }

  /** Takes at most `count` packets out, of at most `bytes` each but for a single letter that is larger. */
  take(bytes: number, count: number): Parting[] {
    const packets: Parting[] = []
    while (packets.length < count && this.size > 0) packets.push(this.#pack(bytes - HEAD_BYTES))
    return packets
  }

  #pack(room: number): Parting {
    const lines: string[] = []
    let size = 0
    for (let first = this.#letters[this.#next]; first !== undefined; first = this.#letters[this.#next]) {
      // One more for the line break before it.
      if (lines.length > 0 && size + 1 + first.bytes > room) break
      size += 1 + first.bytes
      lines.push(first.line)
      this.#remove(first)
    }
    this.#number += this.#skipped ? 2 : 1
    this.#skipped = false
    const text = encodePacket(this.#options.node, this.#number, lines)
    return { text, letters: lines.length, large: size > room }
  }

  #remove(first: Waiting): void {
    this.#bytes -= first.bytes
    this.#next++
    if (this.#next === this.#letters.length) {
      this.#letters = []
      this.#next = 0
    } else if (this.#next >= 1024 && this.#next * 2 >= this.#letters.length) {
      this.#letters = this.#letters.slice(this.#next)
      this.#next = 0
    }
  }
}
