import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { holds, type LogLine } from './daemon.ts'
import { type Teardown, until, within } from './wait.ts'

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))

/** The package as it is installed: built from the sources of this moment, in a folder of its own. */
export interface Installation {
  readonly folder: string
  /** Runs the command to its end. */
  run(args: readonly string[], options?: RunOptions): Promise<Ended>
  /** Starts `livemessage start …`; resolves when it listens. It is killed at teardown. */
  start(t: Teardown, args: readonly string[], options?: RunOptions): Promise<RunningDaemon>
  /** Starts any command and does not wait. */
  spawn(t: Teardown, args: readonly string[], options?: RunOptions): Running
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  /** The command in front, in place of this Node: `['setpriv', '--reuid=65534', …, process.execPath]`. */
  readonly through?: readonly string[]
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly process: ChildProcess
  readonly stdout: string
  readonly stderr: string
  readonly ended: Promise<Ended>
  /** Waits until this has come on standard output or standard error. */
  said(text: string | RegExp, deadlineMs?: number): Promise<void>
}

export interface RunningDaemon extends Running {
  readonly url: string
  readonly ws: string
  readonly port: number
  readonly lines: readonly LogLine[]
  logged(fields: Readonly<Record<string, unknown>>): Promise<LogLine>
  kill(signal: NodeJS.Signals): void
}

/** Builds the package; its folder goes at teardown. Everybody may read it. */
export async function install(t: Teardown): Promise<Installation> {
  const base = await mkdtemp(path.join(tmpdir(), 'livemessages-package-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  await chmod(base, 0o755)
  const folder = path.join(base, 'livemessages')
  await mkdir(folder)
  for (const name of ['bin', 'client', 'package.json']) {
    await cp(path.join(REPOSITORY, name), path.join(folder, name), { recursive: true })
  }
  const packages = path.join(REPOSITORY, 'node_modules')
  if (await isOpen(packages)) await symlink(packages, path.join(folder, 'node_modules'))
  else await execute('cp', ['-a', packages, folder])
  const tsc = path.join(REPOSITORY, 'node_modules', 'typescript', 'bin', 'tsc')
  const args = [
    tsc,
    '-p',
    path.join(REPOSITORY, 'tsconfig.build.json'),
    '--outDir',
    path.join(folder, 'dist'),
  ]
  await execute(process.execPath, args).catch((error: unknown) => {
    // Types are for `npm run check`: what can be emitted is.
    if (!existsSync(path.join(folder, 'dist', 'src', 'cli', 'main.js'))) throw error
  })
  return installed(path.join(folder, 'bin', 'livemessage.js'))
}

/** For `env`: the test runner puts its own module loader into whatever Node is spawned, TypeScript's compiler too. */
const PLAIN_NODE = ['-u', 'NODE_OPTIONS']

/** Runs a program to its end. */
export function execute(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly timeout?: number } = {},
): Promise<{ readonly stdout: string }> {
  return promisify(execFile)('env', [...PLAIN_NODE, command, ...args], {
    ...options,
    env: cleanEnvironment(),
  })
}

/** Whether every user may go there: a clone in a private home is another matter. */
async function isOpen(folder: string): Promise<boolean> {
  const above = path.dirname(folder)
  return ((await stat(folder)).mode & 0o005) === 0o005 && (above === folder || (await isOpen(above)))
}

/** The command at this path, wherever it was installed. */
export function installed(bin: string): Installation {
  const begin = (args: readonly string[], options?: RunOptions): Child => new Child(bin, args, options)
  return {
    folder: path.dirname(path.dirname(bin)),
    run: async (args, options) => {
      const child = begin(args, options)
      try {
        return await within(`the end of livemessage ${args.join(' ')}`, child.ended)
      } finally {
        await child.end()
      }
    },
    spawn: (t, args, options) => {
      const child = begin(args, options)
      t.teardown(() => child.end())
      return child
    },
    start: async (t, args, options) => {
      const child = begin(['start', ...args], options)
      t.teardown(() => child.end())
      return child.listening()
    },
  }
}

/** A folder with these files, for a project of a user's; it goes at teardown. */
export async function project(t: Teardown, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-project-'))
  // An embedded server that has just ended may still be writing its last words.
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }))
  await chmod(folder, 0o755)
  for (const [name, text] of Object.entries(files)) await put(path.join(folder, name), text)
  return folder
}

export async function put(file: string, text: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, text)
}

/**
 * A free port below those of outgoing connections, for what is to be started on it more than once: a port that
 * uWebSockets.js chose itself can't be listened on again before its last connections are forgotten, a minute later.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(12_000, 32_000)
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
}

class Child implements RunningDaemon {
  readonly process: ChildProcess
  readonly ended: Promise<Ended>
  stdout = ''
  stderr = ''
  port = 0

  constructor(bin: string, args: readonly string[], options: RunOptions = {}) {
    const { cwd = tmpdir(), env = {}, input, through = [process.execPath] } = options
    this.process = spawn('env', [...PLAIN_NODE, ...through, bin, ...args], {
      cwd,
      env: { ...cleanEnvironment(), ...env },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    })
    if (input !== undefined) this.process.stdin?.end(input)
    this.process.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()))
    this.process.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()))
    this.ended = new Promise((resolve, reject) => {
      this.process.once('error', reject)
      this.process.once('close', (code, signal) => {
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr })
      })
    })
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get ws(): string {
    return `ws://127.0.0.1:${this.port}/ws`
  }

  get lines(): readonly LogLine[] {
    return this.stdout
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as LogLine)
  }

  async listening(): Promise<this> {
    const died = this.ended.then(({ code, stdout, stderr }) => {
      throw new Error(`the daemon ended with ${code}:\n${stdout}${stderr}`)
    })
    const { address } = await Promise.race([this.logged({ msg: 'listening' }), died])
    this.port = (address as { port?: number }).port ?? 0
    return this
  }

  logged(fields: Readonly<Record<string, unknown>>): Promise<LogLine> {
    const find = () => this.lines.find((line) => holds(line, fields))
    return until(`a line with ${JSON.stringify(fields)} in:\n${this.stdout}`, find)
  }

  async said(text: string | RegExp, deadlineMs?: number): Promise<void> {
    const find = (): boolean => {
      const all = this.stdout + this.stderr
      return typeof text === 'string' ? all.includes(text) : text.test(all)
    }
    await until(`'${text.toString()}' from the command`, find, deadlineMs)
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  async end(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    this.process.kill('SIGTERM')
    const killed = setTimeout(() => this.process.kill('SIGKILL'), 8000)
    await within('the command to end', this.ended)
    clearTimeout(killed)
  }
}

/** Without what the settings of whoever runs the tests would change. */
function cleanEnvironment(): Record<string, string | undefined> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(LIVEMESSAGES_|NODE_ENV$|NODE_OPTIONS$|_?TAP|NO_COLOR$|FORCE_COLOR$)/.test(name),
  )
  return Object.fromEntries(kept)
}
