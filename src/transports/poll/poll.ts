import type { Limits } from '../../config/config.ts'
import type { Hub } from '../../hub/hub.ts'
import { answerBytesOf, highWaterOf } from '../../hub/pacing.ts'
import type { Link } from '../../hub/link.ts'
import { formatCursor } from '../../journal/cursor.ts'
import type { Journal } from '../../journal/journal.ts'
import type { Request, Response } from '../../listeners/listener.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { Live } from '../../rules.ts'
import { closeCodeOf } from '../endings.ts'
import { type CorsHeaders, corsHeaders, foreignOrigin, NO_ORIGIN, preflight } from '../requests/cors.ts'
import { type Arrival, LOST } from '../requests/arrival.ts'
import type { Reception } from '../requests/reception.ts'
import { closeError, isPassing, retryHeaders } from '../requests/refusals.ts'
import type { Route } from '../http.ts'
import { Answers } from './answers.ts'
import { type PollRequest, readPollRequest } from './request.ts'
import { type CarrierOwner, PollCarrier } from './carrier.ts'
import type { PollFanout } from './fanout.ts'
import { plainFormat } from './format.ts'
import { type Bounds, type LinkOwner, PollLink } from './link.ts'
import { PollSessions, type PollSessionsDependencies } from './sessions.ts'
import { type AnswerFormat, Poller } from './poller.ts'
import { Slices } from './slices.ts'

export interface PollDependencies extends PollSessionsDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly journal: Pick<Journal, 'epoch' | 'head'>
  readonly reception: Reception
  /** The hub's too. */
  readonly fanout: PollFanout
  refuse(response: Response, error: unknown, headers?: CorsHeaders): void
  /** How long a session waits for its next request, in ms. @default 30_000 */
  readonly graceMs?: number
}

/** Polling and long-polling. */
export interface Poll {
  readonly routes: readonly Route[]
  readonly fanout: PollFanout
  /** Clients that wait, and sessions between two requests. */
  readonly size: number
  /** How many bodies of answers were written: many equal ones are one. */
  readonly written: number
  /**
   * Receives a client that asks in words of its own, answered in a form of its own.
   * @throws nothing: what is wrong is answered by the form
   */
  receive(request: Request, response: Response, wanted: PollRequest, format: AnswerFormat): void
}

export function createPoll(deps: PollDependencies): Poll {
  return new PollTransport(deps)
}

/** How soon it is looked again whether a client's recovery has ended. */
const LOOK_AGAIN_MS = 20

const GRACE_MS = 30_000

class PollTransport implements Poll, LinkOwner, CarrierOwner {
  readonly fanout: PollFanout
  readonly routes: readonly Route[]
  readonly #deps: PollDependencies
  readonly #sessions: PollSessions
  readonly #answers = new Answers()
  /** Of which the bounds are; a reload brings others. */
  #limits: Limits
  #bounds: Bounds
  readonly #pollers = new Map<PollLink, Poller>()
  readonly #slices = new Slices<Poller>((poller) => this.#answer(poller, false))

  constructor(deps: PollDependencies) {
    this.#deps = deps
    this.#limits = deps.live.rules.config.limits
    this.#bounds = boundsOf(this.#limits)
    this.fanout = deps.fanout
    this.#sessions = new PollSessions(deps)
    this.routes = [
      {
        path: '/poll',
        methods: {
          GET: (request, response) => this.#poll(request, response),
          OPTIONS: preflight(deps, 'GET, HEAD'),
        },
      },
    ]
  }

  get size(): number {
    return this.#pollers.size
  }

  get written(): number {
    return this.#answers.written
  }

  receive(request: Request, response: Response, wanted: PollRequest, format: AnswerFormat): void {
    this.#receive(request, response, wanted, format, false)
  }

  bounds(): Bounds {
    const { limits } = this.#deps.live.rules.config
    // Asked for at each message of each client.
    if (limits !== this.#limits) {
      this.#limits = limits
      this.#bounds = boundsOf(limits)
    }
    return this.#bounds
  }

  opened(link: PollLink): void {
    const poller = this.#pollers.get(link)
    if (poller === undefined) return
    this.#sessions.catchUpServed(poller, poller.wanted.since).then(
      () => this.#settle(poller),
      (error: unknown) => this.#fail(poller, error),
    )
  }

  due(link: PollLink): void {
    const poller = this.#pollers.get(link)
    if (poller === undefined || poller.queued) return
    // Before it has all that it asked for there is an answer only where that is more than one takes.
    if (poller.opened || link.isCut || link.refusal !== null) this.#enqueue(poller)
  }

  /** The client was closed, by whomever. */
  closed(link: PollLink, code: number, reason: string): void {
    const poller = this.#pollers.get(link)
    if (poller === undefined) return
    // What it has is whole: the client goes on from there, at another node.
    poller.leavesWith = code
    if (isPassing(code) && poller.opened) this.#answer(poller, true, { Connection: 'close' })
    this.#refuse(
      poller,
      code === LOST ? new ClientError('unavailable', reason) : closeError(code, reason),
      code,
    )
  }

  #poll(request: Request, response: Response): void {
    const headers = corsHeaders(request, this.#deps.live.rules)
    let wanted: PollRequest
    let link: Link | null
    try {
      if (headers === null) throw foreignOrigin()
      wanted = readPollRequest(request)
      link = this.#sessions.find(wanted)
    } catch (error) {
      return this.#deps.refuse(response, error, { ...(headers ?? NO_ORIGIN), ...plainFormat.refusal })
    }
    const known = link instanceof PollLink ? this.#pollers.get(link) : undefined
    if (known !== undefined) return this.#comeBack(known, wanted, response, headers)
    this.#receive(request, response, wanted, plainFormat, wanted.session?.id != null)
  }

  #receive(
    request: Request,
    response: Response,
    wanted: PollRequest,
    format: AnswerFormat,
    replaces: boolean,
  ): void {
    const carrier = new PollCarrier(this, wanted, format, replaces)
    this.#deps.reception.receive(request, response, carrier, format.past)
  }

  arrive(arrival: Arrival, wanted: PollRequest, format: AnswerFormat, replaces: boolean): PollLink {
    const link = new PollLink(
      this,
      arrival,
      wanted.channels.filter((channel) => this.#deps.hub.isJournaled(channel)),
    )
    // Who asks again and again for changes would be answered at once each time.
    link.quiet = wanted.since !== null && wanted.waitMs > 0
    link.fleeting = wanted.session === null
    this.#pollers.set(link, new Poller(arrival, link, wanted, format, replaces))
    return link
  }

  refuse(response: Response, error: ClientError, headers: CorsHeaders): void {
    this.#deps.refuse(response, error, { ...headers, ...retryHeaders(error) })
  }

  left({ client }: Arrival): void {
    const poller = client.link instanceof PollLink ? this.#pollers.get(client.link) : undefined
    if (poller !== undefined)
      this.#refuse(poller, new ClientError('unavailable', 'the connection is over'), LOST)
  }

  /** It is on all that it asked for: it is answered at once, or waits. */
  #settle(poller: Poller): void {
    const { client, link, wanted, format, response } = poller
    if (!client.open || response === null) return
    poller.opened = true
    if (client.subscriptions.size === 0 && client.recovering.length === 0) {
      return this.#refuse(poller, new ClientError('invalid_input', 'channel: is missing'))
    }
    if (format.wants !== undefined && !link.isCut) link.keep((message) => format.wants!(message))
    const isDue = (poller.isFirst && !format.holds) || (wanted.session !== null && !poller.introduced)
    if (isDue || wanted.waitMs === 0 || !link.isEmpty || link.refusal !== null)
      return this.#answer(poller, false)
    poller.stopTimer()
    poller.timer = setTimeout(() => this.#answer(poller, true), wanted.waitMs).unref()
  }

  #enqueue(poller: Poller): void {
    if (poller.queued || poller.response === null) return
    poller.queued = true
    this.#slices.add(poller)
  }

  /** @param atOnce with whatever cursor there is */
  #answer(poller: Poller, atOnce: boolean, more: CorsHeaders = {}): void {
    poller.queued = false
    const { link, response, wanted, format } = poller
    if (response === null || !this.#pollers.has(link)) return
    const { refusal } = link
    if (refusal !== null && wanted.session === null) return this.#refuse(poller, refusal)
    if (refusal !== null && !link.tellsEnd) {
      // An answer would have its cursor where it was, and nothing in it: the client would ask the same for ever.
      link.forgive()
      poller.behind = true
      return this.#fail(poller, refusal)
    }
    const cursor = this.#cursorOf(poller, atOnce)
    if (cursor === undefined) {
      setTimeout(() => this.due(link), LOOK_AGAIN_MS).unref()
      return
    }
    const since = wanted.since !== null || poller.cursor !== null
    const told = this.#sessions.introduce(poller)
    const answer = link.take(cursor, since)
    poller.cursor = cursor
    const reply = format.reply(
      told === '' ? answer : { ...answer, more: answer.more + told },
      wanted,
      (one) => this.#answers.body(one),
    )
    poller.stopTimer()
    poller.response = null
    response.reply(reply.status, { ...poller.headers, ...reply.headers, ...more }, reply.body)
    this.#after(poller)
  }

  /**
   * Where the client goes on from: never ahead of anything that it was not given. Undefined where that is not known
   * now.
   */
  #cursorOf(poller: Poller, atOnce: boolean): string | null | undefined {
    const { journal } = this.#deps
    const { link } = poller
    if (link.isCut && link.refusal === null) {
      // What was left out has to be asked for.
      if (link.isFrozen) poller.behind = true
      return link.lastId ?? poller.cursor ?? poller.wanted.since ?? link.begins
    }
    if (poller.opened && link.isLive && link.refusal === null) return journal.epoch === '' ? null : this.#head
    if (!atOnce && link.refusal === null) return undefined
    link.restart()
    poller.behind = true
    return poller.cursor ?? poller.wanted.since ?? link.begins
  }

  get #head(): string {
    return formatCursor(this.#deps.journal.epoch, this.#deps.journal.head)
  }

  /** Says no to the request, and ends its session with it. */
  #refuse(poller: Poller, error: ClientError, code: number = closeCodeOf(error)): void {
    const { response } = poller
    poller.response = null
    if (response !== null && !response.done) {
      this.refuse(response, error, { ...poller.headers, ...poller.format.refusal })
    }
    this.#end(poller, code)
  }

  #fail(poller: Poller, error: unknown): void {
    const { response } = poller
    if (!this.#pollers.has(poller.link)) return
    poller.response = null
    if (response !== null) this.#deps.refuse(response, error, { ...poller.headers, ...poller.format.refusal })
    // A wrong request is no end of a session.
    if (poller.introduced && poller.client.open) this.#awaitReturn(poller)
    else this.#end(poller, LOST)
  }

  /** A request was answered. */
  #after(poller: Poller): void {
    if (!poller.client.open || poller.wanted.session === null) {
      return this.#end(poller, poller.leavesWith)
    }
    this.#awaitReturn(poller)
    // A recovery that was paused goes on.
    poller.client.onDrain()
  }

  #end(poller: Poller, code: number): void {
    if (!this.#pollers.delete(poller.link)) return
    poller.stopTimer()
    poller.link.end()
    poller.arrival.leave(code)
  }

  /** A session between two requests. */
  #awaitReturn(poller: Poller): void {
    poller.stopTimer()
    poller.timer = setTimeout(() => this.#end(poller, LOST), this.#deps.graceMs ?? GRACE_MS).unref()
  }

  /** The next request of a session. */
  #comeBack(poller: Poller, wanted: PollRequest, response: Response, headers: CorsHeaders): void {
    const before = poller.response
    // One that waits is the client's no more: what is answered there may be read by nobody.
    if (before !== null) {
      const error = new ClientError('conflict', 'another request of this session has come')
      this.#deps.refuse(before, error, poller.headers)
    }
    poller.stopTimer()
    poller.wanted = wanted
    poller.response = response
    poller.headers = headers
    response.onAbort(() => {
      if (poller.response !== response) return
      poller.response = null
      this.#awaitReturn(poller)
    })
    this.#sessions.goOn(poller).then(
      () => {
        if (poller.response !== response) return
        poller.behind = false
        this.#settle(poller)
      },
      (error: unknown) => {
        if (poller.response === response) this.#fail(poller, error)
      },
    )
  }
}

function boundsOf(limits: Limits): Bounds {
  return {
    messages: limits.recoveryMessages,
    bytes: answerBytesOf(limits),
    hardBytes: limits.bufferBytes,
    highWater: highWaterOf(limits),
  }
}
