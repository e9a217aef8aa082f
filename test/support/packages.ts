import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A program that tests run, and Debian's package that has it. */
interface Program {
  readonly name: string
  readonly package: string
  /** Where it may be beside PATH. */
  readonly folders?: readonly string[]
}

export const RABBITMQ: Program = {
  name: 'rabbitmq-server',
  package: 'rabbitmq-server',
  // Debian's script on PATH insists on its own user and node; the server's own does not.
  folders: ['/usr/lib/rabbitmq/bin'],
}
export const CHROMIUM: Program = { name: 'chromium', package: 'chromium' }
export const PSQL: Program = { name: 'psql', package: 'postgresql-client' }
export const CURL: Program = { name: 'curl', package: 'curl' }
export const PGBOUNCER: Program = { name: 'pgbouncer', package: 'pgbouncer', folders: ['/usr/sbin'] }
export const SCRIPT: Program = { name: 'script', package: 'bsdutils' }

const ALL = [RABBITMQ, CHROMIUM, PSQL, CURL, PGBOUNCER, SCRIPT]

/** The program's path; null where it is not installed. */
export function find({ name, folders = [] }: Program): string | null {
  const path = (process.env['PATH'] ?? '').split(delimiter)
  return [...folders, ...path].map((folder) => join(folder, name)).find((file) => existsSync(file)) ?? null
}

/**
 * Why a test that needs the program can't run, for tap's `skip`; false where it can. `unless` names an environment
 * variable that points to another one.
 * @throws with `CI=true`, where a skip is a failure
 */
export function skipWithout(program: Program, unless?: string): string | false {
  if (find(program) !== null || (unless !== undefined && process.env[unless])) return false
  const reason =
    `${program.name} is not installed (Debian: apt-get install ${program.package})` +
    (unless === undefined ? '' : `, and ${unless} names none`)
  if (process.env['CI'] === 'true') throw new Error(reason)
  return reason
}

/** On Debian as root: installs what the tests need and is missing. Elsewhere it does nothing. */
export async function installMissing(programs: readonly Program[] = ALL): Promise<void> {
  const missing = programs.filter((program) => find(program) === null).map((program) => program.package)
  if (missing.length === 0 || process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return
  process.stderr.write(`installing ${missing.join(', ')}\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await run('apt-get', ['update', '-q'], { env })
  await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], {
    env,
    maxBuffer: 64 * 1024 * 1024,
  })
}
