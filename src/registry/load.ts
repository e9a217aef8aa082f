import type { Migrations } from '../database/migration.ts'
import type { Config, HookName, ModuleReference } from '../config/config.ts'
import type { ModuleLoader, Namespace } from '../config/modules.ts'
import { didYouMean, nearest } from '../config/near.ts'
import { describeThrown } from '../config/place.ts'
import { keyOf } from '../config/problems.ts'
import { isRecord } from '../config/values.ts'
import { ConfigError } from '../errors.ts'
import type { Problem } from '../errors.ts'
import { PUBLICATIONS_NOTIFY } from '../protocol/names.ts'
import type {
  LoadedAction,
  LoadedHooks,
  LoadedModule,
  LoadedSender,
  Registry,
  SubsystemHooks,
} from './registry.ts'
import { isFault, resolveReference } from './resolve-reference.ts'
import type { Fault } from './resolve-reference.ts'
import { isFunction, nameOf, readAction, readMigrations, readSender } from './shape.ts'

/**
 * Loads all that ACTIONS and hooks name, in the config's order.
 * @param loader the one that has loaded the config
 * @throws {ConfigError} with every problem: ACTION_NOT_FOUND, ACTION_NOT_A_FILE, ACTION_NO_EXPORT,
 *   ACTION_THREW, ACTION_WRONG_SHAPE
 */
export async function loadRegistry(config: Config, loader: ModuleLoader): Promise<Registry> {
  const build = new Build(config, loader)
  for (const [subsystem, modules] of Object.entries(config.ACTIONS)) {
    for (const [key, reference] of Object.entries(modules)) await build.add(subsystem, key, reference)
  }
  for (const [name, reference] of Object.entries(config.hooks)) await build.addHook(name, reference)
  return build.finish()
}

const HOOKS: readonly HookName[] = ['authenticate', 'connect', 'disconnect', 'message', 'call', 'start']

const SUBSYSTEM_HOOKS: readonly (keyof SubsystemHooks)[] = [
  'subscribe',
  'unsubscribe',
  'publish',
  'occupied',
  'vacated',
  'forget',
]

/** A registry in the making. */
class Build {
  readonly #config: Config
  readonly #loader: ModuleLoader
  readonly #problems: Problem[] = []
  #cause: unknown
  readonly #actions = new Map<string, LoadedAction>()
  readonly #senders = new Map<string, LoadedSender>()
  readonly #notify = new Map<string, string[]>()
  readonly #subsystemHooks: { [Name in keyof SubsystemHooks]: Map<string, SubsystemHooks[Name]> } = {
    subscribe: new Map(),
    unsubscribe: new Map(),
    publish: new Map(),
    occupied: new Map(),
    vacated: new Map(),
    forget: new Map(),
  }
  readonly #hooks: { -readonly [Name in HookName]: LoadedHooks[Name] } = {
    authenticate: null,
    connect: null,
    disconnect: null,
    message: null,
    call: null,
    start: null,
  }
  /** By component. */
  readonly #migrations = new Map<string, Migrations>()
  readonly #modules: LoadedModule[] = []

  constructor(config: Config, loader: ModuleLoader) {
    this.#config = config
    this.#loader = loader
  }

  async add(subsystem: string, key: string, reference: ModuleReference): Promise<void> {
    const place = keyOf(['ACTIONS', subsystem, key])
    const found = await this.#load(place, key, reference)
    if (found === null) return
    const { value, path } = found
    const hook = SUBSYSTEM_HOOKS.find((known) => known === key)
    if (key === 'sender') this.#addSender(place, subsystem, value, path)
    else if (hook !== undefined) {
      if (isFunction<() => never>(value)) this.#subsystemHooks[hook].set(subsystem, value)
      else this.#wrongShape(place, path, [`expected a function, got ${nameOf(value)}`])
      this.#modules.push({ subsystem, key, kind: 'hook', path })
    } else {
      const parts = readAction(value)
      if (isWrong(parts)) return this.#wrongShape(place, path, parts)
      this.#addMigrations(place, path, value)
      this.#actions.set(`${subsystem}.${key}`, { subsystem, name: key, path, ...parts })
      this.#modules.push({ subsystem, key, kind: 'action', path })
    }
  }

  async addHook(name: string, reference: ModuleReference): Promise<void> {
    const place = keyOf(['hooks', name])
    const hook = HOOKS.find((known) => known === name)
    if (hook === undefined) return void this.#fail(place, { code: 'CONFIG_INVALID', message: 'is no hook' })
    const found = await this.#load(place, name, reference)
    if (found === null) return
    const { value, path } = found
    if (!isFunction<() => never>(value)) {
      return this.#wrongShape(place, path, [`expected a function, got ${nameOf(value)}`])
    }
    this.#hooks[hook] = value
    this.#modules.push({ subsystem: 'hooks', key: hook, kind: 'hook', path })
  }

  finish(): Registry {
    if (this.#problems.length > 0) {
      const error = new ConfigError(this.#problems, this.#config.file)
      if (this.#cause !== undefined) error.cause = this.#cause
      throw error
    }
    return {
      subsystems: new Set(this.#config.channels.keys()),
      actions: this.#actions,
      senders: this.#senders,
      notify: this.#notify,
      ...this.#subsystemHooks,
      hooks: this.#hooks,
      modules: this.#modules,
      migrations: [...this.#migrations.values()],
      files: new Set(this.#loader.files),
    }
  }

  /** Every module of a subsystem may bring the same ones; other steps under the same name could not both run. */
  #addMigrations(place: string, path: string, value: unknown): void {
    const brought = readMigrations(value)
    if (brought === null) return
    if (isWrong(brought)) return this.#wrongShape(place, path, brought)
    const known = this.#migrations.get(brought.component)
    if (known && JSON.stringify(known) !== JSON.stringify(brought)) {
      const wrong = `migrations: '${brought.component}' has other steps in another module`
      return this.#wrongShape(place, path, [wrong])
    }
    this.#migrations.set(brought.component, brought)
  }

  #addSender(place: string, subsystem: string, value: unknown, path: string): void {
    const { broker, channels } = this.#config
    const queueOf = (name: string): string => `${broker?.exchange ?? 'livemessages'}.${name}`
    const parts = readSender(value, queueOf(subsystem))
    if (isWrong(parts)) return this.#wrongShape(place, path, parts)
    const wrong: string[] = []
    if (parts.notify.includes(PUBLICATIONS_NOTIFY)) {
      wrong.push(`notify: '${PUBLICATIONS_NOTIFY}' carries publications already: choose another name`)
    }
    const rival =
      [...this.#senders.values()].find(({ queue }) => queue === parts.queue)?.subsystem ??
      [...channels.keys()].find((other) => other !== subsystem && queueOf(other) === parts.queue)
    if (rival !== undefined) {
      wrong.push(`queue: '${parts.queue}' is the queue of ${rival} too, each would get half of it`)
    }
    if (wrong.length > 0) return this.#wrongShape(place, path, wrong)
    this.#addMigrations(place, path, value)
    this.#senders.set(subsystem, { subsystem, path, ...parts })
    for (const name of parts.notify) this.#notify.set(name, [...(this.#notify.get(name) ?? []), subsystem])
    this.#modules.push({ subsystem, key: 'sender', kind: 'sender', path })
  }

  async #load(
    place: string,
    key: string,
    reference: ModuleReference,
  ): Promise<{ readonly value: unknown; readonly path: string } | null> {
    if (typeof reference !== 'string') return { value: reference, path: '(inline)' }
    const { root } = this.#config
    const target = resolveReference(reference, root, this.#loader)
    if (isFault(target)) return this.#fail(place, target)
    let module: Namespace
    try {
      module = await this.#loader.import(target.specifier, root)
    } catch (cause) {
      const message = `'${reference}' threw while it was loaded: ${describeThrown(cause, this.#loader)}`
      return this.#fail(place, { code: 'ACTION_THREW', message, cause })
    }
    const name = target.exportName ?? choose(module, key)
    if (name !== null && Object.hasOwn(module, name))
      return { value: unwrap(module[name]), path: target.path }
    const names = Object.keys(module)
    const exported = names.length === 0 ? 'nothing' : names.map((other) => `'${other}'`).join(', ')
    const wanted = target.exportName ?? `default or '${camelCase(key)}'`
    const near = didYouMean(target.exportName === null ? null : nearest(target.exportName, names))
    const message = `'${reference}' has no export ${wanted}${near}; it exports ${exported}`
    return this.#fail(place, { code: 'ACTION_NO_EXPORT', message })
  }

  #wrongShape(place: string, path: string, wrong: readonly string[]): void {
    for (const message of wrong)
      this.#fail(place, { code: 'ACTION_WRONG_SHAPE', message: `${path}: ${message}` })
  }

  #fail(key: string, { code, message, cause }: Fault): null {
    this.#problems.push({ code, key, message })
    this.#cause ??= cause
    return null
  }
}

function isWrong(parts: object | readonly string[]): parts is readonly string[] {
  return Array.isArray(parts)
}

/** The default export, or the one that is called like the key. */
function choose(module: Namespace, key: string): string | null {
  return ['default', camelCase(key), key].find((name) => Object.hasOwn(module, name)) ?? null
}

function camelCase(key: string): string {
  return key.replace(/[-_]+([A-Za-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** CommonJS that a compiler made of an ES module has its default one level deeper. */
function unwrap(value: unknown): unknown {
  return isRecord(value) && value['__esModule'] === true ? value['default'] : value
}
