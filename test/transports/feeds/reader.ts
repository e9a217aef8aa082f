import { once } from 'node:events'
import { EventSource } from 'eventsource'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import type { Test } from 'tap'
import { until } from '../../support/wait.ts'

/** One block of Server-Sent Events as it came: what `EventSource` does not show is seen here. */
export interface Block {
  readonly id?: string
  readonly event?: string
  readonly data?: unknown
  readonly retry?: number
  /** A comment. */
  readonly comment?: string
}

/** An endless answer, read as text. */
export interface Reader {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
  readonly ended: boolean
  /** What is whole so far, of Server-Sent Events. */
  readonly blocks: readonly Block[]
  /** The lines that say something, of a stream of lines. */
  readonly lines: readonly Record<string, unknown>[]
  /** Reads nothing more until `resume`. */
  pause(): void
  resume(): void
  close(): void
}

/** What a feed's messages hold, in order. */
export function dataOf(reader: Reader): unknown[] {
  return messagesOf(reader).map(({ data }) => data)
}

export function messagesOf(reader: Reader): { channel: string; id?: string; data: unknown }[] {
  return reader.blocks.filter(({ event }) => event === 'message').map(({ data }) => data as never)
}

export async function read(
  t: Test,
  url: string,
  options: { headers?: Record<string, string>; method?: string; paused?: boolean } = {},
): Promise<Reader> {
  const asked = request(url, {
    agent: false,
    method: options.method ?? 'GET',
    headers: options.headers ?? {},
  })
  asked.end()
  t.teardown(() => asked.destroy())
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  return new ResponseReader(asked, response, options.paused === true)
}

class ResponseReader implements Reader {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly #asked: ClientRequest
  readonly #response: IncomingMessage
  readonly #parts: string[] = []
  ended = false

  constructor(asked: ClientRequest, response: IncomingMessage, paused: boolean) {
    this.#asked = asked
    this.#response = response
    this.status = response.statusCode ?? 0
    this.headers = response.headers
    response.setEncoding('utf8')
    response.on('data', (text: string) => this.#parts.push(text))
    response.on('end', () => (this.ended = true))
    response.on('error', () => (this.ended = true))
    asked.on('error', () => (this.ended = true))
    if (paused) response.pause()
  }

  get text(): string {
    return this.#parts.join('')
  }

  get blocks(): readonly Block[] {
    const whole = this.text.slice(0, this.text.lastIndexOf('\n\n') + 1)
    return whole
      .split(/\n\n+/)
      .map((text) => text.replace(/^\n+/, ''))
      .filter((text) => text !== '')
      .map(parseBlock)
  }

  get lines(): readonly Record<string, unknown>[] {
    return this.text
      .split('\n')
      .slice(0, -1)
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }

  pause(): void {
    this.#response.pause()
  }

  resume(): void {
    this.#response.resume()
  }

  close(): void {
    this.#asked.destroy()
  }
}

function parseBlock(text: string): Block {
  const block: Record<string, unknown> = {}
  for (const line of text.split('\n')) {
    const at = line.indexOf(':')
    const name = line.slice(0, at)
    const value = line.slice(at + 1).replace(/^ /, '')
    if (name === '') block['comment'] = value
    else if (name === 'data') block['data'] = JSON.parse(value)
    else if (name === 'retry') block['retry'] = Number(value)
    else block[name] = value
  }
  return block
}

export function untilBlock(reader: Reader, what: (block: Block) => boolean): Promise<Block> {
  return until('a block', () => reader.blocks.find(what))
}

export function untilData(reader: Reader, count: number): Promise<unknown> {
  return until(`${count} messages`, () => messagesOf(reader).length >= count)
}

/** A source that keeps what it was given. */
export function listen(
  t: Test,
  url: string,
): { source: EventSource; events: { type: string; data: string; id: string }[] } {
  const source = new EventSource(url)
  t.teardown(() => source.close())
  const events: { type: string; data: string; id: string }[] = []
  for (const type of ['welcome', 'message', 'lost', 'event', 'close', 'reconnect']) {
    source.addEventListener(type, (event: MessageEvent) => {
      events.push({ type, data: event.data as string, id: event.lastEventId })
    })
  }
  return { source, events }
}
