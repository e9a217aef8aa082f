import { STATUS_CODES } from 'node:http'
import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
import { RequestDeadlines } from './deadlines.ts'
import type {
  ListenerHandlers,
  ListenerOptions,
  Request,
  Response,
  ResponseStream,
  StreamHandlers,
} from './listener.ts'
import type { Watched } from './sweep.ts'
import { UwsStream } from './uws-stream.ts'
import { UwsWriter } from './uws-writer.ts'

/** What the requests of one listener share. */
class Shared extends RequestDeadlines {
  readonly writer = new UwsWriter()
}

/** Requests and responses of uWebSockets.js. */
export class UwsHttp {
  readonly #shared: Shared

  constructor(options: ListenerOptions, handlers: Pick<ListenerHandlers<unknown>, 'onRefused'>) {
    this.#shared = new Shared(options, handlers)
  }

  exchange(res: HttpResponse, req: HttpRequest): { request: Request; response: Response } {
    const response = new UwsResponse(res, req.getCaseSensitiveMethod() === 'HEAD', this.#shared)
    return { request: new UwsRequest(res, req, response, this.#shared), response }
  }

  stop(): void {
    this.#shared.stop()
  }
}

// uWS invalidates `req` when the route handler returns: whatever is needed later must be read before.
class UwsRequest implements Request {
  readonly #res: HttpResponse
  readonly #req: HttpRequest
  readonly #response: UwsResponse
  readonly #shared: Shared

  constructor(res: HttpResponse, req: HttpRequest, response: UwsResponse, shared: Shared) {
    this.#res = res
    this.#req = req
    this.#response = response
    this.#shared = shared
  }

  get method(): string {
    return this.#req.getCaseSensitiveMethod()
  }

  get path(): string {
    return this.#req.getUrl()
  }

  get query(): string {
    return this.#req.getQuery() ?? ''
  }

  get address(): string {
    return addressText(this.#res.getRemoteAddress())
  }

  // uWS takes a PROXY v2 header from anyone, and goes on giving the peer's own address.
  get proxiedAddress(): string {
    return addressText(this.#res.getProxiedRemoteAddress())
  }

  header(name: string): string {
    return this.#req.getHeader(name)
  }

  eachHeader(visit: (name: string, value: string) => void): void {
    this.#req.forEach(visit)
  }

  readBody(limitBytes: number, done: (body: Buffer | null) => void): void {
    const response = this.#response
    const { bodies, onRefused } = this.#shared
    let parts: Buffer[] | null = null
    let size = 0
    const wait: Watched = {
      stuck: () => true,
      expire() {
        if (response.done) return
        onRefused(408)
        response.giveUp(408)
      },
    }
    bodies.add(wait)
    response.onEnd = () => bodies.delete(wait)
    this.#res.onData((chunk, isLast) => {
      if (isLast) bodies.delete(wait)
      size += chunk.byteLength
      if (size > limitBytes) {
        // The rest is read and forgotten: an answer before its end would be lost on clients that only write.
        parts = null
        if (size - chunk.byteLength <= limitBytes) done(null)
        return
      }
      if (isLast && parts === null) return done(Buffer.from(chunk))
      // The chunk is detached when this callback returns: copied.
      parts ??= []
      parts.push(Buffer.from(Buffer.from(chunk)))
      if (isLast) done(Buffer.concat(parts, size))
    })
  }
}

class UwsResponse implements Response {
  readonly #res: HttpResponse
  readonly #isHead: boolean
  readonly #shared: Shared
  #done = false
  #abort: (() => void) | null = null
  #stream: UwsStream | null = null
  /** What the reading of the body forgets when nobody can be answered any more. */
  onEnd: (() => void) | null = null

  constructor(res: HttpResponse, isHead: boolean, shared: Shared) {
    this.#res = res
    this.#isHead = isHead
    this.#shared = shared
    res.onAborted(() => {
      if (this.#stream === null) this.#gone()
      else this.#stream.closed()
    })
  }

  get done(): boolean {
    return this.#done
  }

  onAbort(handler: () => void): void {
    if (!this.#done) this.#abort = handler
  }

  reply(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void {
    if (this.#done) return
    this.#end()
    const res = this.#res
    res.cork(() => {
      const bodiless = status === 204 || status === 304
      if (this.#isHead || bodiless) {
        writeHead(res, status, headers)
        // Not as its argument: with one it closes the connection.
        if (!bodiless) res.writeHeader('Content-Length', String(Buffer.byteLength(body)))
        res.endWithoutBody()
        return
      }
      const close = headers['Connection'] === 'close'
      writeHead(res, status, headers, close)
      res.end(body, close)
    })
  }

  stream(
    status: number,
    headers: Readonly<Record<string, string>>,
    handlers: StreamHandlers,
    filler?: Uint8Array,
  ): ResponseStream | null {
    if (this.#done) return null
    if (this.#isHead) {
      this.#end()
      this.#res.cork(() => {
        writeHead(this.#res, status, headers)
        this.#res.endWithoutBody()
      })
      queueMicrotask(() => handlers.onClose())
      return ENDED
    }
    this.#end()
    const { writer, stalls } = this.#shared
    const head = (): void => writeHead(this.#res, status, headers)
    this.#stream = new UwsStream({ res: this.#res, head, handlers, filler, writer, stalls })
    return this.#stream
  }

  /** Answers instead of the handler, which learns that nobody waits for its answer. */
  giveUp(status: number): void {
    const abort = this.#abort
    this.reply(status, CLOSE, '')
    abort?.()
  }

  #gone(): void {
    if (this.#done) return
    const abort = this.#abort
    this.#end()
    abort?.()
  }

  #end(): void {
    this.#done = true
    this.#abort = null
    this.onEnd?.()
    this.onEnd = null
  }
}

const CLOSE = { Connection: 'close' }

/** A stream that has ended before it began. */
const ENDED: ResponseStream = {
  bufferedBytes: 0,
  write: () => undefined,
  cork: (work) => work(),
  end: () => undefined,
  terminate: () => undefined,
}

/** @param close whether `end` will close the connection: it writes that header itself */
function writeHead(
  res: HttpResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  close = false,
): void {
  if (status !== 200) res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Status'}`)
  for (const name in headers) if (!close || name !== 'Connection') res.writeHeader(name, headers[name]!)
}

/** An address of 4 or 16 bytes as text; empty where there is none (a unix socket). */
function addressText(bytes: ArrayBuffer): string {
  const view = new Uint8Array(bytes)
  if (view.length === 4) return `${view[0]}.${view[1]}.${view[2]}.${view[3]}`
  if (view.length !== 16) return ''
  if (isMappedV4(view)) return `${view[12]}.${view[13]}.${view[14]}.${view[15]}`
  const groups: string[] = []
  for (let index = 0; index < 16; index += 2)
    groups.push(((view[index]! << 8) | view[index + 1]!).toString(16))
  // The shortest spelling, so that ::1 compares as such.
  const text = new URL(`http://[${groups.join(':')}]`).hostname
  return text.slice(1, -1)
}

function isMappedV4(view: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (view[index] !== 0) return false
  return view[10] === 255 && view[11] === 255
}
