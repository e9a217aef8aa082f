import type { Request, Response } from '../../listeners/listener.ts'
import { type CorsHeaders, corsHeaders, NO_ORIGIN, preflight } from '../requests/cors.ts'
import { invalid } from '../fields.ts'
import type { RequestHandler, Route } from '../http.ts'
import { type PollRequest, readPollRequest } from '../poll/request.ts'
import type { Poll } from '../poll/poll.ts'
import type { AnswerFormat } from '../poll/poller.ts'
import { channelIn, Readdressed } from './address.ts'
import { cometFormat, listFormat } from './formats.ts'
import { publishRaw, type RawPublishDependencies } from './publish.ts'
import { readSince, type Since } from './since.ts'

export interface PredecessorsDependencies extends RawPublishDependencies {
  readonly poll: Pick<Poll, 'receive'>
  /** `GET /stream`. */
  readonly stream: RequestHandler
  refuse(response: Response, error: unknown, headers?: CorsHeaders): void
}

/** The function of the page around the iframe. */
const CALLBACK = 'parent.handle'

const CID = ['cid']
const CHANNEL_ID = ['channel_id', 'cid']

/** The addresses that pages of the predecessors ask at; `cid=5` is channel `<subsystem>:5`. */
export function predecessorRoutes(deps: PredecessorsDependencies, subsystem: string): Route[] {
  const { live, poll } = deps
  const asked = (
    names: readonly string[],
    formatOf: (request: Request) => { wanted: Partial<PollRequest>; format: AnswerFormat },
  ) =>
    guarded(deps, (request, response) => {
      const channel = channelIn(request, subsystem, names)
      const { wanted, format } = formatOf(request)
      const moved = new Readdressed(request, { channel })
      poll.receive(moved, response, { ...readPollRequest(moved), ...wanted }, format)
    })
  const newest = (): number => live.rules.config.limits.recoveryMessages
  const listen = asked(CID, (request) => {
    const since = placeOf(request)
    const wait = new URLSearchParams(request.query).get('wait')
    const { waitMs } = wait === null ? DEFAULT : readPollRequest(new Readdressed(request, { wait }))
    return { wanted: { since: asText(since), waitMs }, format: cometFormat(since, newest()) }
  })
  const list = asked(CHANNEL_ID, (request) => {
    const parameters = new URLSearchParams(request.query)
    const since = readSince(parameters.get('since') || '0')
    const sent = parameters.has('lost')
    parameters.set('since', '0')
    parameters.set('lost', '1')
    const format = listFormat(since, newest(), { all: `?${parameters.toString()}`, sent })
    return { wanted: { since: asText(since), waitMs: 0 }, format }
  })
  const stream = guarded(deps, (request, response) => {
    const channel = channelIn(request, subsystem, CID)
    const since = new URLSearchParams(request.query).get('since')
    const place = since === null ? {} : { since }
    deps.stream(new Readdressed(request, { channel, ...place, format: 'html', callback: CALLBACK }), response)
  })
  const OPTIONS = preflight(deps, 'GET, HEAD')
  return [
    // Without the slash it is our own, which knows no cid.
    {
      path: '/publish/',
      methods: { POST: (request, response) => publishRaw(deps, subsystem, request, response) },
    },
    ...both('/listen', { GET: listen, OPTIONS }),
    ...both('/get_messages', { GET: list, OPTIONS }),
    ...both('/messages', { GET: stream }),
  ]
}

const DEFAULT = { waitMs: 25_000 }

function both(path: string, methods: Route['methods']): Route[] {
  return [
    { path, methods },
    { path: `${path}/`, methods },
  ]
}

/** What is wrong with the request is told to pages of other sites too. */
function guarded(deps: PredecessorsDependencies, handler: RequestHandler): RequestHandler {
  return (request, response) => {
    const headers = corsHeaders(request, deps.live.rules)
    try {
      handler(request, response)
    } catch (error) {
      deps.refuse(response, error, headers ?? NO_ORIGIN)
    }
  }
}

/** What the URL says, otherwise the ETag of the answer before. Times of headers are too coarse to go by. */
function placeOf(request: Request): Since | null {
  const since = new URLSearchParams(request.query).get('since')
  if (since !== null && since !== '') return readSince(since)
  const tag = request.header('if-none-match')
  if (tag === '') return null
  const place = /^(?:W\/)?"?([^",]*)"?$/.exec(tag.trim())?.[1]
  if (place === undefined) throw invalid('If-None-Match: expected the ETag of the answer before')
  return readSince(place)
}

function asText(since: Since | null): string | null {
  if (since === null) return null
  return 'cursor' in since ? since.cursor : null
}
