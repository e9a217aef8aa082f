import type { Log } from '../ops/log.ts'
import { Repeated } from '../ops/repeated.ts'
import { moduleIn } from './culprit.ts'
import type { LoadedModule } from './registry.ts'
import type { Witness } from './witness.ts'

export interface WatchOptions {
  readonly log: Log
  /** Seconds for which the event loop was held up, by module. */
  readonly blocked: Map<string, number>
  /** From how long on that is told; `limits.blockMs`. */
  limitMs(): number
  /** Those that are loaded at the time. */
  modules(): readonly LoadedModule[]
  /** Asked for with the first turn that no module was measured in: sees who it is the next time. @default nobody sees */
  readonly witness?: () => Promise<Witness | null>
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

/** Turns with no module at work, before their stacks are looked at all the same: a module may have a timer. */
const MANY = 5

/** Names of waiting runs in a line of the log. */
const MAX_NAMES = 10

/**
 * Finds the modules that hold up the event loop, and with it everyone. Measured is what a module does until its first
 * `await`; a timer sees what is longer than that together, and says who was at work meanwhile. From the first such turn on
 * a thread looks at the stack of those that follow.
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
  #cpu = process.cpuUsage()
  #unmeasuredTurns = 0
  /** Undefined: not needed until now. */
  #witness: Witness | null | undefined

  constructor(options: WatchOptions) {
    this.#options = options
    this.#repeated = options.repeated ?? new Repeated(1, 60_000)
  }

  start(): void {
    if (this.#timer === null) this.#next()
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#witness?.stop()
    this.#witness = null
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
    const [subsystem = '', action = ''] = module.split('.')
    const loaded = this.#options.modules().find((one) => one.subsystem === subsystem && one.key === action)
    this.#tell(module, own, { subsystem, action, path: loaded?.path ?? null })
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
      const { user, system } = process.cpuUsage(this.#cpu)
      // Much less than the time that was lost: the machine was busy, or somebody waits without leaving the loop.
      const cpuMs = Math.round((user + system) / 1000)
      this.#unmeasured(lateMs, { cpuMs, last: this.#last, underway: this.#names() })
    }
    this.#witness?.beat(this.#options.limitMs())
    this.#ended = null
    this.#cpu = process.cpuUsage()
    this.#next()
  }

  #unmeasured(ms: number, fields: Fields & { readonly underway: readonly string[] }): void {
    this.#unmeasuredTurns++
    const witness = this.#witness
    if (witness) {
      void witness.seen().then((frames) => {
        const found = moduleIn(frames, this.#options.modules())
        if (found === null) return this.#tell(UNKNOWN, ms, { ...fields, stack: frames.slice(0, 5) })
        const { subsystem, key, path } = found
        this.#tell(`${subsystem}.${key}`, ms, { subsystem, action: key, path, stack: frames.slice(0, 5) })
      })
      return
    }
    this.#tell(UNKNOWN, ms, fields)
    if (witness === undefined && (fields.underway.length > 0 || this.#unmeasuredTurns >= MANY)) this.#ask()
  }

  #ask(): void {
    const { witness, log } = this.#options
    this.#witness = null
    witness?.().then(
      (started) => {
        if (this.#timer === null) started?.stop()
        else this.#witness = started
      },
      // Builds of Node without an inspector can't.
      (error: unknown) => log.debug({ err: error }, 'no thread looks who holds up the event loop'),
    )
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
    witness: async () => {
      const { startWitness } = await import('./witness.ts')
      return startWitness((error) => log.warn({ err: error }, 'no thread looks who holds up the event loop'))
    },
  })
}

function sum(turns: readonly { readonly ms: number }[]): number {
  let all = 0
  for (const { ms } of turns) all += ms
  return all
}
