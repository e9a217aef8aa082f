import { deferred } from '../deferred.ts'
import { unavailable } from '../database/failures.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import { subsystemOf } from '../protocol/names.ts'
import { makeEntry } from './entry.ts'
import type { Entry, Page, Remains, Retention } from './journal.ts'
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

/** For each channel the position after which its entries are wanted; null: its newest are. */
interface Question {
  readonly channels: ReadonlyMap<string, number | null>
  readonly limit: number
  /** What is kept is wanted although something is gone. */
  readonly left: boolean
}

/** One question, and all who wait for its answer. */
interface Request {
  readonly question: Question
  readonly epoch: string
  readonly answered: Promise<Remains>
  resolve(page: Remains): void
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
    return this.#ask({ channels: new Map(channels.map((one) => [one, position])), limit, left: false })
  }

  /** @throws {ClientError} `unavailable` */
  left(after: ReadonlyMap<string, number>, limit: number): Promise<Remains> {
    return this.#ask({ channels: after, limit, left: true })
  }

  stop(): void {
    this.#stopped = true
    for (const request of this.#waiting.values()) {
      request.reject(new ClientError('unavailable', 'the daemon is stopping'))
    }
    this.#waiting.clear()
  }

  #ask(question: Question): Promise<Remains> {
    if (this.#stopped) return Promise.reject(new ClientError('unavailable', 'the daemon is stopping'))
    const { epoch } = this.#deps.tail
    const { channels, limit, left } = question
    const key = JSON.stringify([epoch, limit, left, ...channels])
    const same = this.#waiting.get(key)
    if (same !== undefined) return same.answered
    const { promise, resolve, reject } = deferred<Remains>()
    this.#waiting.set(key, { question, epoch, answered: promise, resolve, reject })
    if (!this.#reading) void this.#pump()
    return promise
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
          ? pageOf(request, byRequest[index]!, asks, anchor.position)
          : ofAnother(request, tail.anchor.position)
      request.resolve(page)
    }
  }

  #asksOf({ question }: Request, request: number): Ask[] {
    const now = this.#deps.now()
    const retention = this.#deps.retention()
    const { limit, left } = question
    return [...question.channels].map(([channel, after]) => {
      const subsystem = subsystemOf(channel)
      const { count, maxAgeMs } = retention.get(subsystem) ?? { count: 0, maxAgeMs: 0 }
      // One more than wanted shows whether there are more.
      const most = after === null ? limit : limit + 1
      return {
        ...{ request, channel, subsystem, after, left, limit: most },
        ...{ keep: count, oldest: now - maxAgeMs },
      }
    })
  }
}

function pageOf(
  { question, epoch }: Request,
  rows: readonly AnswerRow[],
  asks: readonly Ask[],
  head: number,
): Remains {
  const lost = new Set<string>()
  const gone = new Map<string, number>()
  const starts = new Map<string, number>()
  const entries: Entry[] = []
  let hits = 0
  for (const row of rows) {
    const { channel, after } = asks[row.ask - 1]!
    if (row.lost) lost.add(channel)
    gone.set(channel, Number(row.gone ?? 0))
    if (row.position === null) continue
    hits = Number(row.hits)
    if (after === null) starts.set(channel, Number(row.first) - 1)
    if (row.data === null) continue
    const { position, time, data, exclude, mark } = row
    entries.push(
      makeEntry(
        epoch,
        Number(position),
        channel,
        Number(time),
        data,
        exclude ?? undefined,
        mark ?? undefined,
      ),
    )
  }
  const cut = entries.length < hits
  if (starts.size > 0) return { entries, lost: [], gone, more: cut, upTo: head, starts }
  const more = cut || entries.length > question.limit
  if (entries.length > question.limit) entries.length = question.limit
  return { entries, lost: [...lost], gone, more, upTo: more ? entries.at(-1)!.position : head }
}

/** Of positions that are no more, nothing is proved. */
function ofAnother({ question }: Request, upTo: number): Remains {
  const lost = question.left ? [] : [...question.channels.keys()]
  return { entries: [], lost, gone: new Map(lost.map((channel) => [channel, upTo])), more: false, upTo }
}
