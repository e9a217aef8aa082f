import type { Worker } from 'node:cluster'
import { backoffMs, pause, type Retry } from '../backoff.ts'
import type { Started } from '../daemon.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { isReport, type Order, type Report } from './messages.ts'

/** `down`: its process has ended, and the next one waits for its time. */
export type SlotState = 'down' | 'starting' | 'up' | 'stopping'

export interface SlotOptions {
  /** From 1. */
  readonly number: number
  /** Starts a process for it. */
  readonly fork: () => Promise<Worker>
  readonly onReport: (report: Report) => void
  /** Its process has ended, after `up` or before. */
  readonly onEnd: () => void
  readonly retry: Retry
  readonly log: Log
}

/** How the first process of a slot began. */
export type Beginning =
  | { readonly started: Started }
  /** `code` is of our errors where it told one. */
  | { readonly code: string | null; readonly message: string; readonly exitCode: number }

/** How long a process must have listened for its end to be a new trouble: starting one costs a second of a core. */
const SETTLED_MS = 10_000

/** How long to wait for the last words of a process that has ended. */
const LAST_WORDS_MS = 500

/** One of the group's places: a process, and when that dies the next. */
export class Slot {
  readonly number: number
  readonly #options: SlotOptions
  readonly #log: Log
  readonly #stopping = new AbortController()
  #state: SlotState = 'down'
  #worker: Worker | null = null
  #failure: Extract<Report, { type: 'failed' }> | null = null
  /** What was logged last as the reason of an end, for as long as nothing better has happened. */
  #trouble: string | null = null
  #forks = 0
  /** Its process has joined: until then there is nobody to tell anything, and nothing to be stopped with care. */
  #hears = false
  #tell: (beginning: Beginning) => void = () => undefined
  /** Resolves when its first process listens, or has ended before. */
  readonly beginning = new Promise<Beginning>((resolve) => (this.#tell = resolve))
  #running: Promise<void> | null = null

  constructor(options: SlotOptions) {
    this.number = options.number
    this.#options = options
    this.#log = options.log.child({ worker: options.number })
  }

  get state(): SlotState {
    return this.#state
  }

  get pid(): number | null {
    return this.#worker?.process.pid ?? null
  }

  /** Processes that were started in place of one that had ended. */
  get restarts(): number {
    return Math.max(0, this.#forks - 1)
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** False when there is nobody to tell. */
  send(order: Order): boolean {
    if (this.#worker === null || !this.#worker.isConnected()) return false
    // A process that dies in this moment is told of by its end.
    this.#worker.send(order, undefined, () => undefined)
    return true
  }

  /** Resolves when its process has ended; killed when that takes longer. */
  async stop(reason: 'restart' | 'shutdown', deadlineMs: number): Promise<void> {
    this.#stopping.abort()
    if (this.#worker !== null) this.#state = 'stopping'
    if (this.#hears) this.send({ type: 'stop', reason })
    else this.#worker?.process.kill()
    const timer = setTimeout(() => {
      this.#log.error({ pid: this.pid, deadlineMs }, 'worker does not stop: killed')
      this.kill()
    }, deadlineMs)
    await this.#running
    clearTimeout(timer)
  }

  kill(): void {
    this.#stopping.abort()
    this.#worker?.process.kill('SIGKILL')
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    for (let attempt = 0; !signal.aborted; attempt++) {
      const listenedMs = await this.#live()
      if (signal.aborted) break
      const { retry } = this.#options
      if (listenedMs > Math.min(SETTLED_MS, retry.maxMs)) attempt = 0
      await pause(backoffMs(attempt, retry), signal)
    }
    this.#tell({ code: 'STOPPED', message: 'stopped while starting', exitCode: 1 })
  }

  /** One process from its start to its end. Resolves with how long it listened. */
  async #live(): Promise<number> {
    const { fork, onReport, onEnd } = this.#options
    let worker: Worker
    try {
      worker = await fork()
    } catch (error) {
      this.#failed(error)
      return 0
    }
    this.#worker = worker
    this.#failure = null
    this.#state = 'starting'
    this.#forks++
    this.#hears = false
    let upSince: number | null = null
    worker.on('message', (message: unknown) => {
      // What was on its way when its process ended is of no use but to tell why.
      if (!isReport(message) || (this.#worker !== worker && message.type !== 'failed')) return
      if (message.type === 'join') this.#hears = true
      if (message.type === 'failed') this.#failure = message
      if (message.type === 'listening') {
        upSince = performance.now()
        this.#up(message.started)
      }
      onReport(message)
    })
    if (this.#stopping.signal.aborted) worker.process.kill()
    const { code, signal } = await endOf(worker)
    const listenedMs = upSince === null ? 0 : performance.now() - upSince
    this.#worker = null
    this.#state = 'down'
    onEnd()
    if (worker.isConnected()) await lastWords(worker)
    this.#ended(worker.process.pid ?? null, code, signal)
    return listenedMs
  }

  #up(started: Started): void {
    this.#state = this.#stopping.signal.aborted ? 'stopping' : 'up'
    this.#tell({ started })
    if (this.restarts > 0) this.#log.info({ pid: this.pid }, 'worker is back')
    this.#trouble = null
  }

  #failed(error: unknown): void {
    const known = error instanceof LivemessageError
    const message = messageOf(error)
    this.#tell({ code: known ? error.code : null, message, exitCode: known ? error.exitCode : 1 })
    if (!this.#stopping.signal.aborted) this.#complain('worker can not start', { reason: message })
  }

  #ended(pid: number | null, code: number | null, signal: NodeJS.Signals | null): void {
    const failure = this.#failure
    const how = signal === null ? `with ${code}` : `by ${signal}`
    this.#tell({
      code: failure?.code ?? null,
      message: failure?.message ?? `worker ${this.number} ended ${how} before it listened`,
      exitCode: failure?.exitCode ?? code ?? 1,
    })
    if (this.#stopping.signal.aborted) return
    const fields = { code, signal, ...(failure === null ? {} : { reason: failure.message }) }
    // As somebody wanted it: with SIGTERM.
    if (code === 0) this.#log.info({ pid, ...fields }, 'worker ended')
    else this.#complain('worker ended', fields, pid)
  }

  /** Once: what happens again and again is told when it is over. */
  #complain(sentence: string, fields: Readonly<Record<string, unknown>>, pid: number | null = null): void {
    const trouble = JSON.stringify(fields)
    const again = trouble === this.#trouble
    this.#trouble = trouble
    this.#log[again ? 'debug' : 'error']({ ...(pid === null ? {} : { pid }), ...fields }, sentence)
  }
}

interface End {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

function endOf(worker: Worker): Promise<End> {
  return new Promise((resolve) => {
    worker.process.once('exit', (code, signal) => resolve({ code, signal }))
    // Of the channel, mostly, and then it ends as well; a process that could not be started has no other end.
    worker.on('error', () => {
      if (worker.process.pid === undefined) resolve({ code: 1, signal: null })
    })
  })
}

/** What it said before it ended may come later than the news of its end. */
function lastWords(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, LAST_WORDS_MS)
    worker.once('disconnect', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
