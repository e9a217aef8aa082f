import type { Hub } from '../../hub/hub.ts'
import type { Client } from '../../hub/client.ts'
import type { Range } from '../../hub/subscriber.ts'
import { formatCursor, parseCursor } from '../../journal/cursor.ts'
import type { Journal } from '../../journal/journal.ts'
import type { Request, Response } from '../../listeners/listener.ts'
import type { Counts } from '../../ops/counts.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { Live } from '../../rules.ts'
import type { RequestHandler, Route } from '../http.ts'
import type { Carrier } from '../requests/arrival.ts'
import { type CorsHeaders, corsHeaders, NO_ORIGIN, preflight } from '../requests/cors.ts'
import type { FeedFanout } from './fanout.ts'
import { FramesFormat, HtmlFormat, NdjsonFormat } from './lines.ts'
import { FEED_HEADERS, type FeedDependencies, FeedLink } from './link.ts'
import type { Reception } from '../requests/reception.ts'
import { isPassingError, retryHeaders, retryMs } from '../requests/refusals.ts'
import { reconnectEvent, SseFormat } from './sse.ts'
import { Writer } from './writer.ts'

export interface FeedsDependencies {
  readonly live: Live
  readonly hub: Pick<Hub, 'sending'>
  readonly journal: Pick<Journal, 'epoch' | 'head'>
  readonly reception: Reception
  readonly fanout: FeedFanout
  readonly counts: Counts
  /** What authorises requests in the name of the client: told with `welcome`. @default nothing does */
  readonly secretOf?: (client: Client) => string | null
  /** The functions that the iframe form may call, at present. @default `parent.handle` alone */
  readonly callbacks?: () => readonly string[]
  refuse(response: Response, error: unknown, headers?: Readonly<Record<string, string>>): void
}

export interface Feeds {
  readonly routes: readonly Route[]
  /** `GET /stream`, for whoever serves it at another address as well. */
  readonly stream: RequestHandler
}

/** The transports that only receive, by an endless answer: Server-Sent Events, and a stream of lines or of scripts. */
export function createFeeds(deps: FeedsDependencies): Feeds {
  const { reception, fanout, hub, journal, counts, live } = deps
  const link: FeedDependencies = {
    fanout,
    hub,
    cursor: () => (journal.epoch === '' ? null : formatCursor(journal.epoch, journal.head)),
    secretOf: deps.secretOf ?? (() => null),
  }
  const sse = new Writer(new SseFormat(retryMs))
  const streams = new StreamWriters(deps.callbacks ?? (() => DEFAULT_CALLBACKS))
  const carrierOf = (transport: string, writer: Writer, refuse: Carrier['refuse']): Carrier => ({
    transport,
    onePlace: true,
    createLink: (arrival) => new FeedLink(link, writer, arrival),
    refuse,
  })
  const refuse: Carrier['refuse'] = (response, error, headers) => {
    deps.refuse(response, error, { ...NO_STORE, ...headers, ...retryHeaders(error) })
  }
  const events = carrierOf('sse', sse, (response, error, headers) => {
    if (!isPassingError(error)) return refuse(response, error, headers)
    // For any other status EventSource would stop for good.
    counts.error('http', error.code)
    const head = { ...sse.format.headers, ...FEED_HEADERS, ...headers }
    response.reply(200, head, reconnectEvent(retryMs(), error.code))
  })
  const options = preflight(deps, 'GET, HEAD')
  const stream: RequestHandler = (request, response) => {
    const { rules } = live
    let writer: Writer
    try {
      writer = streams.choose(request, rules.config.origins)
    } catch (error) {
      return deps.refuse(response, error, corsHeaders(request, rules) ?? NO_ORIGIN)
    }
    const carrier = carrierOf('stream', writer, refuse)
    reception.receive(request, response, carrier, placeOf(request))
  }
  const routes: Route[] = [
    {
      path: '/sse',
      methods: {
        GET: (request, response) => reception.receive(request, response, events, placeOf(request)),
        HEAD: (_request, response) => response.reply(200, { ...sse.format.headers, ...FEED_HEADERS }, ''),
        OPTIONS: options,
      },
    },
    {
      path: '/stream',
      methods: {
        GET: stream,
        HEAD: (request, response) => {
          const { format } = streams.choose(request, live.rules.config.origins)
          response.reply(200, { ...format.headers, ...FEED_HEADERS }, '')
        },
        OPTIONS: options,
      },
    },
  ]
  return { routes, stream }
}

/** Chooses how a stream is written. Those of the same form share one writer. */
class StreamWriters {
  readonly #callbacks: () => readonly string[]
  readonly #lines = new Writer(new NdjsonFormat())
  readonly #frames = new Writer(new FramesFormat())
  readonly #pages = new Map<string, Writer>()

  constructor(callbacks: () => readonly string[]) {
    this.#callbacks = callbacks
  }

  /** @throws {ClientError} invalid_input for forms and callbacks that are none */
  choose({ query }: Request, origins: readonly string[]): Writer {
    const parameters = new URLSearchParams(query)
    const format = parameters.get('format') ?? 'ndjson'
    if (format === 'html') return this.#page(parameters.get('callback'), origins)
    if (format !== 'ndjson') throw new ClientError('invalid_input', "format: expected 'ndjson' or 'html'")
    return parameters.get('frames') === '1' ? this.#frames : this.#lines
  }

  #page(callback: string | null, origins: readonly string[]): Writer {
    // Equal to a name that the config has: whatever else stood there would run in the page.
    if (callback === null || !this.#callbacks().includes(callback)) {
      throw new ClientError('invalid_input', 'callback: expected one of the names that the config allows')
    }
    const ancestors = ancestorsOf(origins)
    const key = `${callback} ${ancestors}`
    const known = this.#pages.get(key)
    if (known !== undefined) return known
    const writer = new Writer(new HtmlFormat(callback, ancestors))
    this.#pages.set(key, writer)
    return writer
  }
}

/** Which pages may hold the iframe: the host's own and the list's. `null` is no source that CSP knows. */
function ancestorsOf(origins: readonly string[]): string {
  return ["'self'", ...origins.filter((origin) => origin !== 'null')].join(' ')
}

/**
 * From where a client goes on that was here before: `Last-Event-ID`, or `lastEventId` of those that can't set headers,
 * rather than what its URL said when it was first opened. What is no cursor was given by somebody else: what came since
 * is lost, but a refusal would stop EventSource for good.
 */
function placeOf(request: Request): (asked: Range) => Range {
  return (asked) => {
    const parameters = new URLSearchParams(request.query)
    const place = request.header('last-event-id') || parameters.get('lastEventId')
    if (place) return { since: cursorOrNone(place) }
    // Also where no channel is named, and a module chooses them.
    const since = parameters.get('since')
    return { since: since ? cursorOrNone(since) : undefined, last: asked.last }
  }
}

function cursorOrNone(place: string): string {
  return parseCursor(place) === null ? NO_PLACE : place
}

/** A place in a journal that never was. */
const NO_PLACE = 'none-0'

const NO_STORE: CorsHeaders = { 'Cache-Control': 'no-store' }

const DEFAULT_CALLBACKS: readonly string[] = ['parent.handle']
