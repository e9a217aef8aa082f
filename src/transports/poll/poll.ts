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
import { type CorsHeaders, corsHeaders, foreignOrigin, NO_ORIGIN, preflight } from '../feeds/cors.ts'
import { type Arrival, LOST } from '../feeds/arrival.ts'
import type { Reception } from '../feeds/reception.ts'
import { closeError, isPassing, retryHeaders } from '../feeds/refusals.ts'
import type { Route } from '../http.ts'
import { Answers } from './answers.ts'
import { type Ask, readAsk } from './ask.ts'
import { type CarrierOwner, PollCarrier } from './carrier.ts'
import type { PollFanout } from './fanout.ts'
import { plainForm } from './form.ts'
import { type Bounds, type LinkOwner, PollLink } from './link.ts'
import { PollSessions, type PollSessionsDependencies } from './sessions.ts'
import { type Form, Stay } from './stay.ts'
import { Turns } from './turns.ts'

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
  receive(request: Request, response: Response, ask: Ask, form: Form): void
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
  readonly #stays = new Map<PollLink, Stay>()
  readonly #turns = new Turns<Stay>((stay) => this.#answer(stay, false))

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
    return this.#stays.size
  }

  get written(): number {
    return this.#answers.written
  }

  receive(request: Request, response: Response, ask: Ask, form: Form): void {
    this.#receive(request, response, ask, form, false)
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
    const stay = this.#stays.get(link)
    if (stay === undefined) return
    this.#sessions.catchUpServed(stay, stay.ask.since).then(
      () => this.#settle(stay),
      (error: unknown) => this.#fail(stay, error),
    )
  }

  due(link: PollLink): void {
    const stay = this.#stays.get(link)
    if (stay === undefined || stay.queued) return
    // Before it has all that it asked for there is an answer only where that is more than one takes.
    if (stay.opened || link.isCut || link.refusal !== null) this.#enqueue(stay)
  }

  /** The client was closed, by whomever. */
  closed(link: PollLink, code: number, reason: string): void {
    const stay = this.#stays.get(link)
    if (stay === undefined) return
    // What it has is whole: the client goes on from there, at another node.
    stay.leavesWith = code
    if (isPassing(code) && stay.opened) this.#answer(stay, true, { Connection: 'close' })
    this.#refuse(
      stay,
      code === LOST ? new ClientError('unavailable', reason) : closeError(code, reason),
      code,
    )
  }

  #poll(request: Request, response: Response): void {
    const headers = corsHeaders(request, this.#deps.live.rules)
    let ask: Ask
    let link: Link | null
    try {
      if (headers === null) throw foreignOrigin()
      ask = readAsk(request)
      link = this.#sessions.find(ask)
    } catch (error) {
      return this.#deps.refuse(response, error, { ...(headers ?? NO_ORIGIN), ...plainForm.refusal })
    }
    const known = link instanceof PollLink ? this.#stays.get(link) : undefined
    if (known !== undefined) return this.#comeBack(known, ask, response, headers)
    this.#receive(request, response, ask, plainForm, ask.session?.id != null)
  }

  #receive(request: Request, response: Response, ask: Ask, form: Form, replaces: boolean): void {
    const carrier = new PollCarrier(this, ask, form, replaces)
    this.#deps.reception.receive(request, response, carrier, form.past)
  }

  arrive(arrival: Arrival, ask: Ask, form: Form, replaces: boolean): PollLink {
    const link = new PollLink(
      this,
      arrival,
      ask.channels.filter((channel) => this.#deps.hub.isJournaled(channel)),
    )
    // Who asks again and again for changes would be answered at once each time.
    link.quiet = ask.since !== null && ask.waitMs > 0
    link.fleeting = ask.session === null
    this.#stays.set(link, new Stay(arrival, link, ask, form, replaces))
    return link
  }

  refuse(response: Response, error: ClientError, headers: CorsHeaders): void {
    this.#deps.refuse(response, error, { ...headers, ...retryHeaders(error) })
  }

  left({ client }: Arrival): void {
    const stay = client.link instanceof PollLink ? this.#stays.get(client.link) : undefined
    if (stay !== undefined) this.#refuse(stay, new ClientError('unavailable', 'the connection is over'), LOST)
  }

  /** It is on all that it asked for: it is answered at once, or waits. */
  #settle(stay: Stay): void {
    const { client, link, ask, form, response } = stay
    if (!client.open || response === null) return
    stay.opened = true
    if (client.subscriptions.size === 0 && client.recovering.length === 0) {
      return this.#refuse(stay, new ClientError('invalid_input', 'channel: is missing'))
    }
    if (form.wants !== undefined && !link.isCut) link.keep((message) => form.wants!(message))
    const isDue = (stay.isFirst && !form.holds) || (ask.session !== null && !stay.introduced)
    if (isDue || ask.waitMs === 0 || !link.isEmpty || link.refusal !== null) return this.#answer(stay, false)
    stay.stopTimer()
    stay.timer = setTimeout(() => this.#answer(stay, true), ask.waitMs).unref()
  }

  #enqueue(stay: Stay): void {
    if (stay.queued || stay.response === null) return
    stay.queued = true
    this.#turns.add(stay)
  }

  /** @param atOnce with whatever cursor there is */
  #answer(stay: Stay, atOnce: boolean, more: CorsHeaders = {}): void {
    stay.queued = false
    const { link, response, ask, form } = stay
    if (response === null || !this.#stays.has(link)) return
    const { refusal } = link
    if (refusal !== null && ask.session === null) return this.#refuse(stay, refusal)
    if (refusal !== null && !link.tellsEnd) {
      // An answer would have its cursor where it was, and nothing in it: the client would ask the same for ever.
      link.forgive()
      stay.behind = true
      return this.#fail(stay, refusal)
    }
    const cursor = this.#cursorOf(stay, atOnce)
    if (cursor === undefined) {
      setTimeout(() => this.due(link), LOOK_AGAIN_MS).unref()
      return
    }
    const since = ask.since !== null || stay.cursor !== null
    const told = this.#sessions.introduce(stay)
    const answer = link.take(cursor, since)
    stay.cursor = cursor
    const reply = form.reply(told === '' ? answer : { ...answer, more: answer.more + told }, ask, (one) =>
      this.#answers.body(one),
    )
    stay.stopTimer()
    stay.response = null
    response.reply(reply.status, { ...stay.headers, ...reply.headers, ...more }, reply.body)
    this.#after(stay)
  }

  /**
   * Where the client goes on from: never ahead of anything that it was not given. Undefined where that is not known
   * now.
   */
  #cursorOf(stay: Stay, atOnce: boolean): string | null | undefined {
    const { journal } = this.#deps
    const { link } = stay
    if (link.isCut && link.refusal === null) {
      // What was left out has to be asked for.
      if (link.isFrozen) stay.behind = true
      return link.lastId ?? stay.cursor ?? stay.ask.since ?? link.begins
    }
    if (stay.opened && link.isLive && link.refusal === null) return journal.epoch === '' ? null : this.#head
    if (!atOnce && link.refusal === null) return undefined
    link.restart()
    stay.behind = true
    return stay.cursor ?? stay.ask.since ?? link.begins
  }

  get #head(): string {
    return formatCursor(this.#deps.journal.epoch, this.#deps.journal.head)
  }

  /** Says no to the request, and ends its session with it. */
  #refuse(stay: Stay, error: ClientError, code: number = closeCodeOf(error)): void {
    const { response } = stay
    stay.response = null
    if (response !== null && !response.done) {
      this.refuse(response, error, { ...stay.headers, ...stay.form.refusal })
    }
    this.#end(stay, code)
  }

  #fail(stay: Stay, error: unknown): void {
    const { response } = stay
    if (!this.#stays.has(stay.link)) return
    stay.response = null
    if (response !== null) this.#deps.refuse(response, error, { ...stay.headers, ...stay.form.refusal })
    // A wrong request is no end of a session.
    if (stay.introduced && stay.client.open) this.#awaitReturn(stay)
    else this.#end(stay, LOST)
  }

  /** A request was answered. */
  #after(stay: Stay): void {
    if (!stay.client.open || stay.ask.session === null) {
      return this.#end(stay, stay.leavesWith)
    }
    this.#awaitReturn(stay)
    // A recovery that was paused goes on.
    stay.client.onDrain()
  }

  #end(stay: Stay, code: number): void {
    if (!this.#stays.delete(stay.link)) return
    stay.stopTimer()
    stay.link.end()
    stay.arrival.leave(code)
  }

  /** A session between two requests. */
  #awaitReturn(stay: Stay): void {
    stay.stopTimer()
    stay.timer = setTimeout(() => this.#end(stay, LOST), this.#deps.graceMs ?? GRACE_MS).unref()
  }

  /** The next request of a session. */
  #comeBack(stay: Stay, ask: Ask, response: Response, headers: CorsHeaders): void {
    const before = stay.response
    // One that waits is the client's no more: what is answered there may be read by nobody.
    if (before !== null) {
      const error = new ClientError('conflict', 'another request of this session has come')
      this.#deps.refuse(before, error, stay.headers)
    }
    stay.stopTimer()
    stay.ask = ask
    stay.response = response
    stay.headers = headers
    response.onAbort(() => {
      if (stay.response !== response) return
      stay.response = null
      this.#awaitReturn(stay)
    })
    this.#sessions.goOn(stay).then(
      () => {
        if (stay.response !== response) return
        stay.behind = false
        this.#settle(stay)
      },
      (error: unknown) => {
        if (stay.response === response) this.#fail(stay, error)
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
