import cluster, { type Worker } from 'node:cluster'
import { DEFAULT_RETRY, type Retry } from '../backoff.ts'
import { type Config, isEmbedded } from '../config/config.ts'
import type { Started } from '../daemon.ts'
import { type Home, openHome } from '../database/home.ts'
import { ConfigError, type ErrorName, ERRORS, LivemessageError, messageOf } from '../errors.ts'
import { canShare, listenerKind, warnWithoutUws } from '../listeners/create.ts'
import type { Address } from '../listeners/listener.ts'
import type { Log } from '../ops/log.ts'
import type { Registry } from '../registry/registry.ts'
import { type Fixed, fixedOf, keepFrozen, withFixed } from '../reload.ts'
import { buildRules } from '../rules.ts'
import { type Report, WORKER } from './messages.ts'
import { Numbers } from './numbers.ts'
import { PortLock } from './port-lock.ts'
import { Slot } from './slot.ts'

export interface PrimaryOptions {
  readonly config: Config
  readonly registry: Registry
  readonly log: Log
  /** Loads config and modules anew, for `reload`. */
  readonly load: () => Promise<{ config: Config; registry: Registry }>
  /** Delays before a worker that has died is started again. @default 250 ms to 15 s */
  readonly retry?: Retry
  /** How long a worker may take for a reload before the next one's turn. @default 60_000 */
  readonly reloadMs?: number
  /** What a worker may take to stop beyond the config's `stop` before it is killed. @default 5000 */
  readonly graceMs?: number
}

/** What `start` resolves with: how the first worker began that listens, and the processes. */
export interface GroupStarted extends Started {
  readonly workers: readonly { readonly worker: number; readonly pid: number | null }[]
}

/**
 * The process above the workers of one port: it serves nobody itself. It has what there can be but one of, the
 * embedded database and the right to the port, and sees to it that all workers are there.
 */
export class Primary {
  readonly #options: PrimaryOptions
  readonly #log: Log
  readonly #stopSignal = new AbortController()
  readonly #slots: readonly Slot[]
  readonly #numbers: Numbers
  /** The reload under way: one worker's at a time. */
  #reloadOf: { readonly id: number; readonly slot: Slot; done(refusal: string | null): void } | null = null
  #config: Config
  #registry: Registry
  #lock: PortLock
  #home: Home | null = null
  #starting: Promise<GroupStarted> | null = null
  #reloading: Promise<void> = Promise.resolve()
  #stopping: Promise<void> | null = null
  #lastReload = 0

  constructor(options: PrimaryOptions) {
    const { config, registry, log, retry = DEFAULT_RETRY } = options
    this.#options = options
    this.#log = log
    this.#config = config
    this.#registry = registry
    this.#lock = new PortLock(addressOf(config))
    this.#slots = Array.from({ length: config.workers }, (_, index) => {
      const slot: Slot = new Slot({
        number: index + 1,
        fork: () => this.#fork(index + 1),
        onReport: (report) => this.#hear(slot, report),
        onEnd: () => this.#miss(slot),
        retry,
        log,
      })
      return slot
    })
    this.#numbers = new Numbers(this.#slots)
  }

  get registry(): Registry {
    return this.#registry
  }

  /**
   * Resolves when each worker has been started once and at least one listens.
   * @throws {LivemessageError} PORT_TAKEN, ADDRESS_UNAVAILABLE, LISTENER_UNAVAILABLE, DATABASE_…, STOPPED; what the
   *   workers failed with, where none came up
   */
  start(): Promise<GroupStarted> {
    return (this.#starting ??= this.#start())
  }

  /** Stops the workers, each gracefully, then the embedded database. Idempotent. */
  stop(reason: 'restart' | 'shutdown' = 'shutdown'): Promise<void> {
    return (this.#stopping ??= this.#stop(reason))
  }

  /** Ends the workers at once. */
  kill(): void {
    for (const slot of this.#slots) slot.kill()
  }

  /**
   * Loads config and modules again: here first, and what is refused here goes no further; then in one worker after
   * the other.
   * @throws {LivemessageError} what is wrong with the new version
   */
  reload(): Promise<void> {
    const before = Promise.allSettled([this.#reloading, this.#starting])
    this.#reloading = before.then(() => this.#reload())
    return this.#reloading
  }

  async #start(): Promise<GroupStarted> {
    try {
      this.#config = await this.#settle(this.#config)
      cluster.setupPrimary({ serialization: 'advanced' })
      for (const slot of this.#slots) slot.start()
      const began = await Promise.all(this.#slots.map(({ beginning }) => beginning))
      this.#checkNotStopped()
      const up = began.find((beginning) => 'started' in beginning)
      if (up !== undefined) {
        const workers = this.#slots.map(({ number, pid }) => ({ worker: number, pid }))
        return { ...up.started, workers }
      }
      throw startFailure(began)
    } catch (error) {
      // A stop that is under way releases by itself.
      if (this.#stopping === null) await this.#release('shutdown')
      throw error
    }
  }

  /** The config with what the workers could not choose alike by themselves. */
  async #settle(config: Config): Promise<Config> {
    // Keys that are none, origins and proxies: told once, and not by each worker.
    buildRules(config, this.#registry, this.#log)
    const listener = await this.#chooseListener(config)
    const address = await this.#lock.hold(this.#stopSignal.signal)
    this.#checkNotStopped()
    const { postgres } = config
    if (postgres !== null && isEmbedded(postgres)) {
      this.#home = await openHome(postgres, this.#registry.migrations, this.#log)
      this.#checkNotStopped()
    }
    return { ...config, listener, ...('port' in address ? { port: address.port } : {}) }
  }

  async #chooseListener(config: Config): Promise<'uws' | 'node'> {
    const kind = await listenerKind(config.listener)
    if (canShare(kind, addressOf(config))) {
      if (kind === 'node' && config.listener === 'auto') warnWithoutUws(this.#log)
      return kind
    }
    const what = config.socket === null ? `a port on ${process.platform}` : 'a unix socket'
    if (config.listener === 'auto') {
      this.#log.warn(
        { listener: 'node', shared: what },
        'uWebSockets.js can not share this between workers: listening with ws, at about a tenth of its fan-out',
      )
      return 'node'
    }
    const message = `uWebSockets.js can't share ${what} between ${config.workers} processes: set listener: 'node', or workers: 1`
    throw new ConfigError([{ code: 'CONFIG_INVALID', key: 'workers', message }], config.file)
  }

  async #fork(worker: number): Promise<Worker> {
    // With one of ours on the port nobody else can take it.
    if (!this.#slots.some(({ state }) => state === 'up')) await this.#lock.hold(this.#stopSignal.signal)
    this.#checkNotStopped()
    return cluster.fork({ [WORKER]: String(worker) })
  }

  #fixed(): Fixed {
    const fixed = fixedOf(this.#config)
    const { postgres } = this.#config
    const url = this.#home?.url ?? null
    if (postgres === null || url === null) return fixed
    const { minConnections, maxConnections, cleanupTimeoutMs, notify } = postgres
    const pool = { minConnections, maxConnections, cleanupTimeoutMs, notify }
    return {
      ...fixed,
      config: { ...fixed.config, postgres: { ...pool, url, listenUrl: url, databases: [] } },
    }
  }

  #hear(slot: Slot, report: Report): void {
    switch (report.type) {
      case 'join':
        slot.send({ type: 'begin', worker: slot.number, fixed: this.#fixed() })
        return
      case 'listening':
        this.#lock.release()
        return
      case 'failed':
        return
      case 'reloaded':
        if (this.#reloadOf?.id === report.id) this.#reloadOf.done(report.refusal)
        return
      case 'measured':
        this.#numbers.measured(slot.number, report.id, report.set)
        return
      case 'gather':
        void this.#gather(slot, report.id)
        return
      default:
        report satisfies never
    }
  }

  /** Its process has ended: nobody waits for what it was asked. */
  #miss(slot: Slot): void {
    this.#numbers.ended(slot.number)
    if (this.#reloadOf?.slot === slot) this.#reloadOf.done(null)
  }

  async #gather(slot: Slot, id: number): Promise<void> {
    try {
      slot.send({ type: 'gathered', id, sets: await this.#numbers.gather() })
    } catch (error) {
      // The worker's own deadline answers whoever asked.
      this.#log.error({ reason: messageOf(error) }, "no metrics of the group's workers")
    }
  }

  async #reload(): Promise<void> {
    if (this.#stopping !== null) return
    try {
      const { config, registry } = await this.#options.load()
      // Against what was said at the start: what was chosen then, a port for 0, is no change.
      const { changed } = keepFrozen(this.#options.config, config)
      const kept = withFixed(config, fixedOf(this.#config))
      buildRules(kept, registry, this.#log)
      await this.#home?.install(registry.migrations)
      if (changed.length > 0) this.#log.warn({ keys: changed }, 'changes to these keys need a new process')
      this.#config = kept
      this.#registry = registry
    } catch (error) {
      this.#log.error({ reason: messageOf(error) }, 'reload refused: the old version goes on')
      throw error
    }
    for (const slot of this.#slots) {
      // One that is not there loads the new version when it comes.
      const refusal = await this.#reloadOne(slot)
      if (refusal === null) continue
      // The worker has logged its problems.
      throw new LivemessageError('INTERNAL', `worker ${slot.number} refused the reload: ${refusal}`)
    }
  }

  #reloadOne(slot: Slot): Promise<string | null> {
    const id = ++this.#lastReload
    return new Promise((resolve) => {
      const done = (refusal: string | null): void => {
        clearTimeout(timer)
        this.#reloadOf = null
        resolve(refusal)
      }
      const timer = setTimeout(() => {
        this.#log.warn({ worker: slot.number }, 'worker does not answer to a reload')
        done(null)
      }, this.#options.reloadMs ?? 60_000)
      this.#reloadOf = { id, slot, done }
      if (slot.state !== 'up' || !slot.send({ type: 'reload', id })) done(null)
    })
  }

  async #stop(reason: 'restart' | 'shutdown'): Promise<void> {
    const aborted = new LivemessageError('STOPPED', 'the group is stopping')
    this.#stopSignal.abort(aborted)
    await this.#release(reason)
    if (this.#starting !== null) await Promise.allSettled([this.#starting])
    // What the start had opened only now.
    await this.#home?.stop()
  }

  async #release(reason: 'restart' | 'shutdown'): Promise<void> {
    const deadlineMs = this.#config.stopMs + (this.#options.graceMs ?? 5000)
    await Promise.all(this.#slots.map((slot) => slot.stop(reason, deadlineMs)))
    this.#lock.release()
    await this.#home?.stop()
  }

  #checkNotStopped(): void {
    if (this.#stopping !== null) throw new LivemessageError('STOPPED', 'stopped while starting')
  }
}

function addressOf({ host, port, socket }: Config): Address {
  return socket === null ? { host, port } : { socket }
}

type Failure = { readonly code: string | null; readonly message: string; readonly exitCode: number }

/** Where all fail alike it is the config's fault, or the house's, and is told as one process would. */
function startFailure(began: readonly object[]): LivemessageError {
  const failures = began as readonly Failure[]
  const [first] = failures
  const alike = failures.every(({ exitCode }) => exitCode === first?.exitCode)
  const code = alike && first !== undefined && isErrorName(first.code) ? first.code : 'INTERNAL'
  return new LivemessageError(code, first?.message ?? 'no worker came up')
}

function isErrorName(code: string | null): code is ErrorName {
  return code !== null && Object.hasOwn(ERRORS, code)
}
