import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ENDINGS, findModule } from '../config/files.ts'
import type { ModuleLoader } from '../config/modules.ts'
import { didYouMean, nearest } from '../config/near.ts'
import type { ErrorName } from '../errors.ts'
import { messageOf } from '../errors.ts'

/** Where a reference leads. */
export interface Target {
  /** What the loader is to import. */
  readonly specifier: string
  /** The export that the reference names; null: the module's own choice. */
  readonly exportName: string | null
  /** For people: an absolute path or the package, `#export` included. */
  readonly path: string
}

/** Why something can't be had; the key is the caller's to say. */
export interface Fault {
  readonly code: ErrorName
  readonly message: string
  readonly cause?: unknown
}

export function isFault(value: Target | Fault): value is Fault {
  return 'code' in value
}

/** Finds the file or package of `./path`, `/path`, `package/path`, each with or without `#export`. */
export function resolveReference(reference: string, root: string, loader: ModuleLoader): Target | Fault {
  // a leading # is a package's own import map
  const hash = reference.lastIndexOf('#')
  const [specifier, exportName] =
    hash > 0 ? [reference.slice(0, hash), reference.slice(hash + 1)] : [reference, null]
  if (exportName === '')
    return { code: 'ACTION_NO_EXPORT', message: `'${reference}' names no export after its #` }
  const suffix = exportName === null ? '' : `#${exportName}`
  if (!isPath(specifier)) {
    const fault = findPackage(specifier, root, loader)
    return fault ?? { specifier, exportName, path: reference }
  }
  const target = specifier.startsWith('file:') ? fileURLToPath(specifier) : path.resolve(root, specifier)
  const found = findModule(target)
  if (found && 'file' in found) return { specifier: found.file, exportName, path: found.file + suffix }
  if (found) {
    const inside = readdirSync(target).filter((name) => ENDINGS.some((ending) => name.endsWith(ending)))
    const names = inside.length === 0 ? '' : `; it holds ${inside.slice(0, 5).join(', ')}`
    return { code: 'ACTION_NOT_A_FILE', message: `'${specifier}' is a folder without an index file${names}` }
  }
  const near = nearPath(target)
  const shown = near !== null && specifier.startsWith('.') ? relativeTo(root, near) : near
  return { code: 'ACTION_NOT_FOUND', message: `no file '${specifier}'${didYouMean(shown)}` }
}

function isPath(specifier: string): boolean {
  return /^\.{1,2}(\/|$)|^file:/.test(specifier) || path.isAbsolute(specifier)
}

function findPackage(specifier: string, root: string, loader: ModuleLoader): Fault | null {
  try {
    loader.resolve(specifier, root)
    return null
  } catch (cause) {
    const file = findModule(path.resolve(root, specifier))
    const why = messageOf(cause).split('\n', 1)[0] ?? ''
    const message =
      file && 'file' in file
        ? `no package '${specifier}'${didYouMean(`./${specifier}`)}`
        : `no package '${specifier}' can be found from ${root} (${why}); a path begins with './'`
    return { code: 'ACTION_NOT_FOUND', message, cause }
  }
}

/** What is there and called nearly the same, folders on the way included. */
function nearPath(target: string): string | null {
  const [wanted, above] = [path.basename(target), path.dirname(target)]
  if (above === target) return null
  const folder = statSync(above, { throwIfNoEntry: false })?.isDirectory() ? above : nearPath(above)
  if (folder === null || !statSync(folder).isDirectory()) return null
  const names = readdirSync(folder)
  if (names.includes(wanted)) return path.join(folder, wanted)
  const stems = new Map(names.map((name) => [path.parse(name).name, name]))
  const near =
    nearest(wanted, names) ??
    stems.get(nearest(wanted, stems.keys()) ?? '') ??
    stems.get(path.parse(wanted).name)
  return near === undefined || near === wanted ? null : path.join(folder, near)
}

function relativeTo(root: string, file: string): string {
  const relative = path.relative(root, file).split(path.sep).join('/')
  return relative.startsWith('.') ? relative : `./${relative}`
}
