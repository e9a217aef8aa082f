import { Socket, type SocketOptions } from 'engine.io-client'
import type { TestDaemon } from '../support/daemon.ts'
import { type Teardown, until, within } from '../support/wait.ts'

/** What a server said: tests look at it field by field. */
export type Told = ReturnType<typeof JSON.parse>

/** The library's own client, and what has come to it. */
export class EngineIoClient {
  readonly socket: Socket
  /** Messages as they came. */
  readonly came: (string | Buffer)[] = []
  readonly #frames: Told[] = []
  #lastId = 0

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('message', (data: string | Buffer = '') => {
      this.came.push(data)
      if (typeof data === 'string' && data.startsWith('{')) this.#frames.push(JSON.parse(data))
    })
    socket.on('error', () => undefined)
  }

  /** Frames of a type, all that came. */
  all(type: string): readonly Told[] {
    return this.#frames.filter((frame) => frame.type === type)
  }

  /** The next frame of a type, taken out. */
  async next(type: string): Promise<Told> {
    const found = await until(`a frame '${type}'; came: ${JSON.stringify(this.came.slice(-5))}`, () =>
      this.#frames.find((frame) => frame.type === type),
    )
    this.#frames.splice(this.#frames.indexOf(found), 1)
    return found
  }

  say(frame: object): void {
    this.socket.send(JSON.stringify(frame))
  }

  /** The answer to a frame. */
  async ask(frame: object): Promise<Told> {
    const id = `a${++this.#lastId}`
    this.say({ ...frame, id })
    const found = await until(`an answer to ${JSON.stringify(frame)}`, () =>
      this.#frames.find((one) => one.id === id),
    )
    this.#frames.splice(this.#frames.indexOf(found), 1)
    return found
  }

  opened(): Promise<void> {
    return within(
      'the handshake',
      new Promise((resolve, reject) => {
        if (this.socket.readyState === 'open') resolve()
        this.socket.once('open', () => resolve())
        this.socket.once('close', () => reject(new Error('closed')))
      }),
    )
  }

  ended(): Promise<string> {
    return within(
      'the end',
      new Promise((resolve) => {
        if (this.socket.readyState === 'closed') resolve('closed already')
        this.socket.once('close', (reason: string) => resolve(reason))
      }),
    )
  }
}

/** Connects; does not wait. Its end comes with the test's. */
export function dialEngine(
  t: Teardown,
  daemon: Pick<TestDaemon, 'url'>,
  options: Partial<SocketOptions> = {},
): EngineIoClient {
  const socket = new Socket(daemon.url, { transports: ['websocket'], ...options })
  t.teardown(() => void socket.close())
  return new EngineIoClient(socket)
}

export async function connectEngine(
  t: Teardown,
  daemon: Pick<TestDaemon, 'url'>,
  options: Partial<SocketOptions> = {},
): Promise<EngineIoClient> {
  const client = dialEngine(t, daemon, options)
  await client.opened()
  return client
}
