import type { WebSocket } from 'ws'
import { isRecord } from '../config/values.ts'
import { CallError } from './call-error.ts'
import type { ActionName, Actions, CallArguments, CallResult } from './calls.ts'
import { type Frame, Inbox } from './inbox.ts'
import type { Claims } from './token.ts'

export type { Frame } from './inbox.ts'

/** A publication, as a client gets it. */
export interface Message {
  readonly channel: string
  /** The cursor; none on a transient channel. */
  readonly id?: string
  readonly data: unknown
  /** Milliseconds since 1970. */
  readonly time: number
}

/** An event that an action or the server API emitted. */
export interface TestEvent {
  readonly event: string
  readonly args: readonly unknown[]
  /** Answers it. @throws {Error} where no answer was asked for */
  ack(...args: unknown[]): void
}

export interface ConnectOptions extends Partial<Claims> {
  /** A token of the test's own, in place of one for `user`. */
  readonly token?: string
  /** Of the handshake: `{ Cookie: 'session=…', Origin: 'https://app.example' }`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Behind `?` in the URL: `{ channel: 'chat:a' }`. */
  readonly query?: Readonly<Record<string, string>>
  /** How the client is called in messages of errors. @default the user */
  readonly name?: string
}

/** How a connection ended. */
export interface Closed {
  readonly code: number
  readonly reason: string
}

/** Fields that a frame must have, compared as JSON, or a test of it. */
export type Wanted = Readonly<Record<string, unknown>> | ((frame: Frame) => boolean)

/** A client of the test's: one WebSocket. Everything that waits gives up after `deadlineMs`, and says what came instead. */
export class TestClient<A extends Actions = Actions> implements AsyncDisposable {
  /** Resolves when the connection has ended; never rejects. */
  readonly closed: Promise<Closed>
  readonly #socket: WebSocket
  readonly #inbox: Inbox
  readonly #name: string
  readonly #deadlineMs: number
  readonly #causeOf: (action: string) => Error | undefined
  #session = ''
  #user: string | null = null
  #lastId = 0

  /** Made by `daemon.connect`. */
  constructor(
    socket: WebSocket,
    {
      name,
      deadlineMs,
      causeOf,
    }: { name: string; deadlineMs: number; causeOf(action: string): Error | undefined },
  ) {
    this.#socket = socket
    this.#name = name
    this.#deadlineMs = deadlineMs
    this.#causeOf = causeOf
    this.#inbox = new Inbox(name)
    let failure: string | null = null
    // Frames may come in the same packet as the answer to the upgrade.
    socket.on('message', (bytes: Buffer) => this.#receive(bytes.toString()))
    socket.on('error', (error) => {
      failure = error.message
    })
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, bytes) => {
        const reason = bytes.toString()
        this.#inbox.end(failure ?? `the daemon closed with ${code} '${reason}'`)
        resolve({ code, reason })
      })
    })
  }

  /** The public name of the connection: `exclude` of a publication, `ctx.session` of an action. */
  get session(): string {
    return this.#session
  }

  /** Null until authenticated. */
  get user(): string | null {
    return this.#user
  }

  /**
   * Waits to be welcomed.
   * @throws {CallError} refused, with the daemon's code
   * @throws {Error} the upgrade was refused, or nothing came
   */
  async welcomed(): Promise<this> {
    const first = await this.next((frame) => frame.type === 'welcome' || frame.type === 'error', 'welcome')
    if (first.type === 'error') throw new CallError(first)
    this.#session = String(first['session'])
    this.#user = typeof first['user'] === 'string' ? first['user'] : null
    return this
  }

  /**
   * Calls an action: `await ann.call('orders.cancel', { id: 7 })`.
   * @throws {CallError} refused; of `internal` the cause is what the action threw
   */
  async call<N extends ActionName<A>>(action: N, ...[data]: CallArguments<A, N>): Promise<CallResult<A, N>> {
    const answer = await this.ask({ type: 'call', action, data }, `answer to the call of ${action}`)
    if (answer.type === 'error') throw this.#refusal(answer, action)
    // What the action is said to return is for the compiler to know.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    return answer['data'] as CallResult<A, N>
  }

  /**
   * Subscribes. What was missed (`since`) or the newest (`last`) is in `messages` of the answer; what comes from now
   * on, in `message()`.
   * @throws {CallError}
   */
  async subscribe(
    channel: string,
    range: { readonly since?: string; readonly last?: number } = {},
  ): Promise<{
    readonly cursor: string | null
    readonly recovered: boolean
    readonly messages: readonly Message[]
  }> {
    const answer = await this.ask(
      { type: 'subscribe', channel, ...range },
      `answer to subscribing ${channel}`,
    )
    if (answer.type === 'error') throw new CallError(answer)
    const { cursor, recovered, messages } = answer
    return {
      cursor: typeof cursor === 'string' ? cursor : null,
      recovered: recovered === true,
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as docs/protocol.md has it
      messages: messages as Message[],
    }
  }

  /** @throws {CallError} */
  async unsubscribe(channel: string): Promise<void> {
    const answer = await this.ask({ type: 'unsubscribe', channel }, `answer to unsubscribing ${channel}`)
    if (answer.type === 'error') throw new CallError(answer)
  }

  /** Publishes as the client, where the channel's policy lets clients. Resolves with its cursor. @throws {CallError} */
  async publish(channel: string, data: unknown): Promise<string | null> {
    const answer = await this.ask({ type: 'publish', channel, data }, `answer to publishing to ${channel}`)
    if (answer.type === 'error') throw new CallError(answer)
    return isRecord(answer['data']) && typeof answer['data']['id'] === 'string' ? answer['data']['id'] : null
  }

  /** The next message, of this channel where one is named. @throws {Error} none by the deadline */
  async message(channel?: string): Promise<Message> {
    const what = channel === undefined ? 'message' : `message on ${channel}`
    const wanted = { type: 'message', ...(channel === undefined ? {} : { channel }) }
    const { type: _type, ...message } = await this.next(wanted, what)
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as docs/protocol.md has it
    return message as unknown as Message
  }

  /** The next event, of this name where one is named. @throws {Error} none by the deadline */
  async event(name?: string): Promise<TestEvent> {
    const what = name === undefined ? 'event' : `event '${name}'`
    const frame = await this.next({ type: 'event', ...(name === undefined ? {} : { event: name }) }, what)
    const { id, event, args } = frame
    return {
      event: String(event),
      args: Array.isArray(args) ? args : [],
      ack: (...answer) => {
        if (id === undefined) throw new Error(`${this.#name}: event '${String(event)}' asks for no answer`)
        this.send({ type: 'ack', id, args: answer })
      },
    }
  }

  /** The next frame of any kind that matches and was not taken: `next({ type: 'presence', event: 'join' })`. */
  next(wanted: Wanted, what = `frame ${wordsOf(wanted)}`): Promise<Frame> {
    return this.#inbox.take({ what, matches: (frame) => matches(frame, wanted) }, this.#deadlineMs)
  }

  /**
   * All that has come and was not taken, after a round trip to the daemon: what it had sent by now is here. For tests
   * that nothing has come.
   */
  async rest(): Promise<Frame[]> {
    const id = this.#nextId()
    this.send({ type: 'ping', id })
    await this.next({ type: 'pong' }, 'pong')
    return this.#inbox.takeAll()
  }

  /** Sends a frame with an id of its own, however wrong; resolves with what answers it, be it an error. */
  ask(
    frame: Readonly<Record<string, unknown>>,
    what = `answer to ${JSON.stringify(frame).slice(0, 200)}`,
  ): Promise<Frame> {
    const id = this.#nextId()
    this.send({ ...frame, id })
    return this.next({ id }, what)
  }

  /** Sends a frame as JSON; a text as it is. */
  send(frame: object | string): void {
    this.#socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  /** Says good-bye; resolves when it is over. Idempotent. */
  async close(): Promise<Closed> {
    this.#socket.close(1000)
    // A daemon that does not answer must not hold up the test's end.
    const timer = setTimeout(() => this.#socket.terminate(), 1000)
    const closed = await this.closed
    clearTimeout(timer)
    return closed
  }

  /** Breaks the connection without a word, as a lost network does. */
  async drop(): Promise<void> {
    this.#socket.terminate()
    await this.closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #receive(text: string): void {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as docs/protocol.md has it
    const frame = JSON.parse(text) as Frame
    // It comes when it likes and says nothing to a test.
    if (frame.type !== 'cursor') this.#inbox.add(frame)
  }

  #refusal(answer: Frame, action: string): CallError {
    const cause = answer['code'] === 'internal' ? this.#causeOf(action) : undefined
    return new CallError(answer, cause === undefined ? undefined : { cause })
  }

  #nextId(): string {
    return `test-${++this.#lastId}`
  }
}

function matches(frame: Frame, wanted: Wanted): boolean {
  if (typeof wanted === 'function') return wanted(frame)
  return Object.entries(wanted).every(([name, value]) => same(frame[name], value))
}

function same(value: unknown, wanted: unknown): boolean {
  if (isRecord(wanted)) {
    return isRecord(value) && Object.entries(wanted).every(([name, part]) => same(value[name], part))
  }
  return JSON.stringify(value) === JSON.stringify(wanted)
}

function wordsOf(wanted: Wanted): string {
  return typeof wanted === 'function' ? `with ${wanted.toString()}` : JSON.stringify(wanted)
}
