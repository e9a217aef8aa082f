import { type Home, openHome } from './database/home.ts'
import type { Config } from './config/config.ts'
import { LivemessageError, messageOf } from './errors.ts'
import type { Hub } from './hub/hub.ts'
import type { Intake } from './hub/intake.ts'
import type { Address } from './listeners/listener.ts'
import { Counts } from './ops/counts.ts'
import type { Health, Part } from './ops/health.ts'
import type { Log } from './ops/log.ts'
import { baseContext } from './registry/context.ts'
import { runHook } from './registry/hooks.ts'
import type { Registry } from './registry/registry.ts'
import { frozenKeys, recheck } from './reload.ts'
import { buildRules, type Live, type Rules } from './rules.ts'
import type { Source, SourceHandlers } from './sources/source.ts'
import { retentionOf, wire, type Wired } from './wire.ts'

export interface DaemonOptions {
  readonly config: Config
  readonly registry: Registry
  readonly log: Log
  /** Loads config and modules anew, for `reload`. @default there is nothing to reload */
  readonly load?: () => Promise<{ config: Config; registry: Registry }>
}

/** What `start` resolves with. */
export interface Started {
  readonly address: Address
  readonly listener: 'uws' | 'node'
  readonly parts: readonly Part[]
}

/** How long the start waits for the first attempts of the sources; they go on trying after it. */
const FIRST_ATTEMPTS_MS = 1500

/** How often the database is asked whether it is there, for `/readyz`. */
const DATABASE_CHECK_MS = 5000

/** One node: everything wired together. `start` and `stop` once each; a stopped daemon is not started again. */
export class Daemon implements Live {
  readonly counts = new Counts()
  readonly log: Log
  #rules: Rules
  readonly #load: DaemonOptions['load']
  readonly #stopSignal = new AbortController()
  #home: Home | null = null
  #parts: Wired | null = null
  #databaseCheck: NodeJS.Timeout | null = null
  #starting: Promise<Started> | null = null
  #stopping: Promise<void> | null = null
  #reloading: Promise<void> = Promise.resolve()

  constructor({ config, registry, log, load }: DaemonOptions) {
    this.log = log
    this.#rules = buildRules(config, registry, log)
    this.#load = load
  }

  get rules(): Rules {
    return this.#rules
  }

  get hub(): Hub | null {
    return this.#parts?.hub ?? null
  }

  get health(): Health | null {
    return this.#parts?.health ?? null
  }

  /**
   * Resolves when it listens.
   * @throws {LivemessageError} PORT_TAKEN, ADDRESS_UNAVAILABLE, LISTENER_UNAVAILABLE, DATABASE_…
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
   * checked against the new policies. A broken new version is refused, and the old one goes on.
   * @throws {LivemessageError} what is wrong with the new version
   */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.catch(() => undefined).then(() => this.#reload())
    return this.#reloading
  }

  async #start(): Promise<Started> {
    const { config, registry } = this.#rules
    this.#home = await openHome(config.postgres, registry.migrations, this.log)
    try {
      this.#checkNotStopped()
      const parts = await wire({
        live: this,
        home: this.#home,
        log: this.log,
        counts: this.counts,
        signal: this.#stopSignal.signal,
      })
      this.#parts = parts
      const address = await parts.listen()
      await this.#run(parts)
      return { address, listener: parts.listener.kind, parts: parts.health.parts() }
    } catch (error) {
      await this.#release()
      throw error
    }
  }

  async #run(parts: Wired): Promise<void> {
    const first = parts.sources.all.map((source) => source.start(this.#handlersOf(source, parts.intake)))
    const check = this.#home!.check()
    await settledWithin([...first, check], FIRST_ATTEMPTS_MS)
    this.#databaseCheck = setInterval(() => void this.#home?.check(), DATABASE_CHECK_MS).unref()
    this.#checkNotStopped()
    const { start } = this.#rules.registry.hooks
    if (start !== null) {
      const call = {
        place: 'hooks.start',
        connection: null,
        deadlineMs: this.#rules.config.limits.callMs,
      }
      await runHook(call, parts.services, () => start(baseContext(parts.services, 'hooks', 'start')))
    }
    parts.health.set('running')
  }

  #handlersOf(source: Source, intake: Intake): SourceHandlers {
    return {
      onNotification: (notification) => intake.take(notification),
      onGap: () => {
        this.counts.sourceGaps++
        this.log.warn({ source: source.name }, 'notifications may have been missed while it was down')
      },
      // The source logs its own changes; `/readyz` and the metrics ask it.
      onState: () => undefined,
      onReject: (code, message, place) => {
        this.counts.error(source.name, code)
        this.log.warn({ source: source.name, code, place, reason: message }, 'notification refused')
      },
    }
  }

  async #reload(): Promise<void> {
    if (this.#load === undefined)
      throw new LivemessageError('USAGE', 'this daemon has nothing to reload from')
    const parts = this.#parts
    if (parts === null || this.#stopping !== null) return
    try {
      const { config, registry } = await this.#load()
      const next = buildRules(config, registry, this.log, this.#rules)
      const frozen = frozenKeys(this.#rules.config, config)
      if (frozen.length > 0) {
        this.log.warn({ keys: frozen }, 'changes to these keys need a new process')
      }
      this.#rules = next
      parts.journal.retain(retentionOf(config))
      await parts.sources.apply(registry, config.channels.keys())
      const ended = await recheck(parts.hub, parts.subscriber)
      this.counts.reloads++
      this.log.info({ modules: registry.modules.length, endedSubscriptions: ended }, 'reloaded')
    } catch (error) {
      this.counts.reloadFailures++
      this.log.error({ reason: messageOf(error) }, 'reload refused: the old version goes on')
      throw error
    }
  }

  async #stop(reason: 'restart' | 'shutdown'): Promise<void> {
    if (this.#starting === null) return
    const parts = this.#parts
    if (parts !== null) {
      const { config } = this.#rules
      parts.health.set('draining')
      parts.listener.stopAccepting()
      await Promise.all(parts.sources.all.map((source) => source.stop()))
      await parts.commands.settle(config.stopMs)
      await parts.websocket.dismiss(reason)
    }
    this.#stopSignal.abort(new LivemessageError('STOPPED', 'the daemon is stopping'))
    await this.#release()
    // A start that is still under way ends with STOPPED, and has released what it had.
    await this.#starting.catch((error: unknown) => {
      if (!(error instanceof LivemessageError)) this.log.debug({ err: error }, 'start failed')
    })
  }

  async #release(): Promise<void> {
    if (this.#databaseCheck !== null) clearInterval(this.#databaseCheck)
    const parts = this.#parts
    if (parts !== null) {
      await Promise.all(parts.sources.all.map((source) => source.stop()))
      parts.hub.stop()
      parts.deadlines.stop()
      await parts.listener.close()
      parts.bus.stop()
      parts.journal.stop()
    }
    await this.#home?.stop()
  }

  #checkNotStopped(): void {
    if (this.#stopping !== null) throw new LivemessageError('STOPPED', 'stopped while starting')
  }
}

/** Waits until all have ended, however, or the time is over. */
async function settledWithin(work: readonly Promise<unknown>[], ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  const results = Promise.allSettled(work)
  await Promise.race([results, timeout])
  clearTimeout(timer)
}
