import type { IncomingMessage, ServerResponse } from 'node:http'
import { RequestDeadlines } from './deadlines.ts'
import type {
  ListenerHandlers,
  ListenerOptions,
  Request,
  Response,
  ResponseStream,
  StreamHandlers,
} from './listener.ts'
import { NodeStream } from './node-stream.ts'
import type { Watched } from './sweep.ts'

/** Requests and responses of node:http. */
export class NodeHttp {
  readonly #deadlines: RequestDeadlines

  constructor(options: ListenerOptions, handlers: Pick<ListenerHandlers<unknown>, 'onRefused'>) {
    this.#deadlines = new RequestDeadlines(options, handlers)
  }

  exchange(req: IncomingMessage, res: ServerResponse): { request: Request; response: Response } {
    const response = new NodeResponse(res, this.#deadlines)
    return { request: new NodeRequest(req, { response, shared: this.#deadlines }), response }
  }

  stop(): void {
    this.#deadlines.stop()
  }
}

export class NodeRequest implements Request {
  readonly #req: IncomingMessage
  readonly #exchange: { readonly response: NodeResponse; readonly shared: RequestDeadlines } | null
  readonly #cut: number

  /** @param exchange null for an upgrade, which has no body and no response */
  constructor(req: IncomingMessage, exchange: { response: NodeResponse; shared: RequestDeadlines } | null) {
    this.#req = req
    this.#exchange = exchange
    this.#cut = (req.url ?? '/').indexOf('?')
  }

  get method(): string {
    return this.#req.method ?? 'GET'
  }

  get path(): string {
    const url = this.#req.url ?? '/'
    return this.#cut === -1 ? url : url.slice(0, this.#cut)
  }

  get query(): string {
    return this.#cut === -1 ? '' : (this.#req.url ?? '').slice(this.#cut + 1)
  }

  get address(): string {
    const address = this.#req.socket.remoteAddress ?? ''
    return address.startsWith('::ffff:') ? address.slice(7) : address
  }

  get proxiedAddress(): string {
    return ''
  }

  header(name: string): string {
    const value = this.#req.headers[name]
    return Array.isArray(value) ? value.join(', ') : (value ?? '')
  }

  eachHeader(visit: (name: string, value: string) => void): void {
    const { rawHeaders } = this.#req
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      visit(rawHeaders[index]!.toLowerCase(), rawHeaders[index + 1]!)
    }
  }

  readBody(limitBytes: number, done: (body: Buffer | null) => void): void {
    if (this.#exchange === null) return
    const { response, shared } = this.#exchange
    const parts: Buffer[] = []
    let size = 0
    const wait: Watched = {
      stuck: () => true,
      expire() {
        if (response.done) return
        shared.onRefused(408)
        response.giveUp(408)
      },
    }
    shared.bodies.add(wait)
    this.#req.on('data', (chunk: Buffer) => {
      const before = size
      size += chunk.length
      if (size <= limitBytes) parts.push(chunk)
      else if (before <= limitBytes) done(null)
    })
    this.#req.on('end', () => {
      if (size <= limitBytes && !response.gaveUp) done(Buffer.concat(parts, size))
    })
    this.#req.on('close', () => shared.bodies.delete(wait))
  }
}

class NodeResponse implements Response {
  readonly #res: ServerResponse
  readonly #deadlines: RequestDeadlines
  #abort: (() => void) | null = null
  /** The listener has answered instead of the handler. */
  gaveUp = false

  constructor(res: ServerResponse, shared: RequestDeadlines) {
    this.#res = res
    this.#deadlines = shared
  }

  get done(): boolean {
    return this.#res.headersSent || this.#res.writableEnded || this.#res.destroyed
  }

  onAbort(handler: () => void): void {
    if (this.done) return
    if (this.#abort === null) this.#res.on('close', () => this.#gone())
    this.#abort = handler
  }

  reply(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void {
    if (this.done) return
    this.#abort = null
    const bodiless = status === 204 || status === 304
    const length = bodiless ? {} : { 'Content-Length': Buffer.byteLength(body) }
    this.#res.writeHead(status, { ...headers, ...length })
    this.#res.end(bodiless ? undefined : body)
  }

  stream(
    status: number,
    headers: Readonly<Record<string, string>>,
    handlers: StreamHandlers,
    // What node:http writes is whole: nothing has to push it out.
    _filler?: Uint8Array,
  ): ResponseStream | null {
    if (this.done) return null
    this.#abort = null
    this.#res.writeHead(status, headers)
    return new NodeStream(this.#res, handlers, this.#deadlines.stalls)
  }

  /** Answers instead of the handler, which learns that nobody waits for its answer. */
  giveUp(status: number): void {
    const abort = this.#abort
    this.gaveUp = true
    this.reply(status, { Connection: 'close' }, '')
    // What is still sent would keep the connection open.
    this.#res.once('finish', () => this.#res.socket?.destroySoon())
    abort?.()
  }

  #gone(): void {
    const abort = this.#abort
    this.#abort = null
    abort?.()
  }
}
