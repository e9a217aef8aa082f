import { createHmac, randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { AuthUrlConfig } from '../config/config.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError } from '../protocol/codes.ts'
import type { Credentials, User } from '../registry/define.ts'
import { type Answer, ask, AskingError } from './asking.ts'
import { chooseCookies } from './cookies.ts'
import { Lanes } from './lanes.ts'

export interface WhoamiOptions {
  readonly log?: Pick<Log, 'warn' | 'info'>
  /** Told of each user that the application knows, and when it was asked. */
  readonly vouch?: (user: User, askedAt: number) => void
  /** Answers that are remembered. @default 10000 */
  readonly maxCached?: number
  /** Questions that wait for their turn, and for how long. @default 20000 */
  readonly maxWaiting?: number
  /** @default 10000 */
  readonly waitMs?: number
  /** How long nothing is asked after some failures one after the other. @default 1000 */
  readonly retryMs?: number
}

/** What this node has asked. */
export interface WhoamiCounts {
  asked: number
  /** Answered from memory, or by a question that was under way. */
  shared: number
  failed: number
}

/** One asker's credentials, as the application gets them. */
export interface Question {
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  /** Milliseconds since 1970. */
  readonly askedAt: number
}

interface Cached {
  readonly answer: Answer
  /** By performance.now(). */
  readonly until: number
}

/** Failures one after the other that are an outage, and not one user's. */
const OUTAGE = 3

const TELL_MS = 60_000

/**
 * Asks the application whose credentials are. An answer is remembered for a moment, equal questions are one request, and
 * so many at once go out and no more: when ten thousand clients come back together, the application is asked in turn.
 */
export class Whoami {
  readonly counts: WhoamiCounts = { asked: 0, shared: 0, failed: 0 }
  readonly #config: AuthUrlConfig
  readonly #options: WhoamiOptions
  readonly #lanes: Lanes
  /** In memory there are fingerprints of credentials, by a key of this process. */
  readonly #secret = randomBytes(32)
  readonly #cached = new Map<string, Cached>()
  readonly #pending = new Map<string, Promise<Answer>>()
  #questions = new WeakMap<User, Question>()
  /** Answers to what was asked before it changed are not remembered. */
  #generation = 0
  #failures = 0
  /** Whether the present failures have been logged, and when any were. */
  #told = false
  #toldAt = -Infinity
  #pausedUntil = -Infinity

  constructor(config: AuthUrlConfig, options: WhoamiOptions = {}) {
    const { maxWaiting = 20_000, waitMs = 10_000 } = options
    this.#config = config
    this.#options = options
    this.#lanes = new Lanes({ width: config.concurrency, maxWaiting, waitMs })
  }

  /** After a reload: those that are connected are asked about as before, unless others would be asked, or by other things. */
  takeOver(before: Whoami): void {
    const { url, headers, cookies } = before.#config
    const own = this.#config
    if (
      isDeepStrictEqual(
        { url, headers, cookies },
        { url: own.url, headers: own.headers, cookies: own.cookies },
      )
    ) {
      this.#questions = before.#questions
    }
  }

  get cached(): number {
    return this.#cached.size
  }

  /** Milliseconds after which the application is asked anew about those that stay; `Infinity`: never. */
  get recheckMs(): number {
    return this.#config.recheckMs
  }

  /** Questions to the application at once. */
  get concurrency(): number {
    return this.#config.concurrency
  }

  /**
   * Null where the application knows nobody by them, or where there is nothing to go by.
   * @throws {ClientError} forbidden: it wants nothing of whoever that is; unavailable
   */
  async whose(credentials: Credentials): Promise<User | null> {
    const headers = this.#headersOf(credentials)
    if (headers === null) return null
    const key = createHmac('sha256', this.#secret).update(JSON.stringify(headers)).digest('base64')
    return userOf(await this.#answer(key, headers))
  }

  /** The question by which a user was found out; undefined where it was otherwise, and where nobody is asked about again. */
  questionOf(user: User): Question | undefined {
    return this.#questions.get(user)
  }

  /** Asks it again. @throws {ClientError} as `whose` */
  async again({ key, headers }: Question): Promise<User | null> {
    return userOf(await this.#answer(key, headers))
  }

  /** A user's sessions were ended: what was answered before, and is being asked, is not gone by any more. */
  forget(user: string, database: string | null): void {
    this.#generation++
    this.#pending.clear()
    for (const [key, { answer }] of this.#cached) {
      if (typeof answer === 'string' || answer.id !== user || (answer.database ?? null) !== database) continue
      this.#cached.delete(key)
    }
  }

  async #answer(key: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
    const cached = this.#cached.get(key)
    if (cached !== undefined && cached.until > performance.now()) {
      this.counts.shared++
      return cached.answer
    }
    const pending = this.#pending.get(key)
    if (pending !== undefined) {
      this.counts.shared++
      return pending
    }
    const asking = this.#ask(key, headers).finally(() => {
      if (this.#pending.get(key) === asking) this.#pending.delete(key)
    })
    this.#pending.set(key, asking)
    return asking
  }

  async #ask(key: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
    const { url, timeoutMs } = this.#config
    try {
      return await this.#lanes.run(async () => {
        if (performance.now() < this.#pausedUntil) throw unavailable()
        const askedAt = Date.now()
        const generation = this.#generation
        this.counts.asked++
        const answer = await ask(url, headers, timeoutMs)
        this.#succeeded()
        if (typeof answer !== 'string') {
          // Credentials are kept only where they are needed once more.
          if (Number.isFinite(this.recheckMs)) this.#questions.set(answer, { key, headers, askedAt })
          this.#options.vouch?.(answer, askedAt)
        }
        if (generation === this.#generation) this.#remember(key, answer)
        return answer
      })
    } catch (error) {
      if (!(error instanceof AskingError)) throw error
      this.#failed(error)
      throw unavailable()
    }
  }

  #remember(key: string, answer: Answer): void {
    const { cacheMs } = this.#config
    // Who signs in is to be known at once, or nearly so.
    let ms = typeof answer === 'string' ? cacheMs / 5 : cacheMs
    if (typeof answer !== 'string' && answer.expires !== undefined) {
      ms = Math.min(ms, answer.expires - Date.now())
    }
    if (ms <= 0) return
    this.#cached.delete(key)
    this.#cached.set(key, { answer, until: performance.now() + ms })
    const { maxCached = 10_000 } = this.#options
    // What is over goes as well, the oldest first: it holds a user, and by what that was known.
    const now = performance.now()
    for (const [oldest, { until }] of this.#cached) {
      if (this.#cached.size <= maxCached && until > now) return
      this.#cached.delete(oldest)
    }
  }

  #succeeded(): void {
    if (this.#told && this.#failures >= OUTAGE) {
      this.#options.log?.info(this.#place(), 'the application answers again')
    }
    this.#failures = 0
    this.#told = false
  }

  /** An outage is logged once, and what fails now and then once a minute. */
  #failed(error: AskingError): void {
    this.counts.failed++
    this.#failures++
    const now = performance.now()
    if (this.#failures >= OUTAGE) this.#pausedUntil = now + (this.#options.retryMs ?? 1000)
    if (this.#told || (this.#failures < OUTAGE && now - this.#toldAt < TELL_MS)) return
    this.#told = true
    this.#toldAt = now
    const fields = { ...this.#place(), reason: messageOf(error) }
    this.#options.log?.warn(fields, 'the application can not say who its users are')
  }

  /** Without its query, which may hold a key. */
  #place(): { url: string } {
    const { origin, pathname } = new URL(this.#config.url)
    return { url: `${origin}${pathname}` }
  }

  /** What goes to the application; null where there is nothing by which somebody could be known. */
  #headersOf({ headers: given, token, address }: Credentials): Readonly<Record<string, string>> | null {
    const { headers: names, cookies } = this.#config
    const headers: Record<string, string> = {}
    for (const name of names) {
      // A token was chosen by who sends it, cookies come by themselves: they stay here where there is one.
      if (name === 'cookie' && token !== null) continue
      const value = name === 'authorization' && token !== null ? `Bearer ${token}` : (given[name] ?? '')
      const chosen = name === 'cookie' && cookies !== null ? chooseCookies(value, cookies) : value
      if (chosen !== '') headers[name] = chosen
    }
    if (Object.keys(headers).length === 0) return null
    return {
      ...headers,
      ...(address === '' ? {} : { 'x-forwarded-for': address }),
      accept: 'application/json',
    }
  }
}

/** @throws {ClientError} forbidden */
function userOf(answer: Answer): User | null {
  if (answer === 'nobody') return null
  if (answer === 'refused') throw new ClientError('forbidden', 'the application refuses this session')
  return answer
}

function unavailable(): ClientError {
  return new ClientError('unavailable', 'who you are can not be found out at the moment, try again later')
}
