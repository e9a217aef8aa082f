import { backoffMs, DEFAULT_RETRY, pause, type Retry } from '../backoff.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { type Batch, batchOf, compact, type Op } from './batch.ts'
import { forgetNode, note, type Pool } from './table.ts'
import type { Tally } from './tally.ts'

export interface RegisterOptions {
  readonly pool: Pool
  readonly node: string
  readonly tally: Tally
  readonly log: Log
  readonly max: () => number
  /** What is noted at least so often: that the node lives. */
  readonly beatMs: () => number
  /** Some that wait for a target were noted. */
  onNoted(): void
  /**
   * The others thought that this node was gone: what it had noted has been told to have ended. What it is to note now,
   * of all who are here; what of the rest is still true. The first `doubtful` of them may have been noted: the answer was
   * lost.
   */
  onLost(unnoted: readonly Op[], doubtful: number): readonly Op[]
  /** So long what happens is gathered. @default 50 */
  readonly gatherMs?: number
  readonly retry?: Retry
}

/** What is noted at once, in ops and in characters. */
const MOST = 2_000
const MOST_UNITS = 1024 * 1024

/** What waits for the database, in characters. */
const MAX_UNITS = 64 * 1024 * 1024

/**
 * Notes in the database what happens at this node, in its order, in batches: who came and went together with what is to
 * be told of it. A batch is noted as a whole and once, though its answer may have been lost.
 */
export class Register {
  readonly #options: RegisterOptions
  readonly #retry: Retry
  readonly #stopped = new AbortController()
  #ops: Op[] = []
  #rows = 0
  #inHand = 0
  #units = 0
  /** This process as the database has it: another one after it was thought gone. */
  #name: string
  #lives = 1
  #number = 0
  #running: Promise<void> | null = null
  #ending = false
  #wake: (() => void) | null = null
  #failing = false

  constructor(options: RegisterOptions) {
    this.#options = options
    this.#retry = options.retry ?? { ...DEFAULT_RETRY, maxMs: 2_000 }
    this.#name = options.node
  }

  /** Things to be told that the database does not have yet. */
  get waiting(): number {
    return this.#rows
  }

  /** The same, with those that are on their way. */
  get unnoted(): number {
    return this.#rows + this.#inHand
  }

  get running(): boolean {
    return this.#running !== null
  }

  start(): void {
    if (!this.#stopped.signal.aborted) this.#running ??= this.#run()
  }

  add(op: Op): void {
    if (this.#ending) return
    this.#ops.push(op)
    for (const { body } of op.rows) this.#units += body.length
    this.#rows += op.rows.length
    if (this.#rows > this.#options.max() || this.#units > MAX_UNITS) this.#giveUp()
    else if (this.#ops.length > 2 * MOST && this.#ops.length > 4 * this.#rows + this.#lastSize)
      this.#compact()
    this.#wake?.()
  }

  /** Notes what has come, so long; then ends. Idempotent. */
  async stop(graceMs: number): Promise<void> {
    this.#ending = true
    this.#wake?.()
    if (this.#running === null) return
    const late = setTimeout(() => this.#stopped.abort(), graceMs)
    await this.#running
    clearTimeout(late)
    if (this.#rows > 0) {
      this.#options.log.warn({ signals: this.#rows }, 'stopped before the database had all signals')
      this.#options.tally.givenUp('database', this.#rows, 'stopped')
    }
  }

  async #run(): Promise<void> {
    const { gatherMs = 50, beatMs } = this.#options
    const { signal } = this.#stopped
    while (!signal.aborted) {
      if (this.#ops.length === 0 && !this.#ending) await this.#sleep(this.#number === 0 ? 0 : beatMs())
      if (!this.#ending && this.#ops.length > 0 && this.#ops.length < MOST) await pause(gatherMs, signal)
      if (this.#ops.length === 0 && this.#ending) break
      // The first batch names the node and nothing else: of it, nobody can say whether it was noted before.
      await this.#note(this.#number === 0 ? [] : this.#take())
      this.#inHand = 0
    }
    if (!signal.aborted) await this.#leave()
  }

  async #leave(): Promise<void> {
    try {
      await forgetNode(this.#options.pool, this.#name, this.#stopped.signal)
    } catch (error) {
      this.#options.log.debug({ reason: messageOf(error) }, 'no good-bye: the node will be thought lost')
    }
  }

  #take(): Op[] {
    let units = 0
    const over = this.#ops.findIndex(({ rows }, index) => {
      for (const { body } of rows) units += body.length
      return index === MOST || (index > 0 && units > MOST_UNITS)
    })
    const count = over === -1 ? this.#ops.length : over
    const ops = this.#ops.slice(0, count)
    this.#ops = this.#ops.slice(count)
    this.#count()
    return ops
  }

  /** Returns when it is noted, or the time is over. */
  async #note(ops: readonly Op[]): Promise<void> {
    const { signal } = this.#stopped
    const batch = batchOf(++this.#number, ops)
    this.#inHand = batch.rows.length
    for (let tries = 0; !signal.aborted; tries++) {
      try {
        const answer = await note(this.#options.pool, this.#name, batch, signal)
        if (answer !== 'lost') return this.#noted(batch)
        return this.#beginAnew(ops, tries > 0)
      } catch (error) {
        if (signal.aborted) break
        this.#failed(error)
        await pause(backoffMs(tries, this.#retry), signal)
      }
    }
    // Not noted: told with the rest that is left.
    this.#ops = [...ops, ...this.#ops]
    this.#count()
  }

  #noted({ kept, rows }: Batch): void {
    for (const entry of kept) entry.noted = true
    if (this.#failing) this.#options.log.info('signals are noted again')
    this.#failing = false
    if (rows.length > 0) this.#options.onNoted()
  }

  #beginAnew(ops: readonly Op[], isDoubtful: boolean): void {
    const { log, node, onLost } = this.#options
    log.warn('the other nodes thought that this one was gone: its connections are told anew')
    this.#name = `${node}.${++this.#lives}`
    this.#number = 0
    this.#ops = [...onLost([...ops, ...this.#ops], isDoubtful ? ops.length : 0)]
    this.#count()
  }

  /** What is oldest is not told any more; that connections came and went is noted all the same. */
  #giveUp(): void {
    const { max, tally } = this.#options
    const given = new Map<string, number>()
    for (const op of this.#ops) {
      // Some more than need be: not for each that comes.
      if (this.#rows <= 0.9 * max() && this.#units <= 0.9 * MAX_UNITS) break
      for (const { target, body } of op.rows) {
        given.set(target, (given.get(target) ?? 0) + 1)
        this.#units -= body.length
      }
      this.#rows -= op.rows.length
      op.rows = []
    }
    for (const [target, count] of given) tally.givenUp(target, count, 'the database takes none')
    this.#compact()
  }

  /** How many ops there were after the last time. */
  #lastSize = 0

  #compact(): void {
    this.#ops = compact(this.#ops)
    this.#lastSize = 2 * this.#ops.length
    this.#count()
  }

  #count(): void {
    this.#rows = 0
    this.#units = 0
    for (const { rows } of this.#ops) {
      this.#rows += rows.length
      for (const { body } of rows) this.#units += body.length
    }
  }

  /** Told once an outage. */
  #failed(error: unknown): void {
    if (this.#failing) return
    this.#failing = true
    this.#options.log.warn({ reason: messageOf(error) }, 'signals can not be noted, trying on')
  }

  async #sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      timer = setTimeout(resolve, ms).unref()
    })
    this.#wake = null
    clearTimeout(timer)
  }
}
