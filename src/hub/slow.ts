import type { Client } from './client.ts'

export interface SlowGuardOptions {
  clients(): Iterable<Client>
  close(client: Client): void
  /**
   * Takes a client off its conflated channels, where falling behind is no fault; false when it is on none.
   * @default nobody is on any
   */
  setAside?(client: Client): boolean
  /** A client for which more than this waits is too slow; with half of it it is set aside where that is possible. */
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
 * from below the soft limit to the hard one since the last look. And twice a second.
 *
 * The sum: after a look at most the soft limit S waits for a client, or, where it was set aside, S more than waited
 * then. Until the next look a quarter Q of the distance to the hard limit H is added, and what uWS holds back (up to
 * 32 publications below 16 KiB, that are in no buffer yet). Who is set aside at S + Q may therefore wait with 2S + Q
 * at a look and 2S + 2Q before the next: with H ≥ 4S that is at most 7/8 H, and the rest is for what is held back.
 */
export class SlowGuard {
  readonly #options: SlowGuardOptions
  /** After so many units all are looked at: a quarter of the distance between the limits, in the longest UTF-8. */
  readonly #mostUnits: number
  /** Who was set aside, and what waited for it then or, less, at a later look. */
  readonly #aside = new Map<Client, number>()
  #units = 0
  #dirty = false
  #timer: NodeJS.Timeout | null = null

  constructor(options: SlowGuardOptions) {
    this.#options = options
    this.#mostUnits = (options.hardBytes - options.softBytes) / (4 * BYTES_PER_UNIT)
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

  /** The client is on its conflated channels again, on none any more, or gone. */
  release(client: Client): void {
    this.#aside.delete(client)
  }

  #tick(): void {
    if (this.#dirty) this.#sweep()
    this.#dirty = false
  }

  #sweep(): void {
    this.#units = 0
    for (const client of this.#options.clients()) if (client.open) this.#look(client)
  }

  #look(client: Client): void {
    const { softBytes, close, setAside } = this.#options
    const bytes = client.link.bufferedBytes
    const before = this.#aside.get(client)
    if (before !== undefined) {
      // What has come on top of it since is other traffic.
      if (bytes > before + softBytes) close(client)
      else if (bytes < before) this.#aside.set(client, bytes)
    } else if (bytes > softBytes / 2) {
      if (setAside?.(client) === true) this.#aside.set(client, bytes)
      else if (bytes > softBytes) close(client)
    }
  }
}
