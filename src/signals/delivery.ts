import { backoffMs, type Retry } from '../backoff.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { SignalQueue } from './queue.ts'
import type { Tally } from './tally.ts'
import type { SignalTarget, Waiting } from './target.ts'

export interface DeliveryOptions {
  readonly target: SignalTarget
  readonly queue: SignalQueue
  readonly tally: Tally
  readonly log: Log
  /** Whether this node is the one that tells. */
  active(): boolean
  /** How often the queue is looked at by itself; null: only when it is woken. */
  readonly pollMs: number | null
  readonly retry: Retry
  /** What is told at once, at the most. @default 100 */
  readonly most?: number
}

/** After a failure so few are told at first: a target that is back is not flooded. */
const FIRST = 10

/** What is told at once, in characters. */
const MOST_UNITS = 256 * 1024

/** Tells one target what waits for it, in order, one request at a time, until it takes it. No target waits for another. */
export class Delivery {
  readonly #options: DeliveryOptions
  readonly #most: number
  readonly #stopped = new AbortController()
  #running: Promise<void> | null = null
  #finishing = false
  #woken = false
  #wake: (() => void) | null = null
  #failing = false
  #unreadable = false
  /** The target is there again: an attempt need not wait any longer. */
  #again = false
  #size: number

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#most = options.most ?? 100
    this.#size = this.#most
  }

  start(): void {
    if (this.#running !== null || this.#stopped.signal.aborted) return
    this.#options.target.start()
    this.#running = this.#run()
  }

  /** There is something to be told, or this node is the one that tells. */
  wake(): void {
    this.#woken = true
    this.#wake?.()
  }

  /** As `wake`, and what has failed is tried again at once. */
  again(): void {
    this.#again = true
    this.wake()
  }

  /** Tells what waits, so long; then ends. Idempotent. */
  async stop(graceMs: number): Promise<void> {
    this.#finishing = true
    this.wake()
    if (graceMs > 0 && this.#running !== null) {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, graceMs)))
      await Promise.race([this.#running, late])
      clearTimeout(timer)
    }
    this.#stopped.abort()
    this.#wake?.()
    await this.#running
    await this.#options.target.stop()
  }

  async #run(): Promise<void> {
    const { queue, retry, pollMs } = this.#options
    const { signal } = this.#stopped
    for (let tries = 0; !signal.aborted;) {
      this.#woken = false
      if (!this.#options.active()) {
        if (this.#finishing) return
        await this.#sleep(null)
        continue
      }
      let waiting: readonly Waiting[]
      try {
        waiting = fitting(await queue.peek(this.#size, signal))
        this.#unreadable = false
      } catch (error) {
        if (signal.aborted) return
        this.#unread(error)
        await this.#pause(backoffMs(tries++, retry))
        continue
      }
      if (waiting.length === 0) {
        this.#size = this.#most
        if (this.#finishing) return
        await this.#sleep(pollMs)
        continue
      }
      let afterMs = 0
      this.#again = false
      try {
        const verdict = await this.#options.target.deliver(waiting, signal)
        if (verdict.taken) {
          await this.#taken(waiting)
          tries = 0
          continue
        }
        if (verdict.tooLarge === true) {
          await this.#tooLarge(waiting, verdict.reason)
          continue
        }
        this.#failed(verdict.reason)
        afterMs = verdict.afterMs ?? 0
      } catch (error) {
        if (signal.aborted) return
        this.#failed(messageOf(error))
      }
      await this.#pause(Math.min(Math.max(afterMs, backoffMs(tries++, retry)), MAX_PAUSE_MS))
    }
  }

  async #taken(waiting: readonly Waiting[]): Promise<void> {
    const { target, tally, log } = this.#options
    tally.taken(target.name, waiting.length)
    this.#size = Math.min(this.#size * 2, this.#most)
    if (this.#failing) log.info({ target: target.name }, 'signals are taken again')
    this.#failing = false
    await this.#remove(waiting)
  }

  /** Dies it before that, they are told again. */
  async #remove(waiting: readonly Waiting[]): Promise<void> {
    const { target, log, queue, retry } = this.#options
    const { signal } = this.#stopped
    for (let tries = 0; !signal.aborted && this.#options.active(); tries++) {
      try {
        return await queue.remove(waiting, signal)
      } catch (error) {
        if (signal.aborted) return
        log.debug({ target: target.name, reason: messageOf(error) }, 'signals that were taken still wait')
        await this.#pause(backoffMs(tries, retry))
      }
    }
  }

  /** Another attempt may be made at once: with half of them, or without the one. */
  async #tooLarge(waiting: readonly Waiting[], reason: string): Promise<void> {
    const { target, tally } = this.#options
    tally.failed(target.name)
    if (waiting.length > 1) {
      this.#size = Math.ceil(waiting.length / 2)
      return
    }
    tally.givenUp(target.name, 1, reason)
    await this.#remove(waiting)
  }

  /** It is not the target's fault. Told once an outage. */
  #unread(error: unknown): void {
    const { target, log } = this.#options
    if (!this.#unreadable) {
      log.warn(
        { target: target.name, reason: messageOf(error) },
        'signals that wait can not be read, trying on',
      )
    }
    this.#unreadable = true
  }

  /** Told once an outage. */
  #failed(reason: string): void {
    const { target, tally, log } = this.#options
    tally.failed(target.name)
    this.#size = FIRST
    if (this.#failing) return
    this.#failing = true
    log.warn({ target: target.name, reason }, 'signals are not taken, trying on')
  }

  /** Until it is woken, or so long. */
  async #sleep(ms: number | null): Promise<void> {
    if (this.#woken || this.#stopped.signal.aborted) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      if (ms !== null) timer = setTimeout(resolve, ms).unref()
    })
    this.#wake = null
    clearTimeout(timer)
  }

  /** So long, whatever comes meanwhile, unless the target is there again. */
  async #pause(ms: number): Promise<void> {
    const { signal } = this.#stopped
    const end = performance.now() + ms
    while (!signal.aborted && !this.#again && performance.now() < end) {
      this.#woken = false
      await this.#sleep(Math.max(1, end - performance.now()))
    }
    this.#again = false
  }
}

const MAX_PAUSE_MS = 60_000

/** The first of them, as many as are not too much together. */
function fitting(waiting: readonly Waiting[]): readonly Waiting[] {
  let units = 0
  const end = waiting.findIndex(({ body }, index) => {
    units += body.length
    return index > 0 && units > MOST_UNITS
  })
  return end === -1 ? waiting : waiting.slice(0, end)
}
