import type { DatabaseNames } from '../config/config.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import type { User } from '../registry/define.ts'
import { placeUser } from './databases.ts'
import type { Question, Whoami } from './whoami.ts'

/** A connection, as far as it matters here. */
export interface Rechecked {
  readonly open: boolean
  readonly identity: User | null
}

export interface RechecksDependencies<C extends Rechecked> {
  readonly live: {
    readonly rules: { readonly whoami: Whoami | null; readonly config: { readonly databases: DatabaseNames } }
  }
  clients(): Iterable<C>
  /** The same user as before, with what may have changed. @throws {ClientError} for another one */
  identify(client: C, user: User): Promise<void>
  /** It is nobody's any more. */
  end(client: C, error: unknown): void
  /** How often it is looked whose time has come; a tenth of `auth.url.recheck` where that is more. @default 1000 */
  readonly tickMs?: number
}

/**
 * Asks the application anew about those that are connected, for a session may end while they are. Connections of the same
 * credentials are asked about once. Where the application can't be asked they stay: an outage of it ends nobody.
 */
export class Rechecks<C extends Rechecked> {
  readonly #deps: RechecksDependencies<C>
  #timer: NodeJS.Timeout | null = null
  #stopped = false

  constructor(deps: RechecksDependencies<C>) {
    this.#deps = deps
  }

  start(): void {
    if (this.#stopped || this.#timer !== null) return
    const { tickMs = 1000, live } = this.#deps
    const { recheckMs = Infinity } = live.rules.whoami ?? {}
    // Where nothing is to be asked: a reload may change that.
    const ms = Number.isFinite(recheckMs) ? Math.max(tickMs, recheckMs / 10) : 10_000
    this.#timer = setTimeout(() => this.#tick(), ms).unref()
  }

  /** Idempotent. What is being asked ends by its own deadline, and nothing comes of it. */
  stop(): void {
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #tick(): void {
    this.#timer = null
    // One round after the other: the next tick is set when this one is over.
    void this.#round().then(() => this.start())
  }

  /** Never rejects. */
  async #round(): Promise<void> {
    const { whoami } = this.#deps.live.rules
    if (whoami === null || !Number.isFinite(whoami.recheckMs)) return
    // Half of the questions at once, and no more wait in turn: who comes meanwhile is not to stand behind all who are here.
    const due = this.#due(whoami).entries()
    const line = async (): Promise<void> => {
      for (const [question, clients] of due) {
        if (this.#stopped) return
        await this.#ask(whoami, question, clients)
      }
    }
    await Promise.all(Array.from({ length: Math.ceil(whoami.concurrency / 2) }, line))
  }

  #due(whoami: Whoami): Map<Question, C[]> {
    const before = Date.now() - whoami.recheckMs
    const due = new Map<Question, C[]>()
    for (const client of this.#deps.clients()) {
      const question = client.identity === null ? undefined : whoami.questionOf(client.identity)
      if (question === undefined || question.askedAt > before || !client.open) continue
      const others = due.get(question)
      if (others === undefined) due.set(question, [client])
      else others.push(client)
    }
    return due
  }

  async #ask(whoami: Whoami, question: Question, clients: readonly C[]): Promise<void> {
    let found: User | null = null
    let failure: unknown = null
    try {
      found = await whoami.again(question)
      if (found !== null) found = placeUser(found, this.#deps.live.rules.config.databases)
    } catch (error) {
      if (!isClientError(error) || error.code === 'unavailable') return
      failure = error
    }
    for (const client of clients) {
      if (this.#stopped || !client.open || client.identity === null) continue
      // It was told another token meanwhile, or has been asked about.
      if (whoami.questionOf(client.identity) !== question) continue
      try {
        if (found === null) throw failure ?? new ClientError('unauthenticated', 'the session has ended')
        await this.#deps.identify(client, found)
      } catch (error) {
        this.#deps.end(client, error)
      }
    }
  }
}
