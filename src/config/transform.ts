import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Jiti, createJiti } from 'jiti'
import { isRecord } from './values.ts'

/** Turns a user's module into a script that Node of any version runs, and finds packages as `import` does. */
export interface Transformer {
  /**
   * JavaScript whose imports are calls of `jitiImport` (awaited at the top, unless `sync`) and whose exports are
   * set on `exports`. Lines keep their numbers, so that stacks tell the truth.
   * @throws {SyntaxError} with `place`
   */
  transform(file: string, source: string, options: { readonly sync: boolean }): string
  /** The file, URL or builtin that a package's name leads to. @throws when it leads nowhere */
  resolve(specifier: string, parentFile: string): string
}

/** What doesn't parse. The place is `<file>:<line>`. */
export class ModuleSyntaxError extends SyntaxError {
  readonly place: string

  constructor(message: string, place: string) {
    super(message)
    this.name = 'SyntaxError'
    this.place = place
  }
}

/**
 * @param root the folder of the config: its `node_modules/.cache` keeps transformed modules
 * @param cache `false`: keep nothing
 */
export function createTransformer(root: string, cache: boolean): Transformer {
  // Loading it takes as long as all else here together, and a start with kept modules rarely needs it.
  let loaded: Jiti | undefined
  const jiti = () => (loaded ??= loadJiti(root))
  // jiti's own cache folder under the shared temporary folder can be filled by other users, and throws when it
  // vanishes while the daemon runs
  const store = cache ? createStore(root) : null
  return {
    transform(file, source, { sync }) {
      const name = `${path.basename(file)}-${hash(`${file}\0${sync}`)}`
      const kept = store?.read(name, source)
      if (kept !== undefined) return kept
      const ts = /\.[cm]?tsx?$/.test(file)
      const code = jiti().transform({
        source,
        filename: file,
        ts,
        async: !sync,
        retainLines: true,
        interopDefault: false,
      })
      throwIfBroken(code, file)
      store?.write(name, source, code)
      return code
    },
    resolve: (specifier, parentFile) =>
      jiti().esmResolve(specifier, { parentURL: pathToFileURL(parentFile) }),
  }
}

function loadJiti(root: string): Jiti {
  const api: { createJiti: typeof createJiti } = createRequire(import.meta.url)('jiti')
  return api.createJiti(path.join(root, '_'), {
    fsCache: false,
    moduleCache: false,
    interopDefault: false,
    sourceMaps: false,
    tryNative: false,
    alias: {},
  })
}

const BROKEN = 'exports.__JITI_ERROR__ = '

function throwIfBroken(code: string, file: string): void {
  if (!code.startsWith(BROKEN)) return
  const error: unknown = JSON.parse(code.slice(BROKEN.length))
  if (!isRecord(error)) throw new ModuleSyntaxError('cannot be parsed', file)
  const message = String(error['message']).trim().replace(/\.$/, '')
  throw new ModuleSyntaxError(message, `${file}:${String(error['line'])}`)
}

interface Store {
  read(name: string, source: string): string | undefined
  write(name: string, source: string, code: string): void
}

/** Transformed modules on disk: without it the first start costs some 100 ms more. Null where it can't be kept. */
function createStore(root: string): Store | null {
  const folder = cacheFolder(root)
  if (folder === null) return null
  const { version }: { version: string } = createRequire(import.meta.url)('jiti/package.json')
  const seal = (source: string) => `\n//${hash(`${version}\0${source}`)}\n`
  let writable = true
  return {
    read(name, source) {
      const mark = seal(source)
      try {
        const text = readFileSync(path.join(folder, name), 'utf8')
        return text.endsWith(mark) ? text.slice(0, -mark.length) : undefined
      } catch {
        // Not kept yet, or another user's: then it is transformed.
        return undefined
      }
    },
    write(name, source, code) {
      if (!writable) return
      const file = path.join(folder, name)
      const draft = `${file}.${process.pid}`
      try {
        writeFileSync(draft, code + seal(source), { mode: 0o600 })
        renameSync(draft, file)
      } catch {
        // A full or vanished disk only makes the next start slower: nobody needs to know.
        writable = false
      }
    },
  }
}

function cacheFolder(root: string): string | null {
  for (let folder = root; ; folder = path.dirname(folder)) {
    const modules = path.join(folder, 'node_modules')
    if (existsSync(modules)) {
      const own = path.join(modules, '.cache', 'livemessages')
      if (canMake(own)) return own
      break
    }
    if (path.dirname(folder) === folder) break
  }
  // What is kept is run: a folder that another user could write to is not used.
  const shared = path.join(tmpdir(), `livemessages-${process.getuid?.() ?? 'cache'}`)
  if (!canMake(shared, 0o700)) return null
  const { uid, mode } = lstatSync(shared)
  const isOwn = process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0)
  return isOwn && lstatSync(shared).isDirectory() ? shared : null
}

function canMake(folder: string, mode = 0o777): boolean {
  try {
    mkdirSync(folder, { recursive: true, mode })
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    // Read-only, or not ours: the next folder, or none.
    return false
  }
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}
