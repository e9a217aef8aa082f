import { readFileSync, realpathSync } from 'node:fs'
import { createRequire, isBuiltin } from 'node:module'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import vm from 'node:vm'
import { withDeadline } from './deadline.ts'
import { findModule, isPackaged } from './files.ts'
import { createTransformer } from './transform.ts'
import { isRecord } from './values.ts'

/** What a module exports, by name. */
export type Namespace = Readonly<Record<string, unknown>>

/**
 * Loads the user's own modules, TypeScript included, each once. Another loader loads them anew with their whole
 * import graph: that is how a running daemon takes changed ones. Packages are Node's, and are loaded once a process.
 */
export interface ModuleLoader {
  /**
   * Imports a path, a `file:` URL or a package, as an import in a file of that folder would. `livemessages` is
   * always this very package, however the command was installed.
   */
  import(specifier: string, parentDir: string): Promise<Namespace>
  /** The absolute path (for a builtin: the name) that the import would load. @throws when there is none */
  resolve(specifier: string, parentDir: string): string
  /** Every file of the user's that was loaded, or tried, so far. */
  readonly files: ReadonlySet<string>
}

export interface ModuleLoaderOptions {
  /** The folder of the config. */
  readonly root: string
  /** Whether transformed modules are kept on disk. @default true */
  readonly cache?: boolean
  /** Milliseconds that an import may take, what modules await at their top included. @default 30000 */
  readonly deadlineMs?: number
  /** Told of each of the user's files before it is loaded, so that a watcher hears of those that fail too. */
  readonly onFile?: (file: string) => void
  /** What `livemessages` exports, for those who bring it along. @default this package's own index */
  readonly self?: () => Promise<Namespace>
}

export const LOAD_DEADLINE_MS = 30_000

export function createModuleLoader(options: ModuleLoaderOptions): ModuleLoader {
  return new Loader(options)
}

/** A module of the user's. */
interface Module {
  readonly file: string
  exports: unknown
  /** What `exports` was before: still it, and still empty, the module exports nothing. */
  readonly untouched: object
  state: 'evaluating' | 'done' | 'failed'
  error?: unknown
  /** Settles with the evaluation. */
  evaluated: Promise<void>
  /** The modules whose evaluation it is waiting for. */
  readonly waitsFor: Set<Module>
}

const SOURCES = new URL('..', import.meta.url)
const OWN_ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js'

class Loader implements ModuleLoader {
  readonly files = new Set<string>()
  readonly #modules = new Map<string, Module>()
  readonly #transformer
  readonly #deadlineMs
  readonly #self
  readonly #onFile

  constructor({
    root,
    cache = true,
    deadlineMs = LOAD_DEADLINE_MS,
    self = importSelf,
    onFile = () => {},
  }: ModuleLoaderOptions) {
    this.#transformer = createTransformer(root, cache)
    this.#deadlineMs = deadlineMs
    this.#self = self
    this.#onFile = onFile
  }

  import(specifier: string, parentDir: string): Promise<Namespace> {
    const work = this.#import(specifier, path.join(parentDir, '_'), null)
    return withDeadline(work, this.#deadlineMs, `'${specifier}' has not finished loading`)
  }

  resolve(specifier: string, parentDir: string): string {
    return this.#resolve(specifier, path.join(parentDir, '_'))
  }

  async #import(specifier: string, parentFile: string, parent: Module | null): Promise<Namespace> {
    if (specifier === 'livemessages') return this.#self()
    const target = this.#resolve(specifier, parentFile)
    if (!isOwnModule(target)) return importNative(target)
    const module = this.#modules.get(target) ?? this.#start(target)
    // In a circle one of them has to go on with what the other has exported so far.
    if (module.state === 'evaluating' && !(parent && waits(module, parent))) {
      parent?.waitsFor.add(module)
      try {
        await module.evaluated
      } finally {
        parent?.waitsFor.delete(module)
      }
    }
    if (module.state === 'failed') throw module.error
    return namespaceOf(module)
  }

  #start(file: string): Module {
    const module = this.#create(file)
    module.evaluated = Promise.resolve()
      .then(() => this.#run(module, false))
      .then(
        () => {
          module.state = 'done'
        },
        (error: unknown) => {
          module.state = 'failed'
          module.error = error
        },
      )
    return module
  }

  /** `require` of one of the user's modules: at once, and therefore without a top-level await. */
  #require(specifier: string, parentFile: string): unknown {
    const target = /^\.{0,2}\//.test(specifier) ? this.#resolve(specifier, parentFile) : null
    if (target === null || !isOwnModule(target)) return createRequire(parentFile)(specifier)
    const known = this.#modules.get(target)
    if (known?.state === 'failed') throw known.error
    if (known) return known.exports
    const module = this.#create(target)
    try {
      this.#run(module, true)
      module.state = 'done'
    } catch (error) {
      module.state = 'failed'
      module.error = error
      throw error
    }
    return module.exports
  }

  #create(file: string): Module {
    const untouched = {}
    const module: Module = {
      file,
      exports: untouched,
      untouched,
      state: 'evaluating',
      evaluated: Promise.resolve(),
      waitsFor: new Set(),
    }
    this.files.add(file)
    this.#onFile(file)
    this.#modules.set(file, module)
    return module
  }

  /** The transformer's output is the body of a function of these names. */
  #run(module: Module, sync: boolean): unknown {
    const { file } = module
    const source = readFileSync(file, 'utf8')
    if (file.endsWith('.json')) {
      module.exports = JSON.parse(source)
      return undefined
    }
    const code = this.#transformer.transform(file, source, { sync })
    const names = 'exports, require, module, __filename, __dirname, jitiImport, jitiESMResolve'
    const body = `(${sync ? '' : 'async '}function (${names}) { ${code}\n})`
    const run: unknown = vm.runInThisContext(body, { filename: file })
    if (typeof run !== 'function') return undefined
    const require = Object.assign((id: string) => this.#require(id, file), {
      resolve: (id: string) => this.#resolve(id, file),
    })
    const jitiImport = (specifier: unknown) => this.#import(String(specifier), file, module)
    const jitiESMResolve = (specifier: unknown) => this.#urlOf(String(specifier), file)
    const folder = path.dirname(file)
    const { exports } = module
    return run.call(exports, exports, require, module, file, folder, jitiImport, jitiESMResolve)
  }

  #urlOf(specifier: string, parentFile: string): string {
    const target = this.#resolve(specifier, parentFile)
    return isBuiltin(target) ? target : pathToFileURL(target).href
  }

  #resolve(specifier: string, parentFile: string): string {
    if (isBuiltin(specifier)) return specifier
    if (specifier === 'livemessages') return fileURLToPath(new URL(`index${OWN_ENDING}`, SOURCES))
    const own = /^livemessages\/(actions\/.+)$/.exec(specifier)?.[1]
    const local = specifier.startsWith('file:')
      ? fileURLToPath(specifier)
      : own === undefined
        ? specifier
        : fileURLToPath(new URL(`../${own}`, SOURCES))
    if (
      own === undefined &&
      !/^\.{0,2}\//.test(local) &&
      local !== '.' &&
      local !== '..' &&
      !path.isAbsolute(local)
    ) {
      const resolved = this.#transformer.resolve(specifier, parentFile)
      return resolved.startsWith('file:') ? realpathSync(fileURLToPath(resolved)) : resolved
    }
    const found = findModule(path.resolve(path.dirname(parentFile), local))
    if (found && 'file' in found) return found.file
    throw new Error(`Cannot find module '${specifier}' imported from ${parentFile}`)
  }
}

/** The user's own files are loaded here, and TypeScript wherever it is; the rest, this package included, is Node's. */
function isOwnModule(file: string): boolean {
  if (isBuiltin(file)) return false
  const isSource = /\.[cm]?[jt]s$|\.json$/.test(file)
  if (!isSource || file.startsWith(fileURLToPath(SOURCES))) return false
  return !isPackaged(file) || /\.[cm]?ts$/.test(file)
}

/** Whether a module's evaluation waits for the other's, be it through others. */
function waits(module: Module, other: Module, seen = new Set<Module>()): boolean {
  if (module === other) return true
  if (seen.has(module)) return false
  seen.add(module)
  return [...module.waitsFor].some((next) => waits(next, other, seen))
}

/** As Node gives CommonJS to an `import`: the whole as `default`, and its keys. */
function namespaceOf({ exports, untouched }: Module): Namespace {
  if (isRecord(exports) && exports['__esModule'] === true) return exports
  if (exports === untouched && Object.keys(untouched).length === 0) return {}
  const keys = typeof exports === 'function' || isRecord(exports) ? Object.entries(exports) : []
  return { ...Object.fromEntries(keys), default: exports }
}

async function importNative(target: string): Promise<Namespace> {
  const namespace: Namespace = await import(isBuiltin(target) ? target : pathToFileURL(target).href)
  return namespace
}

function importSelf(): Promise<Namespace> {
  return importNative(fileURLToPath(new URL(`index${OWN_ENDING}`, SOURCES)))
}
