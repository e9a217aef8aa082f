import type { Client } from './client.ts'

interface Deadline {
  readonly at: number
  readonly code: number
  readonly reason: string
}

/** Closes connections whose time is up: a token that expired, an authentication that did not come. */
export class Deadlines {
  readonly #close: (client: Client, code: number, reason: string) => void
  readonly #tickMs: number
  readonly #deadlines = new Map<Client, Deadline>()
  #timer: NodeJS.Timeout | null = null

  /** @param options.tickMs how late a close may come. @default 250 */
  constructor(
    close: (client: Client, code: number, reason: string) => void,
    options: { readonly tickMs?: number } = {},
  ) {
    this.#close = close
    this.#tickMs = options.tickMs ?? 250
  }

  /** Connections that have one. */
  get size(): number {
    return this.#deadlines.size
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#tick(), this.#tickMs).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** One deadline a client: a later call replaces it. */
  set(client: Client, deadline: Deadline): void {
    this.#deadlines.set(client, deadline)
  }

  clear(client: Client): void {
    this.#deadlines.delete(client)
  }

  #tick(): void {
    const now = Date.now()
    for (const [client, { at, code, reason }] of this.#deadlines) {
      if (at > now) continue
      this.#deadlines.delete(client)
      this.#close(client, code, reason)
    }
  }
}
