import { WebSocket } from 'ws'
import { LivemessageError, messageOf } from '../errors.ts'
import { type DaemonPlace, formatPlace } from './daemon-place.ts'

export interface ListeningOptions {
  readonly channels: readonly string[]
  readonly token?: string
  readonly last?: number
  readonly since?: string
  readonly count?: number
  readonly raw?: boolean
}

/** Where a run says what it has. */
export interface Output {
  /** A message or, with `raw`, a frame. */
  print(line: string): void
  /** Whatever else there is to say. */
  note(text: string): void
}

/** Waiting before a connection is tried again, where the daemon does not say how long. */
const RETRY_MS = 1000

/** What the server's pings may be late by. */
const LATE_MS = 20_000

/** How a connection ended. */
interface End {
  readonly code: number
  readonly reason: string
}

/** One run of the command: a connection after the other, each going on where the last one stopped. */
export class Listening {
  readonly #place: DaemonPlace
  readonly #options: ListeningOptions
  readonly #output: Output
  /** Of each channel, the cursor of what was printed last. */
  readonly #cursors = new Map<string, string>()
  /** Channels that the daemon has refused, or ended. */
  readonly #refused = new Map<string, string>()
  #printed = 0
  #everOpen = false
  #retryMs = RETRY_MS

  constructor(place: DaemonPlace, options: ListeningOptions, output: Output) {
    this.#place = place
    this.#options = options
    this.#output = output
  }

  /**
   * Resolves when `count` messages were printed.
   * @throws {LivemessageError} DAEMON_UNREACHABLE at the first connection; DAEMON_REFUSED
   */
  async run(): Promise<void> {
    for (;;) {
      const { code, reason } = await this.#connect()
      if (this.#isEnough()) return
      const where = formatPlace(this.#place)
      if (this.#refused.size === this.#options.channels.length) {
        throw new LivemessageError('DAEMON_REFUSED', [...this.#refused.values()].join('; '))
      }
      if (isFinal(code))
        throw new LivemessageError('DAEMON_REFUSED', `${where} closed with ${code}: ${reason}`)
      if (!this.#everOpen) {
        throw new LivemessageError(
          'DAEMON_UNREACHABLE',
          `no daemon answers at ${where}: ${reason}; start one, or say --url`,
        )
      }
      this.#output.note(`connection lost (${reason}), coming back`)
      await new Promise((resolve) => setTimeout(resolve, this.#retryMs))
      this.#retryMs = RETRY_MS
    }
  }

  #connect(): Promise<End> {
    return new Promise((resolve) => {
      const { token } = this.#options
      const socket = new WebSocket(this.#url(), 'livemessage.v1', {
        headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
        handshakeTimeout: 10_000,
      })
      let failure: string | null = null
      let silence: NodeJS.Timeout | undefined
      let pingMs: number | null = null
      const alive = (): void => {
        clearTimeout(silence)
        if (pingMs !== null) silence = setTimeout(() => socket.terminate(), pingMs + LATE_MS)
      }
      socket.on('open', () => {
        this.#everOpen = true
        for (const channel of this.#wanted()) socket.send(JSON.stringify(this.#subscribe(channel)))
      })
      socket.on('message', (bytes) => {
        const text = (bytes as Buffer).toString()
        const frame = JSON.parse(text) as Frame
        if (frame.type === 'welcome') pingMs = frame.ping
        alive()
        if (this.#options.raw === true) this.#output.print(text)
        this.#receive(frame)
        if (this.#isEnough() || this.#wanted().length === 0) socket.close()
      })
      socket.on('ping', alive)
      socket.on('error', (error: Error) => (failure = messageOf(error)))
      socket.on('close', (code, reason) => {
        clearTimeout(silence)
        resolve({ code, reason: failure ?? (reason.toString() || String(code)) })
      })
    })
  }

  #url(): string {
    const { url, socket } = this.#place
    return socket === null ? `${url.replace(/^http/, 'ws')}/ws` : `ws+unix:${socket}:/ws`
  }

  #wanted(): string[] {
    return this.#options.channels.filter((channel) => !this.#refused.has(channel))
  }

  #subscribe(channel: string): object {
    const since = this.#cursors.get(channel) ?? this.#options.since
    const range = since === undefined ? { last: this.#options.last } : { since }
    return { type: 'subscribe', id: channel, channel, ...range }
  }

  #receive(frame: Frame): void {
    switch (frame.type) {
      case 'subscribed':
        return this.#begin(frame)
      case 'message':
        return this.#show(frame)
      case 'cursor':
        for (const channel of this.#cursors.keys()) this.#cursors.set(channel, frame.cursor)
        return undefined
      case 'reconnect':
        this.#retryMs = Math.max(RETRY_MS, frame.after)
        return undefined
      case 'error':
        return this.#refuse(frame.id, frame)
      case 'unsubscribed':
        return this.#refuse(frame.channel, frame)
      default:
        return undefined
    }
  }

  #begin({ channel, cursor, recovered, messages }: Subscribed): void {
    const asked = this.#cursors.has(channel) || this.#options.since !== undefined
    if (asked && !recovered) this.#output.note(`${channel}: what came meanwhile is not all there any more`)
    // The cursor may be ahead of these messages: it counts once they are printed.
    for (const message of messages) this.#show(message)
    if (cursor !== null) this.#cursors.set(channel, cursor)
  }

  #show({ channel, id, data, time }: Message): void {
    if (this.#isEnough()) return
    if (id !== undefined) this.#cursors.set(channel, id)
    this.#printed++
    if (this.#options.raw !== true) this.#output.print(JSON.stringify({ channel, id, time, data }))
  }

  #refuse(channel: unknown, { code, message }: { readonly code: string; readonly message: string }): void {
    const text = `${code}: ${message}`
    if (typeof channel === 'string') this.#refused.set(channel, text)
    this.#output.note(text)
  }

  #isEnough(): boolean {
    return this.#options.count !== undefined && this.#printed >= this.#options.count
  }
}

interface Message {
  readonly channel: string
  readonly id?: string
  readonly data: unknown
  readonly time: number
}

interface Subscribed {
  readonly channel: string
  readonly cursor: string | null
  readonly recovered: boolean
  readonly messages: readonly Message[]
}

type Frame =
  | ({ readonly type: 'subscribed' } & Subscribed)
  | ({ readonly type: 'message' } & Message)
  | { readonly type: 'error'; readonly id?: unknown; readonly code: string; readonly message: string }
  | {
      readonly type: 'unsubscribed'
      readonly channel: string
      readonly code: string
      readonly message: string
    }
  | { readonly type: 'cursor'; readonly cursor: string }
  | { readonly type: 'reconnect'; readonly after: number }
  | { readonly type: 'welcome'; readonly ping: number }
  | { readonly type: 'pong' | 'reply' | 'event' | 'presence' }

/** The codes after which a client does not come back; after 4453 only with another token. */
function isFinal(code: number): boolean {
  return code === 1009 || code === 4453 || (code >= 4400 && code < 4450)
}
