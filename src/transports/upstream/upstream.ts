import { grantsOf } from '../../auth/access.ts'
import { authenticate } from '../../auth/authenticator.ts'
import type { Bus, Memo } from '../../bus/bus.ts'
import type { Answer } from '../../hub/answer.ts'
import type { Client } from '../../hub/client.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Request, Response } from '../../listeners/listener.ts'
import type { Counts } from '../../ops/counts.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { ClientFrame } from '../../protocol/decode.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import { userKey } from '../../protocol/people.ts'
import type { User } from '../../registry/define.ts'
import type { Services } from '../../registry/context.ts'
import type { Live, Rules } from '../../rules.ts'
import type { MaybePromise } from '../../sources/source.ts'
import type { Commands, VisitorFrame } from '../commands.ts'
import { corsHeaders, type CorsHeaders, foreignOrigin, NO_ORIGIN, preflight } from '../requests/cors.ts'
import { JSON_HEADERS, type RequestHandler, type Route } from '../http.ts'
import { Inbox } from '../inbox.ts'
import { type Admitted, admit, hasCredentials } from './admission.ts'
import { type BodyKind, readBody } from './body.ts'
import { Callers } from './callers.ts'
import { actionAt, callOf, type Command, commandOf, publicationOf } from './command.ts'
import { Forwarder } from './forwarder.ts'
import { asBody, asFrame, type Outcome, outcomeOf, type HttpAnswer } from './outcome.ts'
import { type Pass, Sessions } from './sessions.ts'
import { Suspects } from './suspects.ts'

export interface UpstreamDependencies {
  readonly live: Live
  readonly hub: Pick<Hub, 'get'>
  readonly bus: Pick<Bus, 'node' | 'peers' | 'ready' | 'send'>
  readonly commands: Pick<Commands, 'execute' | 'executeAlone' | 'refuse' | 'track'>
  readonly services: Services
  readonly counts: Counts
  /** Who may still ask for how much without a connection. @default with its own defaults */
  readonly callers?: Callers
  /** How much longer than its action another node may take. @default 2000 */
  readonly graceMs?: number
  refuse(response: Response, error: unknown, headers?: CorsHeaders): void
}

/** Makes a command of a body; what the request's head says is in its closure. @throws {ClientError} */
type Compose = (bytes: Buffer | null, kind: BodyKind) => Command

/** How what became of it is told. */
type Tell = (outcome: Outcome, command: Command) => HttpAnswer

/**
 * The way up for those that can only receive, and for those that have no connection at all: calls, publications and every
 * other frame by POST. With a session and its secret a request acts as that connection, whichever node has it.
 */
export class Upstream {
  readonly sessions: Sessions
  readonly #deps: UpstreamDependencies
  readonly #callers: Callers
  readonly #suspects: Suspects
  readonly #forwarder: Forwarder
  /** Of connections that have sent something; each goes with its client. */
  readonly #inboxes = new WeakMap<Client, Inbox>()
  #draining = false

  constructor(deps: UpstreamDependencies) {
    const { live, hub, bus, counts, services } = deps
    this.#deps = deps
    const proxied = (): boolean => live.rules.config.trustedProxies.length > 0
    this.#callers = deps.callers ?? new Callers({ proxied })
    this.#suspects = new Suspects({ proxied })
    this.sessions = new Sessions({ node: bus.node, get: (session) => hub.get(session) })
    this.#forwarder = new Forwarder({
      bus,
      counts,
      log: services.log,
      perform: (session, text, proof) =>
        this.#perform(this.sessions.findByProof(session, text, proof), commandOf(text)),
    })
  }

  /** Users and addresses whose calls are counted. */
  get callers(): number {
    return this.#callers.size
  }

  routes(): Route[] {
    const { prefix, aliases, plain } = this.#deps.live.rules.config.calls
    const named = (actionOf: (path: string) => string, bare: boolean): Route['methods'] => ({
      POST: (request, response) => this.#call(request, response, actionOf(request.path), bare),
      OPTIONS: this.preflight,
    })
    return [
      { path: `${prefix}/*`, methods: named((path) => actionAt(path.slice(prefix.length + 1)), false) },
      ...[...aliases].map(([path, action]) => ({ path, methods: named(() => action, plain) })),
      {
        path: '/command',
        methods: { POST: (request, response) => this.#command(request, response), OPTIONS: this.preflight },
      },
    ]
  }

  get preflight(): RequestHandler {
    return preflight(this.#deps, 'POST')
  }

  /** `POST /publish` of a client. False, and nothing done, where the request has no credentials of one. */
  publish(request: Request, response: Response): boolean {
    if (!hasCredentials(request, this.#deps.live.rules)) return false
    const { query } = request
    const key = request.header('idempotency-key')
    const exclude = request.header('exclude')
    this.#receive(
      request,
      response,
      ({ pass }) =>
        (bytes, kind) =>
          publicationOf({ query, key, exclude, session: pass?.session ?? null }, readBody(bytes, kind)),
      (outcome) => asBody(outcome, (json) => json),
    )
    return true
  }

  /** For the bus's handlers. */
  onMemo(memo: Memo, from: string): void {
    this.#forwarder.onMemo(memo, from)
  }

  onPeer(node: string, here: boolean): void {
    this.#forwarder.onPeer(node, here)
  }

  /** Nothing is begun any more: what comes is to be asked of another node. */
  drain(): void {
    this.#draining = true
  }

  /** Idempotent. */
  stop(): void {
    this.#forwarder.stop()
  }

  #call(request: Request, response: Response, action: string, plain: boolean): void {
    this.#receive(
      request,
      response,
      () => (bytes, kind) => callOf(action, readBody(bytes, kind)),
      (outcome) => asBody(outcome, (json) => (plain ? json : `{"data":${json}}`)),
    )
  }

  #command(request: Request, response: Response): void {
    this.#receive(
      request,
      response,
      ({ pass }) => {
        if (pass === null) {
          throw new ClientError('unauthenticated', 'a session is needed: Livemessage-Session and -Secret')
        }
        return (bytes) => commandOf(readBody(bytes, 'json')?.text ?? '')
      },
      (outcome, { id }) => asFrame(outcome, id),
    )
  }

  /** Looks at the head at once, for it is gone afterwards, then reads the body and answers. */
  #receive(request: Request, response: Response, composer: (who: Admitted) => Compose, tell: Tell): void {
    const { live } = this.#deps
    const cors = corsHeaders(request, live.rules)
    const refuse = (error: unknown): void => this.#deps.refuse(response, error, cors ?? NO_ORIGIN)
    try {
      if (cors === null) throw foreignOrigin()
      const who = admit(request, live.rules)
      const compose = composer(who)
      request.readBody(live.rules.config.limits.frameBytes, (bytes) => {
        const answered = this.#run(who, () => compose(bytes, who.body), tell).then(
          ({ status, body }) => response.reply(status, headersOf(status, cors), body),
          refuse,
        )
        this.#deps.commands.track(answered)
      })
    } catch (error) {
      refuse(error)
    }
  }

  /** @throws {ClientError} where the request and not its command is at fault */
  async #run(who: Admitted, compose: () => Command, tell: Tell): Promise<HttpAnswer> {
    const command = compose()
    // Its body may have been long on its way; what begins now nobody would wait for.
    if (this.#draining) throw new ClientError('unavailable', 'shutting down: come back soon')
    const { pass, address } = who
    const outcome = await (pass === null
      ? this.#performAlone(who, command)
      : this.#pass(pass, address, command))
    return tell(outcome, command)
  }

  async #pass(pass: Pass, address: string, command: Command): Promise<Outcome> {
    if (this.#forwarder.isHere(pass)) return this.#perform(this.sessions.find(pass), command)
    this.#suspects.check(address)
    const outcome = await this.#forwarder.forward(pass, command.text, this.#patienceMs(command.frame))
    if (outcome.type === 'error' && outcome.atDoor === true && outcome.code === 'forbidden') {
      this.#suspects.add(address)
    }
    return outcome
  }

  /** How long another node may take for it. */
  #patienceMs(frame: ClientFrame): number {
    const { config, registry } = this.#deps.live.rules
    const { callMs, publishMs } = config.limits
    const own = frame.type === 'call' ? registry.actions.get(frame.action)?.timeoutMs : undefined
    return (own ?? Math.max(callMs, publishMs)) + (this.#deps.graceMs ?? 2_000)
  }

  /** Never rejects. */
  async #perform(client: Client, { frame, text }: Command): Promise<Outcome> {
    const { commands, counts } = this.#deps
    const inbox = this.#inboxOf(client)
    counts.frames++
    inbox.pendingRequests++
    const outcome = await answered(
      frame,
      (answer) => {
        checkRequest(inbox, frame, this.#deps.live.rules)
        return commands.execute(client, frame, text, inbox, answer)
      },
      (error, answer) => commands.refuse(client, undefined, error, answer),
    )
    inbox.pendingRequests--
    return outcome
  }

  /** @throws {ClientError} unauthenticated, unavailable: who it is can't be found out */
  async #performAlone({ credentials, address }: Admitted, { frame, text }: Command): Promise<Outcome> {
    const { live, commands, counts, services } = this.#deps
    const identity = credentials === null ? null : await authenticate(credentials, live.rules, services)
    checkExpiry(identity)
    const allowance = this.#callers.allowanceOf(identity === null ? null : userKey(identity), address)
    const visitor = { identity, grants: grantsOf(identity), allowance, address }
    counts.frames++
    return answered(
      frame,
      // Whoever has no session sends nothing else: see where commands are made.
      (answer) => commands.executeAlone(visitor, frame as VisitorFrame, text, answer),
      (error, answer) => commands.refuse(null, undefined, error, answer),
    )
  }

  #inboxOf(client: Client): Inbox {
    let inbox = this.#inboxes.get(client)
    if (inbox === undefined) this.#inboxes.set(client, (inbox = new Inbox()))
    return inbox
  }
}

/** A connection would be closed for it; a request is over before. @throws {ClientError} unauthenticated */
function checkExpiry(identity: User | null): void {
  if (identity?.expires === undefined || identity.expires > Date.now()) return
  throw new ClientError('unauthenticated', 'the session has expired', { reason: 'expired' })
}

/** A connection's requests are no more than its frames might be. @throws {ClientError} rate_limited, limit_exceeded */
function checkRequest(inbox: Inbox, frame: ClientFrame, { config, frameRate }: Rules): void {
  const { framesPerSecond, pendingCalls } = config.limits
  if (!inbox.frames.take(performance.now(), frameRate)) {
    throw new ClientError('rate_limited', `at most ${framesPerSecond} frames a second`)
  }
  // Calls have a limit of their own.
  if (frame.type !== 'call' && inbox.pendingRequests > 2 * pendingCalls) {
    throw new ClientError('limit_exceeded', 'too many requests of this session are under way')
  }
}

/** Resolves with what answers a frame: the first that is sent. */
function answered(
  frame: ClientFrame,
  execute: (answer: Answer) => MaybePromise<void>,
  refuse: (error: unknown, answer: Answer) => void,
): Promise<Outcome> {
  return new Promise((resolve) => {
    let isAnswered = false
    const answer: Answer = {
      apart: true,
      send: (sent: ServerFrame) => {
        isAnswered = true
        resolve(outcomeOf(sent))
        return true
      },
    }
    const end = (): void => {
      // Calls and confirms answer when they are done, which is later.
      if (isAnswered || frame.type === 'call' || frame.type === 'confirm') return
      if (frame.type === 'ack') resolve({ type: 'reply', json: 'null' })
      // Only a frame that its client did not live to see has no answer.
      else refuse(new ClientError('unknown_session', 'the connection has ended meanwhile'), answer)
    }
    try {
      const done = execute(answer)
      if (done instanceof Promise) done.then(end, (error: unknown) => refuse(error, answer))
      else end()
    } catch (error) {
      refuse(error, answer)
    }
  })
}

function headersOf(status: number, cors: CorsHeaders): Readonly<Record<string, string>> {
  const retry = status === 429 ? { 'Retry-After': '1' } : {}
  return { ...JSON_HEADERS, 'Cache-Control': 'no-store', ...retry, ...cors }
}
