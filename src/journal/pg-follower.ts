import { backoffMs, pause, type Retry } from '../backoff.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError } from '../protocol/codes.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { Retention } from './journal.ts'
import { contradictionOf, isNews } from './pg-epoch.ts'
import { preload } from './pg-preload.ts'
import { type Look, PAGE_BYTES, PAGE_ROWS, type Store } from './pg-store.ts'
import type { Tail } from './pg-tail.ts'

export interface FollowerDependencies {
  readonly store: Store
  readonly tail: Tail
  /** Asked before anything else, once. @throws {LivemessageError} `DATABASE_…`: waiting would not help */
  checkSchema(): MaybePromise<void>
  retention(): ReadonlyMap<string, Retention>
  now(): number
  readonly windowBytes: number
  readonly preloadMs: number
  readonly retry: Retry
  readonly log: Log
  onNotifyData(withData: boolean): void
  onEpoch(): void
  /** Null: NOTIFYs come, and nothing is missing. */
  onState(reason: string | null): void
}

/**
 * Keeps the tail in step with the table: reads what NOTIFYs did not bring, after a reconnect or a jump, and before
 * that makes sure that the table is still the one whose entries were delivered. One query at a time, whatever happens.
 */
export class Follower {
  readonly #deps: FollowerDependencies
  readonly #stopping = new AbortController()
  readonly #waiting = new Set<() => void>()
  /** Positions at which what was announced contradicts what was delivered. */
  readonly #doubts = new Set<number>()
  #listening = false
  #outage = false
  #checked = false
  #suspected = true
  /** How often it was asked for, and up to which of these it was done. */
  #wanted = 0
  #reached = 0
  #running = false
  #ran: Promise<void> = Promise.resolve()
  #attempt: { resolve(): void; reject(error: unknown): void } | null = null
  catchUps = 0
  caughtUp = 0
  epochs = 0

  constructor(deps: FollowerDependencies) {
    this.#deps = deps
  }

  /** Resolves after an attempt, whatever came of it. Rejects where waiting would not help. */
  start(): Promise<void> {
    const attempted = new Promise<void>((resolve, reject) => (this.#attempt = { resolve, reject }))
    this.sync()
    return attempted
  }

  /** Idempotent; nothing is asked any more. */
  stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake()
    this.#attempt?.resolve()
    return this.#ran
  }

  /** NOTIFYs come from now on; before, some may have been missed. */
  up(): void {
    this.#listening = true
    this.suspect()
  }

  /** NOTIFYs don't come any more. */
  down(reason: string): void {
    this.#listening = false
    this.#deps.tail.forget()
    this.#out(reason)
  }

  /** The journal may not be what it was, at this position: it is compared before anything else is believed. */
  suspect(position?: number): void {
    if (position !== undefined) this.#doubts.add(position)
    this.#suspected = true
    this.#deps.tail.hold()
    this.sync()
  }

  /** Reads what is missing. What comes meanwhile is delivered all the same where it stands right behind the head. */
  sync(): void {
    this.#wanted++
    if (!this.#running && !this.#stopping.signal.aborted) this.#ran = this.#run()
  }

  /** Resolves when what is in question now is settled; rejects when it is stopped before. */
  async settled(): Promise<void> {
    const target = this.#wanted
    while (this.#reached < target || !this.#deps.tail.open) {
      if (this.#stopping.signal.aborted) throw new ClientError('unavailable', 'the daemon is stopping')
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  /** Reads the table until nothing is in question any more; goes on trying for ever. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping
    this.#running = true
    for (let attempt = 0; this.#reached !== this.#wanted && !signal.aborted;) {
      const wanted = this.#wanted
      try {
        await this.#catchUp()
      } catch (error) {
        if (signal.aborted) break
        this.#out(messageOf(error))
        this.#attempted(error)
        await pause(backoffMs(attempt++, this.#deps.retry), signal)
        continue
      }
      attempt = 0
      this.#reached = wanted
      if (wanted === this.#wanted && !this.#deps.tail.release()) this.#wanted++
      this.#in()
      this.#wake()
      this.#attempted(null)
    }
    // In the same turn as the look at `wanted`: who asks in the next one begins anew.
    this.#running = false
  }

  async #catchUp(): Promise<void> {
    const { store, tail } = this.#deps
    if (!this.#checked) {
      await this.#deps.checkSchema()
      this.#checked = true
    }
    if (this.#suspected) await this.#compare()
    this.catchUps++
    for (;;) {
      const { anchor } = tail
      const { rows, more, anchored } = await store.after(anchor, PAGE_ROWS, PAGE_BYTES)
      if (anchor.tag !== null && anchored !== anchor.tag) {
        await this.#compare()
        continue
      }
      for (const row of rows) if (tail.read(row)) this.caughtUp++
      if (!more) return
    }
  }

  /** Compares what is there with what was delivered, and begins a new epoch where they differ. */
  async #compare(): Promise<void> {
    const { store, tail, log } = this.#deps
    this.#suspected = true
    tail.hold()
    const { position: head, tag } = tail.anchor
    const tags = new Map<number, string>()
    for (const position of this.#doubts) tags.set(position, tail.tagAt(position) ?? '')
    if (tag !== null) tags.set(head, tag)
    const positions = [...tags.keys()]
    let look = await store.look(positions)
    const seen = tail.epoch === '' ? null : { epoch: tail.epoch, head, tags }
    const comparable = seen === null || look.epoch === seen.epoch
    const contradiction = comparable ? contradictionOf(look, seen) : null
    if (contradiction !== null) {
      tail.close()
      log.warn({ epoch: look.epoch, head, reason: contradiction }, 'journal: a new epoch begins')
      await store.mint(contradiction, look.epoch, head)
      look = await store.look([])
    } else if (comparable && isNews(look)) {
      await store.observe(look.epoch, look.found)
    }
    this.#deps.onNotifyData(look.notifyData)
    if (look.epoch !== tail.epoch) await this.#adopt(look)
    else tail.reopen(tag !== null && look.tags[positions.indexOf(head)] === null)
    for (const position of positions) this.#doubts.delete(position)
    this.#suspected = this.#doubts.size > 0
  }

  /** Takes over the journal as it is in the table, under the epoch that is there. */
  async #adopt(look: Look): Promise<void> {
    const { tail, log } = this.#deps
    const again = tail.epoch !== ''
    tail.close()
    const { entries, base, top } = await preload(this.#deps, look)
    tail.reset(look.epoch, base, { position: look.head, tag: look.headTag }, entries, top)
    this.#doubts.clear()
    if (!again) return
    this.epochs++
    log.warn({ epoch: look.epoch, head: look.head }, 'journal: positions start anew')
    this.#deps.onEpoch()
  }

  #attempted(error: unknown): void {
    if (isHopeless(error)) this.#attempt?.reject(error)
    else this.#attempt?.resolve()
    this.#attempt = null
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  #in(): void {
    const { tail, log, onState } = this.#deps
    if (!this.#listening) return onState('it does not listen for notifications')
    if (this.#outage) log.info({ head: tail.anchor.position }, 'journal reached again')
    this.#outage = false
    onState(null)
  }

  #out(reason: string): void {
    const { log, onState } = this.#deps
    if (!this.#outage && !this.#stopping.signal.aborted) {
      this.#outage = true
      log.warn({ reason }, 'journal out of reach')
    }
    onState(reason)
  }
}

/** What no waiting helps against, before the first success. */
function isHopeless(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'DATABASE_NOT_INSTALLED' || code === 'DATABASE_INCOMPATIBLE'
}
