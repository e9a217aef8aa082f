import type { Config } from './config/config.ts'
import { type Home, openHome } from './database/home.ts'
import { LivemessageError, messageOf } from './errors.ts'
import type { Hub } from './hub/hub.ts'
import type { Address } from './listeners/listener.ts'
import { Counts } from './ops/counts.ts'
import type { Health, Part } from './ops/health.ts'
import type { Log } from './ops/log.ts'
import type { MetricGroup, MetricSet } from './ops/metric-set.ts'
import { Repeated } from './ops/repeated.ts'
import { baseContext } from './registry/context.ts'
import { runHook } from './registry/hooks.ts'
import type { Registry } from './registry/registry.ts'
import { keepFrozen, recheck } from './reload.ts'
import { buildRules, type Live, type Rules } from './rules.ts'
import type { Signalling } from './signals/create.ts'
import type { Source, SourceHandlers } from './sources/source.ts'
import { wire, type Wired } from './wire.ts'

export interface DaemonOptions {
  readonly config: Config
  readonly registry: Registry
  readonly log: Log
  /** Loads config and modules anew, for `reload`. @default there is nothing to reload */
  readonly load?: () => Promise<{ config: Config; registry: Registry }>
  /** How long the start waits for the first attempts of the sources; they go on trying after it. @default 1500 */
  readonly firstAttemptsMs?: number
  /** How often the database is asked whether it is there, for `/readyz`. @default 5000 */
  readonly databaseCheckMs?: number
  /** As a worker: those whose port this node shares, and for which it tells the metrics. @default it is alone */
  readonly group?: MetricGroup
}

/** What `start` resolves with. */
export interface Started {
  readonly address: Address
  readonly listener: 'uws' | 'node'
  readonly parts: readonly Part[]
}

const PROCESS_METRICS_AFTER_MS = 500

/** What clients have left to be told when all else has taken the time that a stop may take. */
const LAST_WORDS_MS = 1000

/** One node: everything wired together. `start` and `stop` once each; a stopped daemon is not started again. */
export class Daemon implements Live {
  readonly counts = new Counts()
  readonly log: Log
  readonly #options: DaemonOptions
  readonly #stopSignal = new AbortController()
  readonly #refusals = new Repeated()
  #rules: Rules
  #home: Home | null = null
  #parts: Wired | null = null
  #databaseCheck: NodeJS.Timeout | null = null
  #starting: Promise<Started> | null = null
  #running = false
  #stopping: Promise<void> | null = null
  #reloading: Promise<void> = Promise.resolve()

  constructor(options: DaemonOptions) {
    const { config, registry, log } = options
    this.log = log
    this.#options = options
    this.#rules = buildRules(config, registry, log)
  }

  get rules(): Rules {
    return this.#rules
  }

  get hub(): Hub | null {
    return this.#parts?.hub ?? null
  }

  get signals(): Signalling | null {
    return this.#parts?.signals ?? null
  }

  get health(): Health | null {
    return this.#parts?.health ?? null
  }

  /** The metrics of this node alone. */
  async measure(): Promise<MetricSet> {
    return (await this.#parts?.metrics.measure()) ?? []
  }

  /**
   * Resolves when it listens.
   * @throws {LivemessageError} PORT_TAKEN, ADDRESS_UNAVAILABLE, LISTENER_UNAVAILABLE, DATABASE_…, STOPPED
   */
  start(): Promise<Started> {
    return (this.#starting ??= this.#start())
  }

  /**
   * Stops in this order: no new clients, sources, running actions (until the deadline), clients are told when
   * to come back, connections, journal, pools. Idempotent.
   */
  stop(reason: 'restart' | 'shutdown' = 'shutdown'): Promise<void> {
    return (this.#stopping ??= this.#stop(reason))
  }

  /**
   * Loads config and modules again and swaps them in one turn; no socket is dropped. Open subscriptions are
   * checked against the new policies. A broken new version is refused, and the old one goes on. One after the
   * other; during the start, after it.
   * @throws {LivemessageError} what is wrong with the new version
   */
  reload(): Promise<void> {
    const before = Promise.allSettled([this.#reloading, this.#starting])
    this.#reloading = before.then(() => this.#reload())
    return this.#reloading
  }

  async #start(): Promise<Started> {
    this.#checkNotStopped()
    const { config, registry } = this.#rules
    try {
      this.#home = await openHome(config.postgres, registry.migrations, this.log)
      this.#checkNotStopped()
      const parts = await wire({
        live: this,
        home: this.#home,
        log: this.log,
        counts: this.counts,
        signal: this.#stopSignal.signal,
        group: this.#options.group,
      })
      this.#parts = parts
      this.#checkNotStopped()
      await this.#join(parts)
      this.#checkNotStopped()
      const address = await parts.listen()
      this.#checkNotStopped()
      await this.#run(parts, this.#home)
      this.#checkNotStopped()
      this.#running = true
      parts.health.set('running')
      this.#watchProcess(parts)
      return { address, listener: parts.listener.kind, parts: parts.health.parts() }
    } catch (error) {
      await this.#release()
      throw error
    }
  }

  /** Comes among the nodes: waits for the first attempts at journal and bus, which go on trying after it. */
  async #join(parts: Wired): Promise<void> {
    const { firstAttemptsMs = 1500 } = this.#options
    let waiting = true
    const joined = parts.join().catch((error: unknown) => {
      if (waiting) throw error
      // Too late for who started it: what waits for it is told `unavailable`.
      this.log.error({ reason: messageOf(error) }, 'the journal can not be used')
    })
    await Promise.race([joined, within([joined], firstAttemptsMs, this.#stopSignal.signal)])
    waiting = false
    await parts.checkAlone()
  }

  async #run(parts: Wired, home: Home): Promise<void> {
    const { firstAttemptsMs = 1500, databaseCheckMs = 5000 } = this.#options
    const first = parts.sources.all.map((source) => source.start(this.#handlersOf(source, parts)))
    await within([...first, home.check()], firstAttemptsMs, this.#stopSignal.signal)
    this.#databaseCheck = setInterval(() => void home.check(), databaseCheckMs).unref()
    const { start } = this.#rules.registry.hooks
    if (start === null || this.#stopping !== null) return
    const deadlineMs = this.#rules.config.limits.callMs
    const call = { place: 'hooks.start', connection: null, deadlineMs }
    const hook = async (): Promise<void> =>
      runHook(call, parts.services, () => start(baseContext(parts.services, 'hooks', 'start')))
    const done = hook()
    await within([done], deadlineMs, this.#stopSignal.signal)
    if (this.#stopping === null) await done
  }

  /** A little later: whoever waits for the start need not wait for this. */
  #watchProcess(parts: Wired): void {
    setTimeout(() => {
      parts.metrics.start().catch((error: unknown) => {
        this.log.error({ reason: messageOf(error) }, 'no metrics of the process')
      })
    }, PROCESS_METRICS_AFTER_MS).unref()
  }

  #handlersOf(source: Source, { intake, bury }: Wired): SourceHandlers {
    return {
      onNotification: (notification) => intake.take(notification),
      onGap: () => {
        this.counts.sourceGaps++
        this.log.warn({ source: source.name }, 'notifications may have been missed')
      },
      // The source logs its own changes, and `/readyz` asks it. What it sees of the database is news for the pool.
      onState: () => void this.#home?.check(),
      onReject: (rejection) => {
        const { code, message, place } = rejection
        this.counts.error(source.name, code)
        // The source has logged it, once for all.
        if (code === 'overflow') return
        bury(source.name, rejection)
        // Any role of a database may say rubbish as fast as it likes.
        const unsaid = this.#refusals.count(`${source.name} ${code}`)
        if (unsaid === null) return
        const fields = { source: source.name, code, place, reason: message }
        this.log.warn(unsaid === 0 ? fields : { ...fields, unsaid }, 'notification refused')
      },
    }
  }

  async #reload(): Promise<void> {
    const { load } = this.#options
    if (load === undefined) throw new LivemessageError('USAGE', 'this daemon has nothing to reload from')
    const parts = this.#parts
    if (parts === null || !this.#running || this.#stopping !== null) return
    let next: Rules
    try {
      const { config, registry } = await load()
      const { kept, changed } = keepFrozen(this.#rules.config, config)
      next = buildRules(kept, registry, this.log, this.#rules)
      await this.#home?.install(registry.migrations)
      if (changed.length > 0) this.log.warn({ keys: changed }, 'changes to these keys need a new process')
    } catch (error) {
      this.counts.reloadFailures++
      this.log.error({ reason: messageOf(error) }, 'reload refused: the old version goes on')
      throw error
    }
    if (this.#stopping !== null) return
    this.#rules = next
    parts.presence.apply()
    parts.signals.apply()
    const { config, registry } = next
    // The new policies hold already: both only bring what is open into line with them.
    const [ended] = await Promise.all([
      recheck(parts.hub, parts.subscriber),
      parts.sources.apply(registry, config.channels.keys()),
      parts.backbone.apply(config),
      parts.outboxes.apply(config),
    ])
    this.counts.reloads++
    this.log.info({ modules: registry.modules.length, endedSubscriptions: ended }, 'reloaded')
  }

  async #stop(reason: 'restart' | 'shutdown'): Promise<void> {
    const aborted = new LivemessageError('STOPPED', 'the daemon is stopping')
    const starting = this.#starting
    if (starting === null) return
    if (this.#running && this.#parts !== null) await this.#drain(this.#parts, reason)
    this.#stopSignal.abort(aborted)
    // A start that is under way sees that it is to stop, and has released what it had when it rejects.
    const [start] = await Promise.allSettled([starting])
    if (start.status === 'fulfilled') await this.#release()
  }

  /** What is under way may end, until the deadline; then everybody is told to go. */
  async #drain(parts: Wired, reason: 'restart' | 'shutdown'): Promise<void> {
    const { stopMs } = this.#rules.config
    const end = performance.now() + stopMs
    parts.health.set('draining')
    parts.listener.stopAccepting()
    await within(
      parts.sources.all.map((source) => source.stop()),
      stopMs,
    )
    await parts.commands.settle(Math.max(0, end - performance.now()))
    await parts.publisher.settle(Math.max(0, end - performance.now()))
    // A hook that hangs must not make the stop last longer than what was said.
    await within([parts.transports.dismiss(reason)], Math.max(LAST_WORDS_MS, end - performance.now()))
  }

  async #release(): Promise<void> {
    if (this.#databaseCheck !== null) clearInterval(this.#databaseCheck)
    const parts = this.#parts
    if (parts !== null) {
      await Promise.all(parts.sources.all.map((source) => source.stop()))
      parts.hub.stop()
      parts.deadlines.stop()
      parts.transports.detach()
      await parts.listener.close()
      await parts.leave()
    }
    await this.#home?.stop()
  }

  #checkNotStopped(): void {
    if (this.#stopping !== null) throw new LivemessageError('STOPPED', 'stopped while starting')
  }
}

/** Waits until all have ended, however, or the time is over, or the signal says so. */
async function within(work: readonly Promise<unknown>[], ms: number, signal?: AbortSignal): Promise<void> {
  let end = (): void => undefined
  const timeout = new Promise<void>((resolve) => {
    end = resolve
  })
  const timer = setTimeout(end, ms)
  signal?.addEventListener('abort', end)
  await Promise.race([Promise.allSettled(work), timeout])
  clearTimeout(timer)
  signal?.removeEventListener('abort', end)
}
