import { LOOPBACK, type Peers, type PublishAnswer } from '../auth/peers.ts'
import { ClientError } from '../protocol/codes.ts'
import { readJson, tryWriteJson } from '../protocol/json.ts'
import { memberText } from '../protocol/json-text.ts'
import type { MaybePromise, Source, SourceState } from './source.ts'

/** The part of a listener's request that is needed. Valid until `handle` returns. */
export interface PublishRequest {
  readonly path: string
  readonly query: string
  readonly address: string
  header(name: string): string
  eachHeader(visit: (name: string, value: string) => void): void
  readBody(limitBytes: number, done: (body: Buffer | null) => void): void
}

export interface PublishResponse {
  reply(status: number, headers: Readonly<Record<string, string>>, body: string): void
}

export interface HttpSourceDependencies {
  readonly peers: () => Peers
  /** Room for a body: the data's limit, and for `/api/publish` what surrounds it. */
  readonly limitBytes: () => number
  publish(publication: {
    channel: string
    json: string
    source: string
    key: string | undefined
    exclude: string | undefined
  }): MaybePromise<string | null>
  refuse(response: PublishResponse, error: unknown): void
}

/** Takes a request that a client sends as itself; false, and nothing done, where it has no credentials of one. */
export type TakeAsClient = () => boolean

/** What surrounds the data in a body of `/api/publish`. */
const ENVELOPE_BYTES = 2048

/** The longest idempotency key. */
const MAX_KEY = 256

/**
 * `POST /publish?channel=…` (the body is the data) and `POST /api/publish` (the body is
 * `{"channel","data","exclude","key"}`; the headers of `/publish` count too). Both answer `{"id":"<cursor>"}` once the publication is accepted.
 */
export class HttpSource implements Source {
  readonly name = 'http'
  readonly #deps: HttpSourceDependencies
  #state: SourceState = 'starting'

  constructor(deps: HttpSourceDependencies) {
    this.#deps = deps
  }

  get state(): SourceState {
    return this.#state
  }

  get reason(): string | null {
    return this.#state === 'up' ? null : 'not accepting publications'
  }

  start(): Promise<void> {
    this.#state = 'up'
    return Promise.resolve()
  }

  stop(): Promise<void> {
    this.#state = 'stopped'
    return Promise.resolve()
  }

  /** `/publish`. Without an API key it may be a client's: the channel's policy decides then. */
  publish(request: PublishRequest, response: PublishResponse, takeAsClient: TakeAsClient): void {
    this.#checkUp()
    const answer = this.#deps.peers().mayPublish(request)
    // Whoever says who it is has no more rights for sitting at this machine.
    if (!(answer.ok && answer.publisher !== LOOPBACK) && takeAsClient()) return
    const publisher = publisherOf(answer)
    const channel = channelOf(request.query)
    const key = scopedKey(request.header('idempotency-key'), publisher)
    const exclude = request.header('exclude') || undefined
    request.readBody(this.#deps.limitBytes(), (body) => {
      this.#answer(response, () => {
        const json = readJson(bodyOrThrow(body))
        if (json === null) throw new ClientError('invalid_input', 'the body must be the data, as JSON')
        return this.#deps.publish({ channel, json: json.text, source: 'http', key, exclude })
      })
    })
  }

  /** `/api/publish`. */
  publishByApi(request: PublishRequest, response: PublishResponse): void {
    const publisher = this.#admit(request)
    if (!/^application\/json\b/i.test(request.header('content-type'))) {
      throw new ClientError('invalid_input', 'Content-Type: expected application/json')
    }
    const headerKey = request.header('idempotency-key')
    const headerExclude = request.header('exclude')
    request.readBody(this.#deps.limitBytes() + ENVELOPE_BYTES, (body) => {
      this.#answer(response, () => {
        const read = readJson(bodyOrThrow(body))
        const fields = read?.value
        if (read === null || typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
          throw new ClientError('invalid_input', 'the body must be {"channel","data"}, as JSON')
        }
        const { channel, data, exclude, key } = fields as Record<string, unknown>
        if (typeof channel !== 'string') throw new ClientError('invalid_input', 'channel: expected a text')
        if (data === undefined) throw new ClientError('invalid_input', 'data: is missing')
        return this.#deps.publish({
          channel,
          json: memberText(read.text, 'data') ?? written(data),
          source: 'http',
          key: scopedKey(headerKey || textOr(key, 'key'), publisher),
          exclude: textOr(exclude, 'exclude') || headerExclude || undefined,
        })
      })
    })
  }

  /** Who publishes. @throws {ClientError} */
  #admit(request: PublishRequest): string {
    this.#checkUp()
    return publisherOf(this.#deps.peers().mayPublish(request))
  }

  #checkUp(): void {
    if (this.#state !== 'up') throw new ClientError('unavailable', 'shutting down')
  }

  #answer(response: PublishResponse, publish: () => MaybePromise<string | null>): void {
    try {
      const id = publish()
      if (!(id instanceof Promise)) return accept(response, id)
      id.then(
        (cursor) => accept(response, cursor),
        (error: unknown) => this.#deps.refuse(response, error),
      )
    } catch (error) {
      this.#deps.refuse(response, error)
    }
  }
}

const JSON_HEADERS = { 'Content-Type': 'application/json' }

function publisherOf(answer: PublishAnswer): string {
  if (answer.ok) return answer.publisher
  throw new ClientError(answer.code, answer.message)
}

function accept(response: PublishResponse, id: string | null): void {
  response.reply(200, JSON_HEADERS, id === null ? '{"id":null}' : `{"id":"${id}"}`)
}

function bodyOrThrow(body: Buffer | null): Buffer {
  if (body === null) throw new ClientError('too_large', 'the body is too large')
  return body
}

function written(data: unknown): string {
  const json = tryWriteJson(data)
  if (json === undefined) throw new ClientError('invalid_input', 'data: nested too deeply')
  return json
}

function channelOf(query: string): string {
  // The plain case needs no parser: nearly every request has nothing but the channel.
  if (query.startsWith('channel=') && !/[&%+]/.test(query)) return query.slice(8)
  const channels = new URLSearchParams(query).getAll('channel')
  if (channels.length === 1) return channels[0]!
  throw new ClientError(
    'invalid_input',
    channels.length === 0
      ? 'channel: is missing; use /publish?channel=<subsystem>:<rest>'
      : 'channel: only one',
  )
}

function scopedKey(key: string, publisher: string): string | undefined {
  if (key === '') return undefined
  if (key.length > MAX_KEY) {
    throw new ClientError('invalid_input', `Idempotency-Key: at most ${MAX_KEY} characters`)
  }
  return `${publisher} ${key}`
}

function textOr(value: unknown, name: string): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'string') return value
  throw new ClientError('invalid_input', `${name}: expected a text`)
}
