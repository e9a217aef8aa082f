import { createHash } from 'node:crypto'
import { ClientError } from '../protocol/codes.ts'

export interface DedupeOptions {
  /** How long a key is remembered. */
  windowMs(): number
  /** How many keys are; the oldest go first. */
  maxKeys(): number
  /** @default Date.now */
  readonly now?: () => number
}

interface Known<Id> {
  readonly digest: string
  readonly id: Id
  readonly until: number
}

/** Remembers idempotency keys: the second publication with a known key is answered as the first was. */
export class Dedupe<Id = Promise<string | null> | string | null> {
  readonly #options: DedupeOptions
  readonly #now: () => number
  /** In the order of arrival, which with one window is the order of expiry too. */
  readonly #known = new Map<string, Known<Id>>()

  constructor(options: DedupeOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  get size(): number {
    return this.#known.size
  }

  /**
   * The first answer to this key; undefined when it is new.
   * @throws {ClientError} `conflict` when the key came with another body
   */
  find(key: string, channel: string, json: string): { readonly id: Id } | undefined {
    const known = this.#known.get(scoped(key, channel))
    if (known === undefined || known.until <= this.#now()) return undefined
    if (known.digest !== digestOf(json)) {
      throw new ClientError('conflict', 'the idempotency key came before, with another body')
    }
    return known
  }

  remember(key: string, channel: string, json: string, id: Id): void {
    const now = this.#now()
    const name = scoped(key, channel)
    this.#known.delete(name)
    this.#known.set(name, { digest: digestOf(json), id, until: now + this.#options.windowMs() })
    for (const [oldest, known] of this.#known) {
      if (known.until > now && this.#known.size <= this.#options.maxKeys()) break
      this.#known.delete(oldest)
    }
    if (id instanceof Promise) {
      // A publication that failed may be tried again with the same key.
      id.catch(() => this.#known.delete(name))
    }
  }
}

function scoped(key: string, channel: string): string {
  return `${channel} ${key}`
}

function digestOf(json: string): string {
  return createHash('sha256').update(json).digest('base64')
}
