import { WebSocket } from 'ws'
import { holds } from './daemon.ts'
import { DEADLINE_MS, type Teardown, within } from './wait.ts'

/** A frame of the server, decoded. */
export type Frame = { readonly type: string } & Readonly<Record<string, unknown>>

/** Fields that a frame must have, or a test of it. */
export type Wanted = Readonly<Record<string, unknown>> | ((frame: Frame) => boolean)

export interface ClientOptions {
  /** Behind `?` in the URL: `{ channel: ['chat:a', 'chat:b'], last: 5 }`, or the raw text. */
  readonly query?: string | Readonly<Record<string, string | number | readonly string[]>>
  readonly headers?: Readonly<Record<string, string>>
  readonly protocols?: readonly string[]
  /** Where it connects from: of this machine, `127.0.0.9`. */
  readonly localAddress?: string
  /** Authenticates with this token before `connect` resolves. */
  readonly token?: string
  /** Reads nothing from the socket until `resume`: a slow client. `connect` then waits for the upgrade only. */
  readonly paused?: boolean
}

/** How a connection ended. */
export interface Closed {
  readonly code: number
  readonly reason: string
}

/** A raw WebSocket client: what a browser has, and what a test needs to see. */
export interface TestClient {
  readonly socket: WebSocket
  /** The `welcome` frame; null with `paused`. */
  readonly welcome: Frame | null
  /** All frames that came, the ones that `next` has given included. */
  readonly frames: readonly Frame[]
  /** Resolves when the connection has ended; never rejects. */
  readonly closed: Promise<Closed>
  /** Sends a frame as JSON; a string or bytes as they are. */
  send(frame: object | string | Buffer): void
  /**
   * The next frame that no other `next` has given: with `wanted`, the first of them that matches; earlier ones
   * stay for others.
   * @throws when none has come by the deadline, or the connection ends first
   */
  next(wanted?: Wanted, deadlineMs?: number): Promise<Frame>
  /** Sends a frame with an id of its own and waits for what answers it, be it an error. */
  ask(frame: Readonly<Record<string, unknown>>): Promise<Frame>
  /** Subscribes and waits for `subscribed`. @throws on an error frame */
  subscribe(channel: string, range?: { since?: string; last?: number }): Promise<Frame>
  /** Calls an action; resolves with the reply's data. @throws {CallError} on an error frame */
  call(action: string, data?: unknown): Promise<unknown>
  /** Frames of this type, or all, that came and that no `next` has given. */
  rest(type?: string): Frame[]
  pause(): void
  resume(): void
  /** Says good-bye; resolves when it is over. */
  close(code?: number): Promise<Closed>
}

/** An error frame in answer to `call` or `subscribe`. */
export class CallError extends Error {
  readonly code: string
  readonly details: unknown

  constructor(frame: Frame) {
    super(String(frame['message']))
    this.name = 'CallError'
    this.code = String(frame['code'])
    this.details = frame['details']
  }
}

/**
 * Connects to a daemon (or to a URL `ws://…`). Resolves when it is welcomed; its end comes with the test's.
 * @throws when the upgrade is refused; the message has the status
 */
export async function connect(
  t: Teardown,
  daemon: { readonly ws: string } | string,
  options: ClientOptions = {},
): Promise<TestClient> {
  const base = typeof daemon === 'string' ? daemon : daemon.ws
  const query = queryOf(options.query)
  const socket = new WebSocket(query === '' ? base : `${base}?${query}`, [...(options.protocols ?? [])], {
    headers: { ...options.headers },
    ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
  })
  const client = new RawClient(socket)
  t.teardown(() => client.end())
  await within('the upgrade', client.opened)
  if (options.paused === true) client.pause()
  else await client.greet()
  if (options.token !== undefined) {
    const answer = await client.ask({ type: 'authenticate', token: options.token })
    if (answer.type === 'error') throw new CallError(answer)
  }
  return client
}

interface Waiter {
  readonly wanted: Wanted | undefined
  readonly give: (frame: Frame) => void
  readonly fail: (error: Error) => void
}

class RawClient implements TestClient {
  readonly socket: WebSocket
  readonly frames: Frame[] = []
  readonly closed: Promise<Closed>
  readonly opened: Promise<void>
  welcome: Frame | null = null
  readonly #waiting = new Set<Waiter>()
  readonly #unread: Frame[] = []
  #lastId = 0
  #ended: Closed | null = null

  constructor(socket: WebSocket) {
    this.socket = socket
    // From the first moment: frames may come in the same packet as the answer to the upgrade.
    socket.on('message', (bytes: Buffer) => {
      const frame: Frame = JSON.parse(bytes.toString())
      this.#take(frame)
    })
    this.opened = new Promise((resolve, reject) => {
      socket.once('open', resolve)
      // `ws` tells of failures after the opening by `close` as well, with 1006.
      socket.on('error', reject)
    })
    this.opened.catch(() => undefined) // whoever connects is told; whoever doesn't wait any more needs not be
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        this.#ended = { code, reason: reason.toString() }
        for (const waiter of this.#waiting) waiter.fail(this.#over(waiter.wanted))
        this.#waiting.clear()
        resolve(this.#ended)
      })
    })
  }

  async greet(): Promise<void> {
    this.welcome = await this.next({ type: 'welcome' })
  }

  send(frame: object | string | Buffer): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame))
  }

  async next(wanted?: Wanted, deadlineMs = DEADLINE_MS): Promise<Frame> {
    const index = this.#unread.findIndex((frame) => matches(frame, wanted))
    if (index !== -1) return this.#unread.splice(index, 1)[0]!
    if (this.#ended !== null) throw this.#over(wanted)
    let waiter: Waiter | undefined
    const came = new Promise<Frame>((give, fail) => {
      waiter = { wanted, give, fail }
      this.#waiting.add(waiter)
    })
    try {
      return await within(`a frame ${describe(wanted)}; came: ${this.#tail()}`, came, deadlineMs)
    } finally {
      if (waiter !== undefined) this.#waiting.delete(waiter)
    }
  }

  ask(frame: Readonly<Record<string, unknown>>): Promise<Frame> {
    const id = `test-${++this.#lastId}`
    this.send({ ...frame, id })
    return this.next({ id })
  }

  async subscribe(channel: string, range: { since?: string; last?: number } = {}): Promise<Frame> {
    const answer = await this.ask({ type: 'subscribe', channel, ...range })
    if (answer.type === 'error') throw new CallError(answer)
    return answer
  }

  async call(action: string, data: unknown = {}): Promise<unknown> {
    const answer = await this.ask({ type: 'call', action, data })
    if (answer.type === 'error') throw new CallError(answer)
    return answer['data']
  }

  rest(type?: string): Frame[] {
    return this.#unread.filter((frame) => type === undefined || frame.type === type)
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  close(code = 1000): Promise<Closed> {
    this.socket.close(code)
    return within('the close', this.closed)
  }

  /** At teardown: without a word, and without waiting for the server. */
  async end(): Promise<void> {
    this.socket.terminate()
    await within('the end of the socket', this.closed)
  }

  #take(frame: Frame): void {
    this.frames.push(frame)
    for (const waiter of this.#waiting) {
      if (!matches(frame, waiter.wanted)) continue
      this.#waiting.delete(waiter)
      return waiter.give(frame)
    }
    this.#unread.push(frame)
  }

  #over(wanted: Wanted | undefined): Error {
    const { code, reason } = this.#ended!
    return new Error(`closed with ${code} '${reason}' before a frame ${describe(wanted)} came`)
  }

  #tail(): string {
    return JSON.stringify(this.#unread.slice(-5)).slice(0, 2000)
  }
}

function matches(frame: Frame, wanted: Wanted | undefined): boolean {
  if (wanted === undefined) return true
  return typeof wanted === 'function' ? wanted(frame) : holds(frame, wanted)
}

function describe(wanted: Wanted | undefined): string {
  if (wanted === undefined) return 'of any kind'
  return typeof wanted === 'function' ? `with ${wanted.toString()}` : JSON.stringify(wanted)
}

function queryOf(query: ClientOptions['query']): string {
  if (query === undefined || typeof query === 'string') return query ?? ''
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (typeof value === 'string' || typeof value === 'number') parameters.append(name, String(value))
    else for (const one of value) parameters.append(name, one)
  }
  return parameters.toString()
}
