import { unavailable } from '../database/failures.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import { subsystemOf } from '../protocol/names.ts'
import { makeEntry } from './entry.ts'
import type { Entry, Page, Retention } from './journal.ts'
import type { AnswerRow, Ask, Store } from './pg-store.ts'
import type { Tail } from './pg-tail.ts'

export interface ReaderDependencies {
  readonly store: Store
  readonly tail: Tail
  /** Resolves when what is in question now has been settled. */
  settled(): Promise<void>
  /** The journal is not what this node has seen: it is to be compared. */
  suspect(): void
  readonly log: Log
  retention(): ReadonlyMap<string, Retention>
  now(): number
}

/** How many questions go into one query, and how much comes back for all of them. */
const MAX_REQUESTS = 256
const MAX_BYTES = 16 * 1024 * 1024

/** One question, and all who wait for its answer. */
interface Request {
  readonly channels: readonly string[]
  /** Null: the newest are wanted. */
  readonly position: number | null
  readonly limit: number
  readonly epoch: string
  readonly answered: Promise<Page>
  resolve(page: Page): void
  reject(error: unknown): void
}

/**
 * Pages from the table, for what the window can't prove. All who wait go into one query, and one query is under way
 * at a time: ten thousand clients that come back at once cost some tens. Who asks the same as another gets its answer.
 */
export class Reader {
  readonly #deps: ReaderDependencies
  readonly #waiting = new Map<string, Request>()
  #reading = false
  #stopped = false
  queries = 0

  constructor(deps: ReaderDependencies) {
    this.#deps = deps
  }

  /** @throws {ClientError} `unavailable` */
  read(channels: readonly string[], position: number | null, limit: number): Promise<Page> {
    if (this.#stopped) return Promise.reject(new ClientError('unavailable', 'the daemon is stopping'))
    const { epoch } = this.#deps.tail
    const key = `${epoch} ${position} ${limit} ${channels.join(' ')}`
    const same = this.#waiting.get(key)
    if (same !== undefined) return same.answered
    const { promise, resolve, reject } = deferred<Page>()
    this.#waiting.set(key, { channels, position, limit, epoch, answered: promise, resolve, reject })
    if (!this.#reading) void this.#pump()
    return promise
  }

  stop(): void {
    this.#stopped = true
    for (const request of this.#waiting.values()) {
      request.reject(new ClientError('unavailable', 'the daemon is stopping'))
    }
    this.#waiting.clear()
  }

  async #pump(): Promise<void> {
    const { log } = this.#deps
    this.#reading = true
    // Whoever asks in this same turn goes along.
    await Promise.resolve()
    while (this.#waiting.size > 0) {
      const requests: Request[] = []
      for (const [key, request] of this.#waiting) {
        this.#waiting.delete(key)
        if (requests.push(request) === MAX_REQUESTS) break
      }
      try {
        await this.#answer(requests)
      } catch (error) {
        // The pool tells of connections; this is the server refusing what should work.
        if (!isClientError(error)) log.error({ reason: messageOf(error) }, 'journal not read')
        const reason = unavailable(error)
        for (const request of requests) request.reject(reason)
      }
    }
    this.#reading = false
  }

  async #answer(requests: readonly Request[]): Promise<void> {
    const { store, tail } = this.#deps
    const asks = requests.flatMap((request, index) => this.#asksOf(request, index))
    const { anchor } = tail
    const bytes = Math.max(65_536, Math.floor(MAX_BYTES / requests.length))
    this.queries++
    const { rows, anchored } = await store.answer(asks, anchor.position, bytes, anchor)
    if (anchor.tag !== null && anchored !== anchor.tag) {
      // These rows may be of another past than the one that was asked about.
      this.#deps.suspect()
      await this.#deps.settled()
      if (tail.epoch === requests[0]!.epoch) return this.#answer(requests)
    }
    const byRequest: AnswerRow[][] = requests.map(() => [])
    for (const row of rows) byRequest[asks[row.ask - 1]!.request]!.push(row)
    for (const [index, request] of requests.entries()) {
      const page =
        request.epoch === tail.epoch
          ? pageOf(request, byRequest[index]!, asks, anchor.position, bytes)
          : { entries: [], lost: request.channels, more: false, upTo: tail.anchor.position }
      request.resolve(page)
    }
  }

  #asksOf({ channels, position, limit }: Request, request: number): Ask[] {
    const now = this.#deps.now()
    const retention = this.#deps.retention()
    return channels.map((channel) => {
      const subsystem = subsystemOf(channel)
      const { count, maxAgeMs } = retention.get(subsystem) ?? { count: 0, maxAgeMs: 0 }
      const most = position === null ? limit : limit + 1
      return {
        request,
        channel,
        subsystem,
        after: position,
        limit: most,
        keep: count,
        oldest: now - maxAgeMs,
      }
    })
  }
}

function pageOf(
  { position, limit, epoch }: Request,
  rows: readonly AnswerRow[],
  asks: readonly Ask[],
  head: number,
  bytes: number,
): Page {
  const lost = new Set<string>()
  const entries: Entry[] = []
  let total = 0
  for (const row of rows) {
    if (row.lost) lost.add(asks[row.ask - 1]!.channel)
    if (row.position === null) continue
    const { channel, data, exclude, mark } = row
    total = Math.max(total, Number(row.total))
    entries.push(
      makeEntry(
        epoch,
        Number(row.position),
        channel,
        Number(row.time),
        data,
        exclude ?? undefined,
        mark ?? undefined,
      ),
    )
  }
  if (position === null) return { entries, lost: [], more: false, upTo: head }
  const more = entries.length > limit || total >= bytes
  if (entries.length > limit) entries.length = limit
  return { entries, lost: [...lost], more, upTo: more ? entries.at(-1)!.position : head }
}

function deferred<Value>(): {
  promise: Promise<Value>
  resolve: (value: Value) => void
  reject: (error: unknown) => void
} {
  let resolve!: (value: Value) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
