import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client'
import type { TestDaemon } from '../support/daemon.ts'
import { type Teardown, until, within } from '../support/wait.ts'

export type Ways = readonly ('polling' | 'websocket')[]

/** Every way to connect: the last begins with polling and goes over to a WebSocket. */
export const WAYS: readonly Ways[] = [['websocket'], ['polling'], ['polling', 'websocket']]

/** What a server said: tests look at it field by field. */
export type Told = ReturnType<typeof JSON.parse>

/** An event that came, and its arguments. */
export interface Came {
  readonly event: string
  readonly args: readonly Told[]
}

/** The library's own client, and what has come to it. */
export class SocketIoClient {
  readonly socket: Socket
  readonly came: Came[] = []
  readonly #given = new Set<Came>()

  constructor(socket: Socket) {
    this.socket = socket
    socket.onAny((event: string, ...args: unknown[]) => this.came.push({ event, args }))
  }

  /** Resolves when it is connected, rejects when it is refused. */
  connected(): Promise<void> {
    return within(
      'the connection',
      new Promise((resolve, reject) => {
        if (this.socket.connected) resolve()
        this.socket.once('connect', resolve)
        this.socket.once('connect_error', reject)
      }),
    )
  }

  /** The next event of this name that no other `next` has given. */
  async next(event: string): Promise<readonly Told[]> {
    const found = await until(`an event '${event}'; came: ${JSON.stringify(this.came.slice(-5))}`, () =>
      this.came.find((one) => one.event === event && !this.#given.has(one)),
    )
    this.#given.add(found)
    return found.args
  }

  /** What the callback gets. */
  async ask(event: string, ...args: unknown[]): Promise<Told> {
    return this.socket.timeout(10_000).emitWithAck(event, ...args)
  }

  ended(): Promise<string> {
    return within('the end', new Promise((resolve) => this.socket.once('disconnect', resolve)))
  }
}

/** Connects to a namespace; does not wait. Its end comes with the test's. */
export function dial(
  t: Teardown,
  daemon: Pick<TestDaemon, 'url'>,
  namespace: string,
  options: Partial<ManagerOptions & SocketOptions> = {},
): SocketIoClient {
  const socket = io(daemon.url + namespace, {
    reconnection: false,
    forceNew: true,
    transports: ['websocket'],
    ...options,
  })
  t.teardown(() => void socket.close())
  return new SocketIoClient(socket)
}

export async function connectTo(
  t: Teardown,
  daemon: Pick<TestDaemon, 'url'>,
  namespace: string,
  options: Partial<ManagerOptions & SocketOptions> = {},
): Promise<SocketIoClient> {
  const client = dial(t, daemon, namespace, options)
  await client.connected()
  return client
}
