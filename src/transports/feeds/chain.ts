/**
 * What waits for a stream within one turn of the event loop: a chain of blocks. Streams to which the same blocks come
 * in the same order share its nodes, so that what waits is joined and encoded once for all of them.
 */
export class Chain {
  /** Of the whole chain. */
  readonly byteLength: number
  readonly #text: string
  #bytes: Uint8Array | null = null
  /** Mostly all who have come this far go on with the same block. */
  #block: Block | null = null
  #next: Chain | null = null
  #others: Map<Block, Chain> | null = null

  constructor(text: string, byteLength: number) {
    this.#text = text
    this.byteLength = byteLength
  }

  /** Encoded when first asked for. */
  get bytes(): Uint8Array {
    return (this.#bytes ??= Buffer.from(this.#text))
  }

  /** The chain with one more block at its end. */
  with(block: Block): Chain {
    if (this.#block === block) return this.#next!
    const known = this.#others?.get(block)
    if (known !== undefined) return known
    const next = new Chain(this.#text + block.text, this.byteLength + block.byteLength)
    if (this.#block === null) {
      this.#block = block
      this.#next = next
    } else (this.#others ??= new Map()).set(block, next)
    return next
  }
}

/** One frame in one format. */
export class Block {
  readonly text: string
  readonly byteLength: number
  #alone: Chain | null = null

  constructor(text: string) {
    this.text = text
    this.byteLength = Buffer.byteLength(text)
  }

  /** The chain of this block alone. */
  get alone(): Chain {
    return (this.#alone ??= new Chain(this.text, this.byteLength))
  }
}
