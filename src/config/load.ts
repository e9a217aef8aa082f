import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { cosmiconfig } from 'cosmiconfig'
import { ConfigError, messageOf } from '../errors.ts'
import type { ErrorName } from '../errors.ts'
import { withDeadline } from './deadline.ts'
import { findModule } from './files.ts'
import { readIni } from './ini.ts'
import { LOAD_DEADLINE_MS, createModuleLoader } from './modules.ts'
import type { ModuleLoader, ModuleLoaderOptions } from './modules.ts'
import { didYouMean, nearest } from './near.ts'
import { describeThrown } from './place.ts'
import { examine } from './resolve.ts'
import type { Examined, Resolved } from './resolve.ts'
import type { Flags } from './settings.ts'
import { isRecord, isText } from './values.ts'

export interface LoadOptions {
  /** Where the search begins; it goes on in the folders above. */
  readonly cwd: string
  /** This file and no search; relative to `cwd`. */
  readonly file?: string
  readonly flags?: Flags
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly loader?: Omit<ModuleLoaderOptions, 'root'>
}

export interface Loaded extends Resolved {
  /** Has loaded the config; its modules are to be loaded by the same one. */
  readonly loader: ModuleLoader
}

const NAMES = ['ts', 'js', 'mjs', 'json'].map((ending) => `livemessages.config.${ending}`)
const PACKAGE = 'package.json'
const INI = 'livemessages.ini'

/**
 * Finds, loads and resolves the configuration. Each call loads the config's whole import graph anew.
 * @throws {ConfigError} CONFIG_NOT_FOUND, CONFIG_UNREADABLE, CONFIG_INVALID, INI_UNREADABLE, USAGE
 */
export async function loadConfig(options: LoadOptions): Promise<Loaded> {
  const { problems, ...loaded } = await examineConfig(options)
  if (problems.length > 0) throw new ConfigError(problems, loaded.config.file)
  return loaded
}

/**
 * Finds and loads the configuration, and resolves what can be resolved: `problems` is what `loadConfig` throws.
 * @throws {ConfigError} where there is nothing to look at: CONFIG_NOT_FOUND, CONFIG_UNREADABLE, INI_UNREADABLE
 */
export async function examineConfig({
  cwd,
  file: asked,
  flags = {},
  env = {},
  loader: options,
}: LoadOptions): Promise<Loaded & Examined> {
  const file = asked === undefined ? await search(cwd) : explicit(cwd, asked)
  const root = path.dirname(file)
  const loader = createModuleLoader({ ...options, root })
  const config = await read(file, loader, options?.deadlineMs ?? LOAD_DEADLINE_MS)
  const ini = await findIni(config, flags.ini === undefined ? null : path.resolve(cwd, flags.ini), root)
  return { ...examine({ flags, env, config, ini }, { root, file }), loader }
}

/** The nearest config file, in the folder or one above it. */
async function search(cwd: string): Promise<string> {
  // What a module throws while it loads may look like "no such file" to cosmiconfig, which then goes on searching:
  // so it only finds, and the loading is done here.
  const found = (): object => ({})
  const explorer = cosmiconfig('livemessages', {
    searchPlaces: [...NAMES, PACKAGE],
    loaders: { '.ts': found, '.js': found, '.mjs': found },
    ignoreEmptySearchPlaces: false,
    cache: false,
  })
  for (let folder = path.resolve(cwd); ; folder = path.dirname(folder)) {
    try {
      const result = await explorer.search(folder)
      if (result) return result.filepath
    } catch (error) {
      const broken = isRecord(error) && isText(error['filepath']) ? error['filepath'] : folder
      throw fault('CONFIG_UNREADABLE', broken, messageOf(error).split('\n', 1)[0] ?? '')
    }
    if (path.dirname(folder) === folder) break
  }
  const near = nearest('livemessages.config.ts', await namesIn(cwd))
  throw fault(
    'CONFIG_NOT_FOUND',
    cwd,
    `no livemessages.config.{ts,js,mjs,json} here or in a folder above${didYouMean(near)}: ` +
      "'livemessage init' writes one to start from, '-c <file>' names another",
  )
}

function explicit(cwd: string, asked: string): string {
  const target = path.resolve(cwd, asked)
  const found = findModule(target)
  if (found && 'file' in found && /\.([cm]?[jt]s|json)$/.test(found.file)) return found.file
  const why = found === null ? 'no such file' : 'expected a file that ends in .ts, .js, .mjs or .json'
  throw fault('CONFIG_NOT_FOUND', target, `${why}: 'livemessage init' writes a config to start from`)
}

/** What the file says, be it by a function. */
async function read(file: string, loader: ModuleLoader, deadlineMs: number): Promise<unknown> {
  const module = await attempt(() => loader.import(file, path.dirname(file)))
  if (path.basename(file) === PACKAGE) {
    const whole = module['default']
    return isRecord(whole) ? whole['livemessages'] : undefined
  }
  if (!('default' in module)) {
    const names = Object.keys(module)
    const got = names.length === 0 ? 'no exports' : `only ${names.map((name) => `'${name}'`).join(', ')}`
    throw fault(
      'CONFIG_INVALID',
      file,
      `expected a default export, got ${got}: export default defineConfig({ … })`,
    )
  }
  const config = module['default']
  if (typeof config !== 'function') return config
  const call = async (): Promise<unknown> => config()
  return attempt(() => withDeadline(call(), deadlineMs, 'the exported function has not finished'))

  async function attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw fault('CONFIG_UNREADABLE', file, describeThrown(error, loader), error)
    }
  }
}

/** The INI section: `--ini` before the config's `ini` before the file beside the config. */
async function findIni(config: unknown, flag: string | null, root: string) {
  const said = isRecord(config) && isText(config['ini']) ? path.resolve(root, config['ini']) : null
  const file = flag ?? said ?? path.join(root, INI)
  const section = await readIni(file, (flag ?? said) !== null)
  return section === null ? null : { file, section }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch {
    // A folder that can't be read has no near miss to offer; that there is no config is said all the same.
    return []
  }
}

function fault(code: ErrorName, where: string, message: string, cause?: unknown): ConfigError {
  const error = new ConfigError([{ code, key: 'config', message }], where)
  if (cause !== undefined) error.cause = cause
  return error
}
