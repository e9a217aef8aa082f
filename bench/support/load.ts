import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { OTHER_CORE } from './process.ts'

const run = promisify(execFile)
const FOLDER = fileURLToPath(new URL('../load/', import.meta.url))
const BINARY = `${FOLDER}load`

/** Nanoseconds. */
export interface Quantiles {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** What one measured stretch gave. All counts are of the window, warm-up excluded. */
export interface Measured {
  readonly event: 'measured'
  /** From the first publication to the last delivery. */
  readonly seconds: number
  readonly sent: number
  readonly failed: number
  readonly expected: number
  readonly received: number
  /** Deliveries whose number did not follow the one before. */
  readonly disordered: number
  readonly unstamped: number
  /** Payload bytes of the deliveries. */
  readonly bytes: number
  readonly reads: number
  /** The most publications that were sent and not yet delivered to everybody. */
  readonly lag: number
  /** CPU seconds of the server and of the load generator. */
  readonly serverCpu: number
  readonly loadCpu: number
  /** CPU seconds of the whole machine. */
  readonly machineCpu: number
  /** From the publisher's clock in the data to the read that brought it. */
  readonly latency: Quantiles
  /** HTTP: from the request to its answer. */
  readonly answers: Quantiles
  readonly closed: number
  readonly errors: number
  readonly error: string
}

export interface Opened {
  readonly event: 'opened' | 'failed'
  readonly wanted: number
  readonly open: number
  readonly answered: number
  /** Answers that say so, and hold as many messages as were missed, numbered without a gap. */
  readonly recovered: number
  /** In all answers together. */
  readonly messages: number
  /** From the first connection's beginning to the last one's answer. */
  readonly seconds: number
  readonly error: string
}

/** What subscribers may speak beside raw WebSocket. */
export type Speech = 'sse' | 'poll' | 'socketio'

/** How each says which channel it wants, and what it waits for. */
const SPEECHES: Record<Speech, (channel: string) => string> = {
  sse: (channel) => `speak=sse path=/sse?channel=${channel} answer=welcome`,
  poll: (channel) => `speak=poll path=/poll?wait=60&channel=${channel} answer="cursor"`,
  socketio: (channel) => {
    const [subsystem, rest] = channel.split(':')
    return `speak=socketio path=/socket.io/?EIO=4&transport=websocket answer=,0[ frame=/${subsystem} ${rest}`
  },
}

type Answer = Measured | Opened | { readonly event: 'closed' }

export interface RecoverOptions {
  readonly since: string
  /** Publications that each must get. */
  readonly missed: number
}

export interface PublishOptions {
  readonly channel: string
  readonly seconds: number
  readonly warmup: number
  /** Publications under way at once; counts where `rate` is not given. */
  readonly flight?: number
  /** Publications a second, evenly spaced. */
  readonly rate?: number
  readonly size?: number
  /** Bytes that gather at a subscriber before it reads: less work for the load, no true latencies. */
  readonly lowat?: number
}

export interface PostOptions extends Omit<PublishOptions, 'flight' | 'lowat'> {
  readonly connections: number
  /** How many channels `%d` goes round. */
  readonly spread?: number
  /** Deliveries that each publication must cause. */
  readonly fan: number
}

export interface CallOptions {
  /** One frame at a time on each. */
  readonly connections: number
  /** @default '/ws' */
  readonly path?: string
  /** `%d`: a number, going round `spread`. */
  readonly frame: string
  readonly spread?: number
  readonly seconds: number
  readonly warmup: number
}

/** Compiles the load generator where its sources are newer than the binary. */
export async function buildLoad(): Promise<void> {
  const sources = (await readdir(FOLDER)).filter((name) => name.endsWith('.c')).map((name) => FOLDER + name)
  const times = await Promise.all(
    [...sources, `${FOLDER}load.h`].map(async (file) => (await stat(file)).mtimeMs),
  )
  const built = await stat(BINARY).then(
    (found) => found.mtimeMs,
    () => 0,
  )
  if (built > Math.max(...times)) return
  try {
    await run('cc', ['-O2', '-Wall', '-Wextra', '-o', BINARY, ...sources])
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      throw new Error('the bench needs a C compiler as `cc` (Debian: apt-get install gcc libc6-dev)', {
        cause: error,
      })
    throw error
  }
}

/** One load generator process: subscribers, a publisher, and the measuring of both. */
export class Load {
  readonly #child: ChildProcess
  readonly #waiting: { resolve(answer: Answer): void; reject(error: Error): void }[] = []
  #error = ''

  /** `pid`: whose CPU time is measured. */
  constructor(port: number, pid: number) {
    const command = ['-c', OTHER_CORE, BINARY, '127.0.0.1', String(port), String(pid)]
    this.#child = spawn('taskset', command, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#error += chunk.toString()))
    this.#child.on('error', (error) => this.#fail(error))
    this.#child.on('close', (code) => this.#fail(new Error(this.#error || `load ended with ${code}`)))
    createInterface(this.#child.stdout!).on('line', (line) => {
      const answer: Answer = JSON.parse(line)
      this.#waiting.shift()?.resolve(answer)
    })
  }

  /** Opens connections; with a channel each subscribes to it (`%d`: its number) and has been answered. */
  async open(count: number, channel?: string): Promise<void> {
    const frame = channel === undefined ? '' : ` ${subscribe(channel)}`
    opened(await this.#ask(`open count=${count} path=/ws${frame}`))
  }

  /** Opens subscribers that don't speak raw WebSocket. */
  async openOther(count: number, speech: Speech, channel: string): Promise<void> {
    opened(await this.#ask(`open count=${count} ${SPEECHES[speech](channel)}`))
  }

  /** Opens connections all at once, each with a cursor. */
  async recover(count: number, channel: string, { since, missed }: RecoverOptions): Promise<Opened> {
    const frame = subscribe(channel, since)
    return opened(await this.#ask(`open count=${count} ramp=${count} path=/ws missed=${missed} ${frame}`))
  }

  async subscribe(channel: string): Promise<void> {
    opened(await this.#ask(`send ${subscribe(channel)}`))
  }

  /** Publishes over one WebSocket. */
  publish(options: PublishOptions): Promise<Measured> {
    return this.#measure('publish', { ...options })
  }

  /** Publishes over HTTP, one request at a time on each connection. */
  post(options: PostOptions): Promise<Measured> {
    return this.#measure('post', { ...options })
  }

  /** Sends frames over WebSockets that nobody else uses, each when the one before is answered. */
  call({ frame, ...options }: CallOptions): Promise<Measured> {
    return this.#measure('call', { ...options, frame })
  }

  /** Counts what somebody else publishes; `start` is called when it counts. */
  async receive(expect: number, deadline: number, start: () => Promise<void>): Promise<Measured> {
    const measured = this.#measure('receive', { expect, deadline })
    const [result] = await Promise.all([measured, start()])
    return result
  }

  /** Closes all connections and ends the process. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const gone = new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.stdin?.end('close\n')
    await gone
  }

  async #measure(command: string, words: Record<string, string | number | undefined>): Promise<Measured> {
    const text = Object.entries(words).flatMap(([key, value]) =>
      value === undefined ? [] : `${key}=${value}`,
    )
    const answer = await this.#ask(`${command} ${text.join(' ')}`)
    if (answer.event !== 'measured') throw new Error(`load: expected a measurement, got ${answer.event}`)
    return answer
  }

  #ask(command: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#child.stdin?.write(`${command}\n`)
    })
  }

  #fail(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error)
  }
}

function subscribe(channel: string, since?: string): string {
  const frame = { type: 'subscribe', id: 1, channel, since }
  return `answer=subscribed frame=${JSON.stringify(frame)}`
}

function opened(answer: Answer): Opened {
  if (answer.event === 'opened') return answer
  throw new Error(`load: not all connections opened: ${JSON.stringify(answer)}`)
}
