import type { Client } from './client.ts'

export interface SlowGuardOptions {
  clients(): Iterable<Client>
  close(client: Client): void
  /** A client for which more than this waits is too slow. */
  readonly softBytes: number
  /** What the listener lets wait at the most. */
  readonly hardBytes: number
  /** @default 500 */
  readonly sweepMs?: number
}

/** A UTF-16 unit takes at most three bytes of UTF-8. */
const BYTES_PER_UNIT = 3

/**
 * Closes clients that read too slowly before they could miss anything.
 *
 * uWS `publish` skips a socket whose buffer is over the hard limit, says nothing, and may deliver later
 * publications: a silent gap. To look at every socket at every publication would be the loop that topics
 * save. So all are looked at after so many bytes, published or sent to whomever, that none could have gone
 * from below the soft limit to the hard one since the last look: half of the distance between them, for uWS
 * holds back up to 32 publications below 16 KiB for a socket that are not in its buffer yet. And twice a second.
 */
export class SlowGuard {
  readonly #options: SlowGuardOptions
  /** After so many units all are looked at: half of the distance between the limits, in the longest UTF-8. */
  readonly #mostUnits: number
  #units = 0
  #dirty = false
  #timer: NodeJS.Timeout | null = null

  constructor(options: SlowGuardOptions) {
    this.#options = options
    this.#mostUnits = (options.hardBytes - options.softBytes) / (2 * BYTES_PER_UNIT)
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#tick(), this.#options.sweepMs ?? 500).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** Called before a frame of so many UTF-16 units is published or sent. */
  count(units: number): void {
    this.#dirty = true
    if (this.#units + units > this.#mostUnits) this.#sweep()
    // After the look: this frame is in no buffer yet.
    this.#units += units
  }

  #tick(): void {
    if (this.#dirty) this.#sweep()
    this.#dirty = false
  }

  #sweep(): void {
    this.#units = 0
    const { softBytes } = this.#options
    for (const client of this.#options.clients()) {
      if (client.open && client.link.bufferedBytes > softBytes) this.#options.close(client)
    }
  }
}
