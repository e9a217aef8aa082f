import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile, readlink } from 'node:fs/promises'

/** Another user than the daemon's, for processes that root must not run itself. */
export interface ServerUser {
  readonly uid: number
  readonly gid: number
}

/** What a finished command said. */
export interface Outcome {
  /** The exit code; 128 + n after signal n is not told apart from others: null. */
  readonly code: number | null
  /** Standard output and error, in the order of arrival. */
  readonly output: string
}

/**
 * The environment of the database's processes: they run as another user at times, whom the daemon's secrets
 * (`LIVEMESSAGES_*`) are no business of, and `PG*` variables would change what the commands do.
 */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = ['PATH', 'TZ', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SystemRoot']
  const environment: NodeJS.ProcessEnv = { LC_ALL: 'C' }
  for (const name of kept) if (process.env[name] !== undefined) environment[name] = process.env[name]
  return environment
}

/** Runs a shell script to its end, as `user` where one is given. Rejects when it can't even be started. */
export function runScript(
  script: string,
  args: readonly string[],
  options: { user: ServerUser | null; input?: string },
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', script, 'livemessages', ...args], {
      ...options.user,
      cwd: '/', // the daemon's own folder may be closed to that user
      env: serverEnvironment(),
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    let output = ''
    const collect = (text: string) => (output += text)
    child.stdout.setEncoding('utf8').on('data', collect)
    child.stderr.setEncoding('utf8').on('data', collect)
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
    child.stdin.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') reject(error) // EPIPE: the script ended without reading; its code says why
    })
    child.stdin.end(options.input ?? '')
  })
}

/** A name beside `file` for what is to become it by a rename: with the process's number, to tell later what was left over. */
export function temporary(file: string): string {
  return `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
}

/** Whether the process runs. One that has ended and was not collected (a container without init) does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return codeOf(error) === 'EPERM' // it is another user's
  }
  try {
    return !/^.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch (error) {
    return codeOf(error) !== 'ESRCH' // ended while being read; ENOENT: no /proc here
  }
}

/**
 * Whether the process is a PostgreSQL server of this data folder, as far as can be seen; where nothing can be
 * seen (no /proc and no ps), a living process is taken for one.
 */
export async function isPostgres(pid: number, data: string): Promise<boolean> {
  if (!isAlive(pid)) return false
  const command = await commandOf(pid)
  if (command === null) return isAlive(pid)
  if (!/\bpostgres\b|\bpostmaster\b/.test(command)) return false
  try {
    return (await readlink(`/proc/${pid}/cwd`)) === data // a server always moves into its data folder
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM')
      return isAlive(pid)
    throw error
  }
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** Lets errors with these codes pass, for `.catch`. */
export function unless(...codes: string[]): (error: unknown) => void {
  return (error) => {
    if (!codes.includes(codeOf(error) ?? '')) throw error
  }
}

async function commandOf(pid: number): Promise<string | null> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ')
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') return null
    const { code, output } = await runScript('ps -o args= -p "$1"', [String(pid)], { user: null })
    return code === 0 && output.trim() !== '' ? output : null
  }
}
