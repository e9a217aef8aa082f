import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { chown, mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { find, RABBITMQ, skipWithout } from './packages.ts'
import { within } from './wait.ts'
import type { Teardown } from './wait.ts'

const run = promisify(execFile)

const START_DEADLINE_MS = 90_000
const STOP_DEADLINE_MS = 30_000

/** A RabbitMQ of the test's own, or the one that LIVEMESSAGES_TEST_BROKER_URL names. */
export interface Rabbit {
  readonly url: string
  /** False for a broker that is not ours: it can't be killed, restarted or stopped. */
  readonly own: boolean
  /** Process id of the Erlang VM; 0 while it is down, or where it is not ours. */
  readonly pid: number
  /** `kill -9`; resolves when the process is gone. */
  kill(): Promise<void>
  /** Starts it again, on the same port and data. Resolves once it accepts connections. */
  restart(): Promise<void>
  /** The graceful way down. */
  stop(): Promise<void>
  /** `rabbitmqctl …`; resolves with what it printed. */
  ctl(args: readonly string[]): Promise<string>
  /** Ends everything and deletes the folder. Called at teardown where `startRabbit` was given a test. */
  end(): Promise<void>
}

/** Why there can be no broker here, for tap's `skip`; false where there can be. */
export function rabbitSkip(): string | false {
  return skipWithout(RABBITMQ, 'LIVEMESSAGES_TEST_BROKER_URL')
}

/** Starts a private broker: own node name, ports, folders, epmd. Takes some 7 s. */
export async function startRabbit(t?: Teardown): Promise<Rabbit> {
  const url = process.env['LIVEMESSAGES_TEST_BROKER_URL']
  const rabbit = url ? foreign(url) : await PrivateRabbit.create()
  t?.teardown(() => rabbit.end())
  if (rabbit instanceof PrivateRabbit) {
    try {
      await rabbit.restart()
    } catch (error) {
      await rabbit.end()
      throw error
    }
  }
  return rabbit
}

class PrivateRabbit implements Rabbit {
  readonly own = true
  readonly url: string
  readonly #folder: string
  readonly #bin: string
  readonly #user: { uid: number; gid: number } | null
  readonly #epmdPort: number
  readonly #env: Record<string, string>
  #epmd: ChildProcess | null = null
  #server: ChildProcess | null = null
  #guard: ChildProcess | null = null

  static async create(): Promise<PrivateRabbit> {
    const server = find(RABBITMQ)
    if (server === null) throw new Error('rabbitmq-server is not installed')
    const bin = dirname(server)
    const user = await rabbitUser()
    const folder = await mkdtemp(join(tmpdir(), 'livemessages-rabbitmq-'))
    const home = join(folder, 'home')
    await mkdir(home)
    const [port, distPort, epmdPort] = await freePorts(3)
    // Without plugins and clustering it starts in half the time.
    await writeFile(join(folder, 'enabled_plugins'), '[].\n')
    await writeFile(
      join(folder, 'rabbitmq.conf'),
      `listeners.tcp.1 = 127.0.0.1:${port}\ndisk_free_limit.absolute = 50MB\nlog.file.level = warning\n`,
    )
    if (user) for (const path of [folder, home]) await chown(path, user.uid, user.gid)
    return new PrivateRabbit(bin, user, folder, port!, distPort!, epmdPort!)
  }

  private constructor(
    bin: string,
    user: { uid: number; gid: number } | null,
    folder: string,
    port: number,
    distPort: number,
    epmdPort: number,
  ) {
    this.#bin = bin
    this.#user = user
    this.#folder = folder
    this.#epmdPort = epmdPort
    this.url = `amqp://guest:guest@127.0.0.1:${port}`
    this.#env = {
      PATH: process.env['PATH'] ?? '',
      LANG: 'C.UTF-8',
      HOME: join(folder, 'home'),
      ERL_EPMD_PORT: String(epmdPort),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: `livemessages-${randomBytes(4).toString('hex')}@localhost`,
      RABBITMQ_NODE_PORT: String(port),
      RABBITMQ_DIST_PORT: String(distPort),
      RABBITMQ_MNESIA_BASE: join(folder, 'data'),
      RABBITMQ_LOG_BASE: join(folder, 'log'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      // The start script then becomes the Erlang VM in place of watching it: the child's pid is the broker's.
      RUNNING_UNDER_SYSTEMD: 'true',
    }
  }

  get pid(): number {
    return this.#server?.pid ?? 0
  }

  async restart(): Promise<void> {
    if (this.#server) await this.stop()
    if (!this.#epmd) {
      // In the foreground, as a child: the VM would start one as a daemon that outlives everything.
      const args = ['-port', String(this.#epmdPort), '-address', '127.0.0.1']
      this.#epmd = spawn('epmd', args, { ...this.#options(), stdio: 'ignore' })
      this.#epmd.on('error', () => {}) // the VM starts one of its own then; `end` sends it home
    }
    const server = spawn(join(this.#bin, 'rabbitmq-server'), { ...this.#options(), detached: true })
    this.#server = server
    this.#guardPids()
    let output = ''
    const up = new Promise<void>((resolve, reject) => {
      const read = (chunk: Buffer): void => {
        output = (output + chunk.toString()).slice(-4000)
        if (/completed with \d+ plugins/.test(output)) resolve()
      }
      server.stdout?.on('data', read)
      server.stderr?.on('data', read)
      server.on('error', reject)
      server.on('exit', (code, signal) => {
        if (this.#server === server) this.#server = null
        reject(new Error(`rabbitmq-server ended (${code ?? signal}) with:\n${output}`))
      })
    })
    await within('RabbitMQ to start', up, START_DEADLINE_MS)
  }

  async kill(): Promise<void> {
    await this.#signal('SIGKILL')
  }

  async stop(): Promise<void> {
    await this.#signal('SIGTERM')
  }

  async ctl(args: readonly string[]): Promise<string> {
    const { stdout } = await run(join(this.#bin, 'rabbitmqctl'), ['-q', ...args], this.#options())
    return stdout
  }

  async end(): Promise<void> {
    await this.kill()
    if (this.#epmd?.pid && this.#epmd.exitCode === null && this.#epmd.signalCode === null) {
      const gone = new Promise((resolve) => this.#epmd?.once('exit', resolve))
      this.#epmd.kill('SIGKILL')
      await within('epmd to end', gone, STOP_DEADLINE_MS)
    }
    this.#epmd = null
    this.#guard?.kill('SIGKILL')
    this.#guard = null
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #signal(signal: NodeJS.Signals): Promise<void> {
    const server = this.#server
    if (!server?.pid) return
    const gone = new Promise((resolve) => server.once('exit', resolve))
    // The whole group, helpers of the VM included, when it is to die at once.
    process.kill(signal === 'SIGKILL' ? -server.pid : server.pid, signal)
    await within('RabbitMQ to end', gone, STOP_DEADLINE_MS)
    this.#guardPids()
  }

  /**
   * A test process that is killed runs no teardown: a shell whose stdin is our pipe sees its end and kills
   * what the last line named.
   */
  #guardPids(): void {
    if (!this.#guard) {
      const script =
        'while read -r line; do pids=$line; done; [ -z "$pids" ] || kill -s KILL $pids; rm -rf "$1"'
      this.#guard = spawn('sh', ['-c', script, 'sh', this.#folder], {
        stdio: ['pipe', 'ignore', 'ignore'],
        detached: true,
      })
      this.#guard.on('error', (error) => process.emitWarning(error))
      this.#guard.stdin?.on('error', () => {}) // it was killed before us: nothing is left to guard
      this.#guard.unref()
    }
    const pids = [this.#epmd?.pid, this.#server?.pid && -this.#server.pid].filter(Boolean)
    this.#guard.stdin?.write(`-- ${pids.join(' ')}\n`)
  }

  #options(): { env: Record<string, string>; cwd: string; uid?: number; gid?: number } {
    return { env: this.#env, cwd: this.#folder, ...this.#user }
  }
}

function foreign(url: string): Rabbit {
  const refuse = (): Promise<never> =>
    Promise.reject(new Error('the broker of LIVEMESSAGES_TEST_BROKER_URL is not ours to stop'))
  return {
    url,
    own: false,
    pid: 0,
    kill: refuse,
    restart: refuse,
    stop: refuse,
    ctl: refuse,
    end: () => Promise.resolve(),
  }
}

/** Whom it runs as: itself where we are an ordinary user, else the package's user. */
async function rabbitUser(): Promise<{ uid: number; gid: number } | null> {
  if (process.getuid?.() !== 0) return null
  const line = /^rabbitmq:[^:]*:(\d+):(\d+):/m.exec(await readFile('/etc/passwd', 'utf8'))
  return line ? { uid: Number(line[1]), gid: Number(line[2]) } : null
}

/** Below the range of outgoing connections, so that none of them takes the port while the broker is down. */
async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(12_000, 32_000)
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
