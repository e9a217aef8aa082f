import type { ReadRevocations, RevocationTable } from '../auth/revocation-table.ts'
import type { Revocation, Revocations, Revoked } from '../auth/revocations.ts'
import type { Bus, Memo } from '../bus/bus.ts'
import { messageOf } from '../errors.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { CLOSE, ClientError, closeReason } from '../protocol/codes.ts'
import { isRecord } from '../protocol/json.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { Client } from './client.ts'
import { Calls, obeying } from './cluster-calls.ts'
import type { Hub } from './hub.ts'

export interface RevokerDependencies {
  readonly revocations: Revocations
  /** Null: they are kept in memory, until the process ends. */
  readonly table: Pick<RevocationTable, 'readAll' | 'readChanges' | 'put' | 'lift' | 'holds' | 'stop'> | null
  readonly bus: Pick<Bus, 'node' | 'peers' | 'send'>
  readonly hub: Pick<Hub, 'get' | 'of' | typeof Symbol.iterator>
  /** What the application answered of a user is to be forgotten. */
  readonly forget: (user: string, database: string | null) => void
  readonly counts: Counts
  readonly log: Log
  /** How often the table is read: a node that missed a memo knows it by then. @default 5000 */
  readonly everyMs?: number
  /** After a failure. @default 1000 */
  readonly retryMs?: number
  /** How long the other nodes may take to answer. @default 1000 */
  readonly deadlineMs?: number
}

/** What became of a revocation. */
export interface Ended {
  /** Connections that were closed. */
  readonly count: number
  /** Nodes that did not say in time that they know: those that read the table know it some seconds later. */
  readonly missing: readonly string[]
  readonly until: number
}

/** Whose connection it is. */
export interface Found {
  readonly user: string
  readonly database: string | null
  readonly token: string | null
  readonly expires: number | null
}

type Order =
  | { readonly op: 'revoke'; readonly revocation: Revocation }
  | { readonly op: 'lift'; readonly who: Revoked; readonly at: number }
  | { readonly op: 'find'; readonly session: string }

/**
 * Ends sessions on all nodes and keeps them ended: here at once, by memos at the others, and in a table that all of them
 * read, for memos may be lost.
 */
export class Revoker {
  readonly #deps: RevokerDependencies
  readonly #calls: Calls
  /** The database's time up to which the table was read; null: not at all. */
  #readUntil: number | null = null
  #reading: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null
  #failing = false
  #absent = false
  #stopped = false

  constructor(deps: RevokerDependencies) {
    const { bus, counts, log, deadlineMs = 1000 } = deps
    this.#deps = deps
    this.#calls = new Calls({
      bus,
      topic: 'revocations',
      deadlineMs,
      answer: obeying(decodeOrder, (order) => this.#obey(order)),
      counts,
      log,
    })
    // Until it is known who is revoked, nobody is let in by a name: the table may say no.
    if (deps.table !== null) deps.revocations.known = false
  }

  /** Resolves after the first attempt to read the table, whatever came of it; it goes on reading. */
  start(): Promise<void> {
    return this.#read()
  }

  /**
   * From now on what was issued until now is refused, on all nodes; who is connected by it is closed with 4401.
   * @throws {ClientError} unavailable: it holds where it could be told, and is not stored; limit_exceeded
   */
  async revoke(who: Revoked, until: number, reason: string | null): Promise<Ended> {
    const { revocations, table } = this.#deps
    if (revocations.full) throw new ClientError('limit_exceeded', 'too many revocations hold already')
    const revocation: Revocation = { who, at: Date.now(), until, reason }
    const own = this.#apply(revocation)
    // The others look there whether it is so.
    const stored = table === null ? null : await settled(table.put(revocation))
    const told = await this.#calls.ask({ op: 'revoke', revocation } satisfies Order, decodeCount)
    if (stored instanceof Error) throw notStored(stored)
    let count = own
    for (const closed of told.answers.values()) count += closed
    this.#deps.log.info({ closed: count, missing: told.missing, until }, 'sessions revoked')
    return { count, missing: told.missing, until }
  }

  /**
   * Takes one back: in the table first, for the others believe nobody else. False where none is known.
   * @throws {ClientError} unavailable: it holds as before
   */
  async lift(who: Revoked): Promise<{ readonly lifted: boolean; readonly missing: readonly string[] }> {
    const { revocations, table } = this.#deps
    const at = Date.now()
    const stored = table === null ? false : await settled(table.lift(who))
    if (stored instanceof Error) throw notLifted(stored)
    const known = revocations.get(who)
    const order: Order = { op: 'lift', who, at: Math.max(at, known?.at ?? at) }
    revocations.remove(who, order.at)
    const told = await this.#calls.ask(order, decodeCount)
    const elsewhere = [...told.answers.values()].some((count) => count > 0)
    return { lifted: known !== undefined || stored || elsewhere, missing: told.missing }
  }

  /** Whose connection it is, on whichever node; null where it is nobody's or nowhere. */
  async find(session: string): Promise<Found | null> {
    const own = this.#find(session)
    if (own !== null) return own
    const { answers } = await this.#calls.ask({ op: 'find', session } satisfies Order, decodeFound)
    return [...answers.values()].find((found) => found.user !== '') ?? null
  }

  /** For the bus's handlers. */
  onMemo(memo: Memo, from: string): void {
    this.#calls.onMemo(memo, from)
  }

  onPeer(node: string, here: boolean): void {
    if (!here) this.#calls.onGone(node)
  }

  /** Memos may have been missed: the table knows. */
  onGap(): void {
    if (this.#deps.table !== null) void this.#read()
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#calls.stop()
    this.#deps.table?.stop()
    await this.#reading
  }

  #obey(order: Order): MaybePromise<number | Found> {
    switch (order.op) {
      case 'revoke':
        return this.#revoked(order.revocation)
      case 'lift':
        return this.#lifted(order.who, order.at)
      case 'find':
        return this.#find(order.session) ?? NOBODY
      default:
        return order satisfies never
    }
  }

  /** Any role of the database can say so, where memos are NOTIFYs: where there is a table, it has to say so too. */
  async #lifted(who: Revoked, at: number): Promise<number> {
    const { revocations, table } = this.#deps
    if (revocations.get(who) === undefined || (table !== null && (await table.holds(who)))) return 0
    return revocations.remove(who, at) ? 1 : 0
  }

  /** As above: nobody is shut out by a NOTIFY. Where the table can't be asked, it may be true, and who asked is told so. */
  #revoked(revocation: Revocation): MaybePromise<number> {
    const { table } = this.#deps
    if (table === null || this.#absent) return this.#apply(revocation)
    return settled(table.holds(revocation.who)).then((held) => (held === false ? 0 : this.#apply(revocation)))
  }

  #find(session: string): Found | null {
    const identity = this.#deps.hub.get(session)?.identity ?? null
    if (identity === null) return null
    const { id, database = null, token = null, expires = null } = identity
    return { user: id, database, token, expires }
  }

  /** How many connections were closed for it. */
  #apply(revocation: Revocation): number {
    const { revocations, forget } = this.#deps
    if (!revocations.add(revocation)) return 0
    const { who, at, reason } = revocation
    if ('user' in who) forget(who.user, who.database)
    let count = 0
    for (const client of this.#clientsOf(who)) {
      const { identity } = client
      if (!client.open || identity === null) continue
      // Who was here before it was revoked goes, whatever its token says; later ones brought what holds.
      if (client.since > at && !revocations.refuses(identity)) continue
      client.disconnect(closeReason(reason ?? 'revoked'), CLOSE.unauthenticated)
      count++
    }
    return count
  }

  #clientsOf(who: Revoked): Client[] {
    const { hub } = this.#deps
    if ('token' in who) return [...hub].filter(({ identity }) => identity?.token === who.token)
    return [...hub.of(who.user, who.database)]
  }

  /** Never rejects. One at a time. */
  #read(): Promise<void> {
    const { table } = this.#deps
    if (table === null || this.#stopped) return Promise.resolve()
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    return (this.#reading ??= this.#readOnce(table)
      .then(
        () => true,
        (error: unknown) => this.#failed(error),
      )
      .then((well) => {
        this.#reading = null
        const { everyMs = 5000, retryMs = 1000 } = this.#deps
        if (!this.#stopped)
          this.#timer = setTimeout(() => void this.#read(), well ? everyMs : retryMs).unref()
      }))
  }

  async #readOnce(table: NonNullable<RevokerDependencies['table']>): Promise<void> {
    const read = await (this.#readUntil === null ? table.readAll() : table.readChanges(this.#readUntil))
    if (read === null) this.#lacksTable()
    else {
      this.#take(read)
      this.#absent = false
    }
    this.#deps.revocations.known = true
    if (!this.#failing) return
    this.#failing = false
    this.#deps.log.info('revocations can be read again')
  }

  #take({ revocations, now }: ReadRevocations): void {
    for (const revocation of revocations) {
      if (revocation.until > now) this.#apply(revocation)
      // Taken back, or over. What this node was told meanwhile is later, and stays.
      else this.#deps.revocations.remove(revocation.who, revocation.at)
    }
    this.#deps.revocations.sweep()
    this.#readUntil = now
  }

  /** A database that was not made for the daemon, with a journal elsewhere: as without one. */
  #lacksTable(): void {
    if (!this.#absent) {
      this.#deps.log.warn("revocations are not stored: run 'livemessage migrate' for their table")
    }
    this.#absent = true
  }

  /** Once per outage. */
  #failed(error: unknown): false {
    if (!this.#failing && !this.#stopped) {
      this.#deps.log.warn({ reason: messageOf(error) }, 'revocations can not be read, trying on')
    }
    this.#failing = true
    return false
  }
}

const NOBODY: Found = { user: '', database: null, token: null, expires: null }

function notStored(cause: Error): ClientError {
  const error = new ClientError(
    'unavailable',
    'done at the nodes that could be told, but not stored: ask again until it is',
  )
  error.cause = cause
  return error
}

function notLifted(cause: Error): ClientError {
  const error = new ClientError('unavailable', 'it could not be taken back, and holds as before: ask again')
  error.cause = cause
  return error
}

/** Its value, or the error that it ended with. */
async function settled(work: Promise<boolean>): Promise<boolean | Error> {
  try {
    return await work
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function decodeOrder(value: unknown): Order | null {
  if (!isRecord(value)) return null
  const { op, session, at } = value
  if (op === 'find') return typeof session === 'string' ? { op, session } : null
  if (op === 'lift') {
    const who = decodeWho(value['who'])
    return who === null || !isTime(at) ? null : { op, who, at }
  }
  const { revocation } = value
  if (op !== 'revoke' || !isRecord(revocation)) return null
  const who = decodeWho(revocation['who'])
  const { at: since, until, reason } = revocation
  if (who === null || !isTime(since) || !isTime(until)) return null
  if (reason !== null && typeof reason !== 'string') return null
  return { op, revocation: { who, at: since, until, reason } }
}

function decodeWho(value: unknown): Revoked | null {
  if (!isRecord(value)) return null
  const { user, database, token } = value
  if (typeof token === 'string') return { token }
  if (typeof user !== 'string' || (database !== null && typeof database !== 'string')) return null
  return { user, database }
}

function decodeFound(value: unknown): Found | null {
  if (!isRecord(value)) return null
  const { user, database, token, expires } = value
  if (typeof user !== 'string' || (database !== null && typeof database !== 'string')) return null
  if (token !== null && typeof token !== 'string') return null
  return { user, database, token, expires: isTime(expires) ? expires : null }
}

function decodeCount(value: unknown): number | null {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : null
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}
