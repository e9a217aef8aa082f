import type { Test } from 'tap'
import type {
  Listener,
  ListenerHandlers,
  ListenerOptions,
  Response,
  ResponseStream,
} from '../../src/listeners/listener.ts'
import { type MakeListener, OPTIONS, type State } from './contract.ts'
import type { RawClient, Where } from './raw.ts'

const NEWLINE = Buffer.from('\n')
const EVENTS = { 'Content-Type': 'text/event-stream' }

export interface Opened {
  /** What the test does when it drains. */
  drained?: () => void
  readonly stream: ResponseStream
  readonly response: Response
  drains: number
  closes: number
}

export interface Running {
  readonly listener: Listener<State>
  readonly where: Where
  readonly opened: Opened[]
  readonly parked: Response[]
  readonly aborts: Response[]
  readonly refused: number[]
}

/** `/park…` waits for its answer; everything else is streamed. */
export async function running(
  t: Test,
  make: MakeListener,
  options: Partial<ListenerOptions> = {},
  handlers: Partial<ListenerHandlers<State>> = {},
  path?: string,
): Promise<Running> {
  const listener = await make({ ...OPTIONS, ...options })
  t.teardown(() => listener.close())
  const opened: Opened[] = []
  const parked: Response[] = []
  const aborts: Response[] = []
  const refused: number[] = []
  const address = await listener.listen(
    path === undefined ? { host: '127.0.0.1', port: 0 } : { socket: path },
    {
      onRequest(request, response) {
        if (request.path.startsWith('/park')) {
          parked.push(response)
          response.onAbort(() => aborts.push(response))
          return
        }
        open(response, opened)
      },
      onUpgrade: () => ({ accept: false, status: 404, body: '' }),
      onOpen: () => undefined,
      onMessage: () => undefined,
      onDropped: () => undefined,
      onDrain: () => undefined,
      onClose: () => undefined,
      onRefused: (status) => refused.push(status),
      ...handlers,
    },
  )
  const where = 'socket' in address ? { path: address.socket } : { port: address.port }
  return { listener, where, opened, parked, aborts, refused }
}

export const HANDLERS = { onDrain: (): void => undefined, onClose: (): void => undefined }

export function open(response: Response, opened: Opened[]): Opened {
  const stream = response.stream(
    200,
    EVENTS,
    {
      onDrain() {
        one.drains++
        one.drained?.()
      },
      onClose: () => one.closes++,
    },
    NEWLINE,
  )
  const one: Opened = { stream: stream!, response, drains: 0, closes: 0 }
  opened.push(one)
  return one
}

/** Writes until so much waits on each; returns what was written on each. */
export async function fill(streams: readonly ResponseStream[], bytes = 256 * 1024): Promise<number> {
  const line = Buffer.from(`${'x'.repeat(16 * 1024 - 1)}\n`)
  let written = 0
  // What waits for a moment only is not enough: the system's buffers must be full.
  for (let full = 0; full < 3;) {
    written += line.length * 8
    for (const stream of streams) for (let count = 0; count < 8; count++) stream.write(line)
    await new Promise((resolve) => setImmediate(resolve))
    if (streams.every((stream) => stream.bufferedBytes > bytes)) full++
  }
  return written
}

/** The lines of the content, without the empty ones. */
export function lines(client: RawClient): string[] {
  return client.chunked.body
    .toString()
    .split('\n')
    .filter((line) => line !== '')
}

/** How many bytes of the content are fillers: empty lines. */
export function fillers(client: RawClient): number {
  const { body } = client.chunked
  let count = 0
  for (let at = 0; at < body.length; at++) if (body[at] === 10 && (at === 0 || body[at - 1] === 10)) count++
  return count
}
