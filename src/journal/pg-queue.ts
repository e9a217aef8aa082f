import { ClientError } from '../protocol/codes.ts'
import type { Draft, Placed } from './journal.ts'
import { checkUnitSize } from './unit-size.ts'

export interface QueueOptions {
  readonly patienceMs: number
  readonly queueBytes: number
  readonly queueDrafts: number
  readonly unitBytes: number
  readonly batchBytes: number
  readonly batchDrafts: number
}

/** A draft's share of the queue, beside its text: what holds it. */
const DRAFT_OVERHEAD_BYTES = 200

/** How many times its patience a draft waits whose commit is in doubt, for it can't be taken back. */
const DOUBT_FACTOR = 3

/** Drafts that are appended together, or not at all. */
export class Unit {
  readonly drafts: readonly Draft[]
  readonly bytes: number
  readonly placed: Promise<readonly Placed[]>
  /** On the clock that never jumps; Infinity for those that wait. */
  readonly due: number
  /** It was sent, and nobody knows what became of it: it can't be taken back. */
  doubted = false
  readonly #places: (Placed | undefined)[]
  #resolve!: (placed: readonly Placed[]) => void
  #reject!: (error: Error) => void
  #over = false

  constructor(drafts: readonly Draft[], due: number) {
    this.drafts = drafts
    this.due = due
    this.bytes = drafts.reduce((sum, { json }) => sum + json.length + DRAFT_OVERHEAD_BYTES, 0)
    this.#places = Array.from({ length: drafts.length })
    this.placed = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get lease(): number | undefined {
    return this.drafts[0]!.lease
  }

  /** Its publisher has an answer. */
  get over(): boolean {
    return this.#over
  }

  /** The drafts that have no place yet. */
  open(): number[] {
    const open: number[] = []
    for (let index = 0; index < this.drafts.length; index++)
      if (this.#places[index] === undefined) open.push(index)
    return open
  }

  place(index: number, placed: Placed): void {
    this.#places[index] = placed
  }

  resolve(): void {
    this.#over = true
    this.#resolve(this.#places as Placed[])
  }

  reject(error: Error): void {
    this.#over = true
    this.#reject(error)
  }
}

/** What waits to be appended, in the order of the calls; bounded, and not for longer than its patience. */
export class Queue {
  readonly #options: QueueOptions
  #waiting: Unit[] = []
  /** Those that were taken last: in flight, or in doubt. */
  #taken: readonly Unit[] = []
  #bytes = 0
  #drafts = 0
  #timer: NodeJS.Timeout | null = null

  constructor(options: QueueOptions) {
    this.#options = options
  }

  /**
   * Rejects at once with `too_large` what can't be appended together, with `unavailable` what there is no room for.
   * @throws {ClientError}
   */
  async add(drafts: readonly Draft[]): Promise<readonly Placed[]> {
    checkUnitSize(drafts, Math.min(this.#options.unitBytes, this.#options.queueBytes))
    const patient = drafts.every(({ patience }) => patience === 'wait')
    const unit = new Unit(drafts, patient ? Infinity : performance.now() + this.#options.patienceMs)
    const { queueBytes, queueDrafts } = this.#options
    if (
      this.#drafts > 0 &&
      (this.#bytes + unit.bytes > queueBytes || this.#drafts + drafts.length > queueDrafts)
    ) {
      throw new ClientError('unavailable', 'too much waits for the journal: try again later')
    }
    this.#waiting.push(unit)
    this.#bytes += unit.bytes
    this.#drafts += drafts.length
    this.#watch()
    return unit.placed
  }

  /** The next batch; `done` when it is settled. */
  take(): readonly Unit[] {
    const { batchBytes, batchDrafts } = this.#options
    const keys = new Set<string>()
    let bytes = 0
    let drafts = 0
    let count = 0
    for (const unit of this.#waiting) {
      if (count > 0) {
        const { lease } = this.#waiting[0]!
        if (bytes + unit.bytes > batchBytes || drafts + unit.drafts.length > batchDrafts) break
        if (unit.lease !== lease) break
        // The second with a key must find the first in the journal.
        if (unit.drafts.some((draft) => draft.key !== undefined && keys.has(keyOf(draft)))) break
      }
      for (const draft of unit.drafts) if (draft.key !== undefined) keys.add(keyOf(draft))
      bytes += unit.bytes
      drafts += unit.drafts.length
      count++
    }
    this.#taken = this.#waiting.splice(0, count)
    return this.#taken
  }

  /** Each of the units that were taken has its answer. */
  done(): void {
    for (const unit of this.#taken) this.#forget(unit)
    this.#taken = []
    if (this.#waiting.length > 0 || this.#timer === null) return
    clearTimeout(this.#timer)
    this.#timer = null
  }

  refuseAll(reason: string): void {
    for (const unit of this.#taken) if (!unit.over) unit.reject(unavailable(unit, reason))
    for (const unit of this.#waiting) {
      unit.reject(unavailable(unit, reason))
      this.#forget(unit)
    }
    this.#waiting = []
    this.done()
  }

  #forget(unit: Unit): void {
    this.#bytes -= unit.bytes
    this.#drafts -= unit.drafts.length
  }

  #watch(): void {
    if (this.#timer !== null) return
    // As long as its patience at most: a unit that comes later is not due before.
    const { patienceMs } = this.#options
    const delayMs = Math.max(10, Math.min(patienceMs, this.#next(performance.now())))
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#lose()
    }, delayMs).unref()
  }

  /** Refuses those whose patience is over. What was taken leaves the queue all the same only when it is settled. */
  #lose(): void {
    const now = performance.now()
    for (const unit of this.#taken) {
      if (!unit.over && this.#dueOf(unit) <= now) unit.reject(unavailable(unit, OUTAGE))
    }
    const lost = this.#waiting.filter(({ due }) => due <= now)
    if (lost.length > 0) this.#waiting = this.#waiting.filter(({ due }) => due > now)
    for (const unit of lost) {
      unit.reject(unavailable(unit, OUTAGE))
      this.#forget(unit)
    }
    if (this.#next(now) !== Infinity) this.#watch()
  }

  #next(now: number): number {
    let next = Infinity
    for (const unit of this.#taken) if (!unit.over) next = Math.min(next, this.#dueOf(unit))
    for (const { due } of this.#waiting) next = Math.min(next, due)
    return next - now
  }

  /** Once its commit is in doubt, there is more to be said than that it was not done. */
  #dueOf({ due, doubted }: Unit): number {
    return doubted ? due + this.#options.patienceMs * (DOUBT_FACTOR - 1) : due
  }
}

const OUTAGE = 'the database can not be reached at the moment'

function keyOf({ key, channel }: Draft): string {
  return `${channel} ${key}`
}

function unavailable({ doubted }: Unit, reason: string): ClientError {
  return new ClientError(
    'unavailable',
    doubted ? `${reason}; it may have been published: try again with the same idempotency key` : reason,
  )
}
