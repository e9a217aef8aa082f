import { ClientError } from '../protocol/codes.ts'
import { type Person, userKey } from '../protocol/people.ts'
import type { User } from '../registry/define.ts'

/** Who is refused: a user with all that was issued until then, or one token. */
export type Revoked =
  | { readonly user: string; /** Null: the home one. */ readonly database: string | null }
  | { /** Its `jti`. */ readonly token: string }

export interface Revocation {
  readonly who: Revoked
  /** What was issued until then is refused; milliseconds since 1970. */
  readonly at: number
  /** Until when; later tokens are older than that, or of no use. */
  readonly until: number
  readonly reason: string | null
}

/** Revocations that are kept at once. */
export const MAX_REVOCATIONS = 200_000

/** By how much the clock of who issues tokens may be ahead. */
const AHEAD_MS = 5000

interface Entry extends Revocation {
  /** When this process learned of it, by its own clock. */
  readonly seen: number
}

/** Who is refused at present, as far as this process knows. Asking costs one look into a map. */
export class Revocations {
  readonly #entries = new Map<string, Entry>()
  /** Users that the application was asked for, and when: it knows best, if it was asked after the revocation. */
  readonly #vouched = new WeakMap<User, number>()
  readonly #maxEntries: number
  /** False until those that are stored have been read: until then nobody is let in by a name. */
  known = true
  /** Refusals so far. */
  refused = 0
  /** Headers that name a user and came from nobody who may. */
  strayHeaders = 0

  /** @param options.maxEntries @default MAX_REVOCATIONS */
  constructor(options: { readonly maxEntries?: number } = {}) {
    this.#maxEntries = options.maxEntries ?? MAX_REVOCATIONS
  }

  get size(): number {
    return this.#entries.size
  }

  /** No more than these are kept: what is over, first those whose time has passed, is for the caller to refuse. */
  get full(): boolean {
    if (this.#entries.size < this.#maxEntries) return false
    this.sweep()
    return this.#entries.size >= this.#maxEntries
  }

  get(who: Revoked): Revocation | undefined {
    return this.#entries.get(keyOf(who))
  }

  *[Symbol.iterator](): Iterator<Revocation> {
    yield* this.#entries.values()
  }

  /** False where it is known already, a later one is, or its time has passed. */
  add(revocation: Revocation, now = Date.now()): boolean {
    const { who, at, until } = revocation
    if (until <= now) return false
    const key = keyOf(who)
    const known = this.#entries.get(key)
    if (known !== undefined && known.at >= at && known.until >= until) return false
    if (known === undefined && this.full) return false
    const later = known === undefined || known.at < at
    this.#entries.set(key, {
      ...revocation,
      at: Math.max(at, known?.at ?? at),
      until: Math.max(until, known?.until ?? until),
      seen: later ? now : known.seen,
    })
    return later
  }

  /** Takes back one that was made at `at` or before; a later one stays. False where there is none. */
  remove(who: Revoked, at: number): boolean {
    const key = keyOf(who)
    const known = this.#entries.get(key)
    return known !== undefined && known.at <= at && this.#entries.delete(key)
  }

  /** Forgets those whose time has passed. */
  sweep(now = Date.now()): void {
    for (const [key, { until }] of this.#entries) if (until <= now) this.#entries.delete(key)
  }

  /** The application said so itself when it was asked at `askedAt`: what was revoked before counts no more. */
  vouch(user: User, askedAt: number): void {
    this.#vouched.set(user, askedAt)
  }

  /** @throws {ClientError} unauthenticated, with `details: { reason: 'revoked' }`; unavailable: not read yet */
  check(user: User): void {
    if (!this.known) {
      throw new ClientError('unavailable', 'who is revoked is not known at the moment, try again later')
    }
    if (this.#entries.size === 0 || !this.refuses(user)) return
    this.refused++
    throw new ClientError('unauthenticated', 'this session has been ended: sign in again', {
      reason: 'revoked',
    })
  }

  refuses(user: User, now = Date.now()): boolean {
    const { token, issued } = user
    if (token !== undefined && this.#isIn(this.#entries.get(tokenKey(token)), now)) return true
    const entry = this.#entries.get(personKey(user))
    if (!this.#isIn(entry, now)) return false
    const vouched = this.#vouched.get(user)
    if (vouched !== undefined) return vouched <= entry.seen
    // Of what does not say when it was issued nobody knows that it is newer, nor of what comes from the future.
    return issued === undefined || issued <= entry.at || issued > now + AHEAD_MS
  }

  #isIn(entry: Entry | undefined, now: number): entry is Entry {
    return entry !== undefined && entry.until > now
  }
}

function keyOf(who: Revoked): string {
  return 'token' in who ? tokenKey(who.token) : personKey({ id: who.user, database: who.database })
}

function tokenKey(token: string): string {
  return `t${token}`
}

function personKey(person: Person): string {
  return `u${userKey(person)}`
}
