import { WebSocket } from 'ws'
import type { Frame } from './client.ts'

/** A message as a client recorded it. */
export interface Heard {
  readonly position: number
  readonly channel: string
  readonly data: unknown
}

export interface HopperOptions {
  /** `ws://…/ws` of each node. */
  readonly nodes: () => readonly string[]
  readonly channels: readonly string[]
  /** How long it stays on one node, at the most; half of the time it leaves without a good-bye. */
  readonly stayMs: number
  /** Reads in bursts: a client that is now and then too slow. @default false */
  readonly sluggish?: boolean
}

/**
 * A client that goes from node to node and comes back each time with its cursor, as a browser does that loses its
 * network: subscribed to several channels by the URL, it records every message, and what it was told of losses.
 */
export class Hopper {
  readonly heard: Heard[] = []
  /** Where it was told that something may be missing: of this channel, between these positions. */
  readonly lost: { readonly channel: string; readonly after: number; readonly upTo: number }[] = []
  /** What it can't explain. */
  readonly faults: string[] = []
  /** By close code, how its stays ended. */
  readonly closes = new Map<number, number>()
  stays = 0
  /** The cursor at which its record begins. */
  start: string | null = null
  readonly channels: readonly string[]
  readonly #options: HopperOptions
  #cursor: string | null = null
  #position = 0
  #socket: WebSocket | null = null
  #stopped = false
  #hopping = true
  #running: Promise<void> = Promise.resolve()

  constructor(options: HopperOptions) {
    this.#options = options
    this.channels = options.channels
  }

  /** The newest position that it has, or was told that it has. */
  get position(): number {
    return this.#position
  }

  begin(): void {
    this.#running = this.#run()
  }

  /** Stays where it is from now on. */
  settle(): void {
    this.#hopping = false
  }

  async end(): Promise<void> {
    this.#stopped = true
    this.#socket?.terminate()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const nodes = this.#options.nodes()
      const node = nodes[Math.floor(Math.random() * nodes.length)]!
      await this.#stay(node)
      // Now and then for so long that others have to be asked for what it missed.
      const awayMs = this.#hopping && Math.random() < 0.25 ? 2500 : 10 + Math.random() * 60
      if (!this.#stopped) await new Promise((resolve) => setTimeout(resolve, awayMs))
    }
  }

  #stay(node: string): Promise<void> {
    const query = new URLSearchParams(this.channels.map((channel): [string, string] => ['channel', channel]))
    if (this.#cursor !== null) query.set('since', this.#cursor)
    const socket = new WebSocket(`${node}?${query.toString()}`, { handshakeTimeout: 3000 })
    this.#socket = socket
    const answered = new Set<string>()
    const leave = (): void => {
      if (!this.#hopping) return
      if (Math.random() < 0.5) socket.terminate()
      else socket.close(1000)
    }
    const timer = setTimeout(leave, this.#options.stayMs * (0.2 + 0.8 * Math.random()))
    const breath =
      this.#options.sluggish === true
        ? setInterval(() => {
            socket.pause()
            setTimeout(() => socket.resume(), 150)
          }, 250)
        : undefined
    return new Promise((resolve) => {
      socket.on('open', () => this.stays++)
      socket.on('message', (bytes: Buffer) =>
        this.#take(JSON.parse(bytes.toString()) as Frame, answered, socket),
      )
      // A node that is down refuses: `close` follows.
      socket.on('error', () => undefined)
      socket.on('close', (code) => {
        clearTimeout(timer)
        clearInterval(breath)
        this.closes.set(code, (this.closes.get(code) ?? 0) + 1)
        resolve()
      })
    })
  }

  #take(frame: Frame, answered: Set<string>, socket: WebSocket): void {
    // What a socket still had in hand when it was left is not part of the record: the next stay begins before it.
    if (socket !== this.#socket) return
    switch (frame.type) {
      case 'subscribed':
        return this.#subscribed(frame, answered)
      case 'message':
        return this.#message(frame)
      case 'cursor':
        return this.#move(String(frame['cursor']))
      case 'error':
      case 'unsubscribed':
        // Not served at the moment: elsewhere, or later.
        if (frame['code'] !== 'unavailable') this.faults.push(JSON.stringify(frame))
        socket.terminate()
        return
      default:
    }
  }

  #subscribed(frame: Frame, answered: Set<string>): void {
    const channel = String(frame['channel'])
    const cursor = String(frame['cursor'])
    const first = this.#cursor === null
    if (this.start === null) this.start = cursor
    else if (frame['recovered'] !== true && !(first && !answered.has(channel)))
      this.lost.push({ channel, after: this.#position, upTo: positionOf(cursor) })
    answered.add(channel)
    for (const message of frame['messages'] as Frame[]) this.#message(message)
    // Of several channels the record begins, and goes on, where the last of them is complete.
    if (answered.size < this.channels.length) return
    if (this.#cursor === null) {
      this.start = cursor
      this.#move(cursor)
    }
  }

  #message(message: Readonly<Record<string, unknown>>): void {
    const id = String(message['id'])
    const position = positionOf(id)
    // Between two answers to a first subscription: the record has not begun.
    if (this.#cursor === null) {
      this.#cursor = id
      this.start = `${id.split('-')[0]}-${position - 1}`
    }
    if (position <= this.#position) this.faults.push(`${id} came after position ${this.#position}`)
    this.heard.push({ position, channel: String(message['channel']), data: message['data'] })
    this.#move(id)
  }

  #move(cursor: string): void {
    this.#cursor = cursor
    this.#position = Math.max(this.#position, positionOf(cursor))
  }
}

export function positionOf(cursor: string): number {
  return Number(cursor.slice(cursor.indexOf('-') + 1))
}
