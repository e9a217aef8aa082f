import { backoffMs, DEFAULT_RETRY, pause } from '../backoff.ts'
import type { Retry } from '../backoff.ts'
import type { Leadership } from '../database/leadership.ts'
import { messageOf } from '../errors.ts'
import type { Entry } from '../journal/journal.ts'
import type { Log } from '../ops/log.ts'
import type { Outcome } from './attempts.ts'
import { Fifo } from './fifo.ts'
import type { Handover, Heard } from './handover.ts'
import { markOf } from './notify.ts'
import { Settled } from './settled.ts'

export interface DutyOptions {
  readonly leadership: Pick<Leadership, 'token' | 'onChange'>
  /** Whether the subsystem's publications go into the journal. True for one that is not known: it is refused once. */
  isJournaled(subsystem: string): boolean
  /**
   * Resolves when this node has seen every entry that was in the journal at the time of the call. Rejects where that
   * can't be found out now.
   */
  caughtUp(): Promise<void>
  readonly log: Log
  /** How long a notification is kept for the case that the leader dies. @default 30000 */
  readonly keepMs?: number
  /** How many are kept, at the most. @default 100000 */
  readonly maxKept?: number
  /** Bytes of their payloads, likewise. @default 67108864 */
  readonly maxKeptBytes?: number
  readonly retry?: Retry
}

interface Item {
  readonly heard: Heard
  readonly handover: Handover
  readonly mark: string
  readonly lane: Fifo<Item>
  /** The order in which they were heard. */
  readonly number: number
  /** On the clock of its source. */
  since: number
  /** Handed over, and not yet settled. */
  handed: boolean
  /** Was handed over in vain: whoever leads now did not have to see it in its place. */
  returned: boolean
  /** Its entry came by while it was handed over. */
  journaled: boolean
  gone: boolean
}

/** The time in which this node leads. */
interface Term {
  readonly token: number
  readonly over: AbortController
  /** What the former leader left undone was handed over: what is new may follow. */
  ready: boolean
}

/**
 * Who hands over a notification that every node has heard: the leader, under its lease. The others keep it until its
 * entry comes by, and hand it over when they lead before that. Nothing is handed over that was seen in the journal;
 * two of the same mark are told apart by their order, which is that of the commits on every node.
 */
export class Duty {
  readonly #options: Required<DutyOptions>
  readonly #lanes = new Map<string, Fifo<Item>>()
  readonly #marks = new Map<string, Fifo<Item>>()
  readonly #settled = new Settled()
  /** One a source: that one is down must not make the others' notifications older, nor younger. */
  readonly #clocks = new Map<string, Clock>()
  #term: Term | null = null
  #heard = 0
  #handed = 0
  #kept = 0
  #keptBytes = 0
  #full = false
  #onIdle: (() => void)[] = []
  #ageing: NodeJS.Timeout | null = null
  #stopped = false

  constructor(options: DutyOptions) {
    this.#options = {
      keepMs: 30_000,
      maxKept: 100_000,
      maxKeptBytes: 64 * 1024 * 1024,
      retry: DEFAULT_RETRY,
      ...options,
    }
    options.leadership.onChange((token) => this.#change(token))
  }

  /** Whether this node answers for what all have heard. */
  get leads(): boolean {
    return this.#options.leadership.token !== null
  }

  /** How many notifications are kept here, or in hand. */
  get size(): number {
    return this.#kept + this.#handed
  }

  isJournaled(subsystem: string): boolean {
    return this.#options.isJournaled(subsystem)
  }

  /** A notification of a journaled subsystem, in the order of the commits. */
  take(heard: Heard, pid: number, handover: Handover): void {
    if (this.#stopped) return
    const mark = markOf(heard, pid)
    if (this.#settled.takeEarly(mark)) return // its entry was faster
    const item = this.#keep(heard, mark, handover)
    const term = this.#term
    if (term?.ready) this.#hand(item, term)
    this.#trim(item.lane)
  }

  /** An entry of the journal that has a mark. */
  onEntry({ mark }: Pick<Entry, 'mark'>): void {
    if (mark === undefined || this.#settled.takeLate(mark)) return
    const item = this.#marks.get(mark)?.first()
    if (item === undefined) {
      // A leader that has caught up sees its own ones only.
      if (this.#term?.ready) return
      this.#settled.early(mark)
      this.#age()
      return
    }
    if (item.handed) {
      item.journaled = true
      this.#unmark(item)
      return
    }
    // What the leader passed over on its way to this one came to nothing there: no channel, or refused.
    for (const earlier of item.lane) {
      if (earlier === item) break
      if (!earlier.handed && !earlier.returned) this.#remove(earlier)
    }
    this.#remove(item)
  }

  /** A source lost its connection, or has one again: what is kept does not age while nothing can be heard. */
  listening(source: string, up: boolean): void {
    this.#clockOf(source).run(up)
  }

  /** Forgets everything: nothing is handed over any more. */
  stop(): void {
    this.#stopped = true
    this.#end()
    for (const lane of this.#lanes.values()) for (const item of lane) if (!item.handed) this.#remove(item)
    if (this.#ageing !== null) clearTimeout(this.#ageing)
    this.#ageing = null
  }

  #change(token: number | null): void {
    this.#end()
    if (token !== null && !this.#stopped) void this.#begin(token)
  }

  #end(): void {
    this.#term?.over.abort()
    this.#term = null
  }

  async #begin(token: number, delayMs = 0): Promise<void> {
    const term: Term = { token, over: new AbortController(), ready: false }
    this.#term = term
    const { signal } = term.over
    if (delayMs > 0) await pause(delayMs, signal)
    for (let tries = 0; !signal.aborted; tries++) {
      // What was handed over under an earlier lease may be in the journal, or not: only its end tells.
      await this.#idle(signal)
      if (await this.#catchUp(signal, tries)) break
      await pause(backoffMs(tries, this.#options.retry), signal)
    }
    if (signal.aborted) return
    const left = [...this.#lanes.values()].flatMap((lane) => [...lane]).sort((a, b) => a.number - b.number)
    if (left.length > 0 && delayMs === 0)
      this.#options.log.info({ count: left.length }, 'handing over what the former leader left')
    term.ready = true
    for (const item of left) this.#hand(item, term)
  }

  /** Whether everything is seen that was in the journal when the lease changed hands. */
  async #catchUp(signal: AbortSignal, tries: number): Promise<boolean> {
    const caughtUp = this.#options.caughtUp().then(
      () => true,
      (error: unknown) => {
        if (tries === 0)
          this.#options.log.warn({ reason: messageOf(error) }, 'the lead waits for the journal')
        return false
      },
    )
    return Promise.race([caughtUp, aborted(signal)])
  }

  #hand(item: Item, term: Term): void {
    const { leadership } = this.#options
    // By the clock: a node that was frozen does not know yet that its term is over.
    if (item.gone || item.handed || term.over.signal.aborted || leadership.token !== term.token) return
    item.handed = true
    this.#kept--
    this.#keptBytes -= item.heard.bytes
    this.#handed++
    item.handover.push(item.heard, {
      lease: term.token,
      signal: term.over.signal,
      settle: (outcome) => this.#settle(item, term, outcome),
    })
  }

  #settle(item: Item, term: Term, outcome: Outcome | 'dropped'): void {
    this.#handed--
    item.handed = false
    this.#kept++
    this.#keptBytes += item.heard.bytes
    if (outcome !== 'abandoned' || item.journaled) {
      this.#remove(item)
      if (outcome === 'handled' && !item.journaled) this.#settled.late(item.mark)
    } else {
      item.returned = true
      item.since = this.#clockOf(item.heard.notification.source).now
      // Refused, and told nothing of it: the lease is taken for lost until the next renewal could say more.
      if (this.#term === term && !term.over.signal.aborted && !item.handover.stopped) {
        this.#end()
        void this.#begin(term.token, this.#options.retry.minMs)
      }
    }
    this.#age()
    if (this.#handed === 0) for (const tell of this.#onIdle.splice(0)) tell()
  }

  #keep(heard: Heard, mark: string, handover: Handover): Item {
    const { source } = heard.notification
    const lane = entryOf(this.#lanes, `${source} ${heard.subsystem}`)
    const item: Item = {
      heard: { ...heard, notification: { ...heard.notification, mark } },
      handover,
      mark,
      lane,
      number: ++this.#heard,
      since: this.#clockOf(source).now,
      handed: false,
      returned: false,
      journaled: false,
      gone: false,
    }
    lane.push(item)
    entryOf(this.#marks, mark).push(item)
    this.#kept++
    this.#keptBytes += heard.bytes
    this.#age()
    return item
  }

  #remove(item: Item): void {
    if (item.gone) return
    item.gone = true
    this.#kept--
    this.#keptBytes -= item.heard.bytes
    this.#unmark(item)
  }

  /** The next entry with this mark is another one's. */
  #unmark(item: Item): void {
    const twins = this.#marks.get(item.mark)
    twins?.leave(item)
    if (twins?.first() === undefined) this.#marks.delete(item.mark)
  }

  /** The oldest go where too many are kept. */
  #trim(lane: Fifo<Item>): void {
    const { maxKept, maxKeptBytes, log } = this.#options
    if (this.#kept <= maxKept && this.#keptBytes <= maxKeptBytes) {
      if (this.#full && this.#kept < maxKept / 2 && this.#keptBytes < maxKeptBytes / 2) this.#full = false
      return
    }
    if (!this.#full)
      log.warn({ kept: this.#kept }, 'too many notifications are kept for a takeover: the oldest go')
    this.#full = true
    for (const item of lane) {
      if (this.#kept <= maxKept && this.#keptBytes <= maxKeptBytes) return
      if (!item.handed) this.#remove(item)
    }
  }

  /** Drops what is too old, once a second while there is something. */
  #age(): void {
    this.#ageing ??= setTimeout(() => {
      this.#ageing = null
      for (const [name, lane] of this.#lanes) {
        for (const item of lane) {
          if (item.since > this.#clockOf(item.heard.notification.source).now - this.#options.keepMs) break
          // One that this node hands over as soon as it has caught up is not too late.
          if (!item.handed && this.#term === null) this.#remove(item)
        }
        if (lane.first() === undefined) this.#lanes.delete(name)
      }
      this.#settled.age()
      if (this.size > 0 || this.#settled.size > 0) this.#age()
    }, 1_000).unref()
  }

  #clockOf(source: string): Clock {
    let clock = this.#clocks.get(source)
    if (clock === undefined) this.#clocks.set(source, (clock = new Clock()))
    return clock
  }

  /** Resolves when nothing is handed over and unsettled. */
  #idle(signal: AbortSignal): Promise<void> {
    if (this.#handed === 0 || signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle.push(resolve)
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }
}

/** Milliseconds, of which those do not count in which the source was down. */
class Clock {
  #lost = 0
  /** When it went down; null while it is up. */
  #since: number | null = null

  get now(): number {
    return (this.#since ?? performance.now()) - this.#lost
  }

  run(up: boolean): void {
    if (!up) this.#since ??= performance.now()
    else if (this.#since !== null) {
      this.#lost += performance.now() - this.#since
      this.#since = null
    }
  }
}

function aborted(signal: AbortSignal): Promise<false> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(false)
    else signal.addEventListener('abort', () => resolve(false), { once: true })
  })
}

function entryOf(fifos: Map<string, Fifo<Item>>, name: string): Fifo<Item> {
  let fifo = fifos.get(name)
  if (fifo === undefined) fifos.set(name, (fifo = new Fifo()))
  return fifo
}
