import type { Log } from '../ops/log.ts'
import { Repeated } from '../ops/repeated.ts'
import type { LoadedModule } from './registry.ts'

export interface WatchOptions {
  readonly log: Log
  /** Seconds for which the event loop was held up, by module. */
  readonly blocked: Map<string, number>
  /** From how long on that is told; `limits.blockMs`. */
  limitMs(): number
  /** Those that are loaded at the time. */
  modules(): readonly LoadedModule[]
  /** Time that the process has spent computing, in ms. @default what the system says */
  readonly cpuMs?: () => number
  /** How often the same module is named in the log. @default once a minute */
  readonly repeated?: Repeated
}

/** Where modules tell how long they ran, and who of them is at work. */
export interface Turns {
  /** A module's code ran from `began` (`performance.now()`) until now without a break. */
  ran(module: string, began: number): void
  /** A run has not come to its end yet, and waits for something. */
  wait(run: Underway): void
  done(run: Underway): void
}

/** A run of a module, by name. */
export interface Underway {
  readonly subsystem: string
  readonly action: string
}

/** What a turn is called for which no module answers. */
const UNKNOWN = 'unknown'

/** Names of waiting runs in a line of the log. */
const MAX_NAMES = 10

/**
 * Finds the modules that hold up the event loop, and with it everyone. Measured is what a module does until its first
 * `await`; a timer sees what is longer than that together, and says who was at work meanwhile.
 *
 * A thread that looks at the stack of such turns would know more. But Node's inspector stops the main thread until that
 * other one lets it go on: dies that meanwhile, the process hangs, and no signal but SIGKILL ends it.
 */
export class Watch implements Turns {
  readonly #options: WatchOptions
  readonly #repeated: Repeated
  readonly #waiting = new Set<Underway>()
  /** Who has been told of since the timer last fired. */
  #told: { readonly began: number; readonly ms: number }[] = []
  #last = ''
  /** Who came to its end since the timer last fired, if anyone. */
  #ended: Underway | null = null
  #timer: NodeJS.Timeout | null = null
  #due = 0
  readonly #cpuMs: () => number
  #cpuBefore: number

  constructor(options: WatchOptions) {
    this.#options = options
    this.#repeated = options.repeated ?? new Repeated(1, 60_000)
    this.#cpuMs = options.cpuMs ?? cpuMs
    this.#cpuBefore = this.#cpuMs()
  }

  start(): void {
    if (this.#timer === null) this.#next()
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  ran(module: string, began: number): void {
    this.#last = module
    const ms = performance.now() - began
    if (ms > this.#options.limitMs()) this.#blame(module, began, ms)
  }

  wait(run: Underway): void {
    this.#waiting.add(run)
  }

  done(run: Underway): void {
    this.#waiting.delete(run)
    // Who held up everyone and came to its end with that is to be named too.
    this.#ended = run
  }

  #blame(module: string, began: number, ms: number): void {
    // A hook's, or an action's that this one called, has been told of.
    const own = ms - sum(this.#told.filter((told) => told.began >= began))
    this.#told = this.#told.filter((told) => told.began < began)
    this.#told.push({ began, ms })
    if (own <= this.#options.limitMs()) return
    this.#tell(module, own, this.#placeOf(module))
  }

  #next(): void {
    const everyMs = Math.max(10, this.#options.limitMs() / 2)
    this.#due = performance.now() + everyMs
    this.#timer = setTimeout(() => this.#look(), everyMs).unref()
  }

  #look(): void {
    const lateMs = performance.now() - this.#due - sum(this.#told)
    this.#told = []
    if (lateMs > this.#options.limitMs()) {
      // Much less than the time that was lost: the machine was busy, or somebody waits without leaving the loop.
      const spentMs = Math.round(this.#cpuMs() - this.#cpuBefore)
      this.#unmeasured(lateMs, { cpuMs: spentMs, last: this.#last, underway: this.#names() })
    }
    this.#ended = null
    this.#cpuBefore = this.#cpuMs()
    this.#next()
  }

  /** Who alone was at work while time went into computing is named; of several nobody knows who it was. */
  #unmeasured(ms: number, fields: Unmeasured): void {
    const [only, ...others] = fields.underway
    if (only === undefined || others.length > 0 || fields.cpuMs < ms / 2) this.#tell(UNKNOWN, ms, fields)
    else this.#tell(only, ms, { ...this.#placeOf(only), ...fields })
  }

  #placeOf(module: string): Fields {
    const [subsystem = '', action = ''] = module.split('.')
    const loaded = this.#options.modules().find((one) => one.subsystem === subsystem && one.key === action)
    return { subsystem, action, path: loaded?.path ?? null }
  }

  #names(): string[] {
    const names = new Set<string>()
    if (this.#ended !== null) names.add(`${this.#ended.subsystem}.${this.#ended.action}`)
    for (const { subsystem, action } of this.#waiting) {
      names.add(`${subsystem}.${action}`)
      if (names.size === MAX_NAMES) break
    }
    return [...names]
  }

  #tell(module: string, ms: number, fields: Fields): void {
    const { blocked, log } = this.#options
    blocked.set(module, (blocked.get(module) ?? 0) + ms / 1000)
    const unsaid = this.#repeated.count(module)
    if (unsaid === null) return
    // With no module at work it was the machine, most likely, or the daemon's own start.
    log[fields.underway?.length === 0 ? 'debug' : 'warn'](
      { ...fields, blockedMs: Math.round(ms), ...(unsaid === 0 ? {} : { unsaid }) },
      module === UNKNOWN ? 'the event loop was held up' : 'a module held up the event loop',
    )
  }
}

/** Of a line of the log; `underway` is of turns that no module was measured in. */
type Fields = Readonly<Record<string, unknown>> & { readonly underway?: readonly string[] }

type Unmeasured = Fields & { readonly cpuMs: number; readonly underway: readonly string[] }

/** A watch over the modules that are loaded at the time. */
export function watchModules(
  live: {
    readonly rules: {
      readonly config: { readonly limits: { readonly blockMs: number } }
      readonly registry: { readonly modules: readonly LoadedModule[] }
    }
  },
  counts: { readonly blocked: Map<string, number> },
  log: Log,
): Watch {
  return new Watch({
    log,
    blocked: counts.blocked,
    limitMs: () => live.rules.config.limits.blockMs,
    modules: () => live.rules.registry.modules,
  })
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

function sum(turns: readonly { readonly ms: number }[]): number {
  let all = 0
  for (const { ms } of turns) all += ms
  return all
}
