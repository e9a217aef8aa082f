import { messageOf } from '../errors.ts'

export interface LetterBoxOptions {
  /** Reads stored packets; what is not in the answer is gone. */
  read(ids: readonly number[]): Promise<ReadonlyMap<number, string>>
  onPacket(text: string): void
  onLost(reason: string): void
  /** Only what is stored counts. */
  readonly sealed: boolean
}

/** Packets that may wait behind one that is being read. */
const MAX_WAITING = 10_000
/** Stored packets read with one query. */
const READ_AT_ONCE = 16

/**
 * Takes NOTIFYs' payloads and hands on packets: those in the payload itself at once, those that are stored when they are
 * read, and never out of order.
 */
export class LetterBox {
  readonly #options: LetterBoxOptions
  /** The ids of stored packets, and what came behind them. */
  #waiting: (number | string)[] = []
  #reading = false
  #overflowing = false
  #closed = false

  constructor(options: LetterBoxOptions) {
    this.#options = options
  }

  put(payload: string): void {
    if (this.#closed) return
    const id = STORED.test(payload) ? Number(payload.slice(1)) : null
    // Anybody may say a NOTIFY; only the daemon's role may write into the table. Nothing is as malformed as ''.
    const item = id ?? (this.#options.sealed ? '' : payload)
    if (typeof item === 'string' && !this.#reading) return this.#options.onPacket(item)
    if (this.#waiting.length >= MAX_WAITING) {
      if (!this.#overflowing) this.#options.onLost('too many letters wait for one that is being read')
      this.#overflowing = true
      return
    }
    this.#waiting.push(item)
    if (!this.#reading) void this.#pump()
  }

  close(): void {
    this.#closed = true
    this.#waiting = []
  }

  /** Never rejects. */
  async #pump(): Promise<void> {
    this.#reading = true
    while (this.#waiting.length > 0) {
      let count = 0
      while (count < READ_AT_ONCE && typeof this.#waiting[count] === 'number') count++
      if (count > 0) await this.#fetch(this.#waiting.splice(0, count) as number[])
      // What came behind needs no reading.
      const next = this.#waiting.findIndex((item) => typeof item === 'number')
      const ready = this.#waiting.splice(0, next === -1 ? this.#waiting.length : next)
      for (const item of ready) this.#options.onPacket(item as string)
    }
    this.#reading = false
    this.#overflowing = false
  }

  async #fetch(ids: readonly number[]): Promise<void> {
    const { read, onPacket, onLost } = this.#options
    let bodies: ReadonlyMap<number, string>
    try {
      bodies = await read(ids)
    } catch (error) {
      if (!this.#closed) onLost(`letters can't be read: ${messageOf(error)}`)
      return
    }
    if (this.#closed) return
    for (const id of ids) {
      const body = bodies.get(id)
      if (body === undefined) onLost('a letter was gone before it was read')
      else onPacket(body)
    }
  }
}

const STORED = /^@[1-9][0-9]{0,14}$/
