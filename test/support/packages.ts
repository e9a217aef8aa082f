import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A program (or a library) that tests run, and Debian's package that has it. */
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
export const HAPROXY: Program = { name: 'haproxy', package: 'haproxy', folders: ['/usr/sbin'] }
export const NGINX: Program = { name: 'nginx', package: 'nginx-light', folders: ['/usr/sbin'] }
export const APACHE: Program = { name: 'apache2', package: 'apache2-bin', folders: ['/usr/sbin'] }
export const OPENSSL: Program = { name: 'openssl', package: 'openssl' }
/** Modules of Debian's own Python (`/usr/bin/python3`). */
const PYTHON_MODULES = ['/usr/lib/python3/dist-packages']
export const PYTHON_SOCKETIO: Program = {
  name: 'socketio',
  package: 'python3-socketio',
  folders: PYTHON_MODULES,
}
/** What it needs for polling, and for WebSockets. */
export const PYTHON_REQUESTS: Program = {
  name: 'requests',
  package: 'python3-requests',
  folders: PYTHON_MODULES,
}
export const PYTHON_WEBSOCKET: Program = {
  name: 'websocket',
  package: 'python3-websocket',
  folders: PYTHON_MODULES,
}
export const PYTHON_WEBSOCKETS: Program = {
  name: 'websockets',
  package: 'python3-websockets',
  folders: PYTHON_MODULES,
}
/** Publishers of the guides. */
export const PYTHON_PIKA: Program = { name: 'pika', package: 'python3-pika', folders: PYTHON_MODULES }
export const PYTHON_PSYCOPG2: Program = {
  name: 'psycopg2',
  package: 'python3-psycopg2',
  folders: PYTHON_MODULES,
}
export const PYTHON_DJANGO: Program = { name: 'django', package: 'python3-django', folders: PYTHON_MODULES }
export const PYTHON_CELERY: Program = { name: 'celery', package: 'python3-celery', folders: PYTHON_MODULES }
/** Ruby's are spread over several folders, by their versions: what dpkg knows of them has one. */
const DEBIAN_INFO = ['/var/lib/dpkg/info']
export const RUBY_PG: Program = { name: 'ruby-pg.list', package: 'ruby-pg', folders: DEBIAN_INFO }
export const RUBY_BUNNY: Program = { name: 'ruby-bunny.list', package: 'ruby-bunny', folders: DEBIAN_INFO }
export const RUBY_ACTIVERECORD: Program = {
  name: 'ruby-activerecord.list',
  package: 'ruby-activerecord',
  folders: DEBIAN_INFO,
}
export const PHP: Program = { name: 'php', package: 'php-cli' }
export const SCRIPT: Program = { name: 'script', package: 'bsdutils' }

const ALL = [
  RABBITMQ,
  CHROMIUM,
  PSQL,
  CURL,
  PGBOUNCER,
  HAPROXY,
  NGINX,
  APACHE,
  OPENSSL,
  PYTHON_SOCKETIO,
  PYTHON_REQUESTS,
  PYTHON_WEBSOCKET,
  PYTHON_WEBSOCKETS,
  PYTHON_PIKA,
  PYTHON_PSYCOPG2,
  PYTHON_DJANGO,
  PYTHON_CELERY,
  RUBY_PG,
  RUBY_BUNNY,
  RUBY_ACTIVERECORD,
  PHP,
  SCRIPT,
]

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
