import { realpathSync, statSync } from 'node:fs'
import path from 'node:path'

/** Endings that modules may have, in the order in which they are tried where none is written. */
export const ENDINGS = ['.ts', '.js', '.mjs', '.mts', '.cjs', '.cts', '.json'] as const

export type Found = { readonly file: string } | { readonly folder: string } | null

/**
 * The module at a path: the file itself, the `.ts` where a `.js` is meant that tsc would make, the file without its
 * ending, the `index` of a folder. A folder without one is given as such; null: nothing there.
 */
export function findModule(target: string): Found {
  const kind = kindOf(target)
  if (kind === 'file') return { file: realpathSync(target) }
  const typescript = target.replace(/\.([cm]?)js$/, '.$1ts')
  for (const file of [typescript, ...ENDINGS.map((ending) => target + ending)]) {
    if (kindOf(file) === 'file') return { file: realpathSync(file) }
  }
  if (kind !== 'folder') return null
  for (const ending of ENDINGS) {
    const file = path.join(target, `index${ending}`)
    if (kindOf(file) === 'file') return { file: realpathSync(file) }
  }
  return { folder: target }
}

/** Whether a file is a package's and not the user's own. */
export function isPackaged(file: string): boolean {
  return file.split(path.sep).includes('node_modules')
}

function kindOf(target: string): 'file' | 'folder' | null {
  const stat = statSync(target, { throwIfNoEntry: false })
  if (stat === undefined) return null
  return stat.isDirectory() ? 'folder' : 'file'
}
