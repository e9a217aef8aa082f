import type { Addresses } from '../../auth/addresses.ts'
import { authenticate } from '../../auth/authenticator.ts'
import { Client } from '../../hub/client.ts'
import type { Deadlines } from '../../hub/deadlines.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Range, Subscriber } from '../../hub/subscriber.ts'
import type { Request, Response } from '../../listeners/listener.ts'
import type { Counts } from '../../ops/counts.ts'
import { CLOSE, ClientError, isClientError } from '../../protocol/codes.ts'
import type { Services } from '../../registry/context.ts'
import type { Live } from '../../rules.ts'
import type { SignalSink } from '../../signals/sink.ts'
import { VERSION } from '../../version.ts'
import type { Commands } from '../commands.ts'
import { closeCodeOf } from '../endings.ts'
import { checkUrl, type Handshake, readHandshake } from '../handshake.ts'
import { Visits } from '../visits.ts'
import { emptied, FLUSH_MS, sayFarewell, type StopReason } from '../farewell.ts'
import { Arrival, type Carrier, LOST, type RequestLink } from './arrival.ts'
import { corsHeaders, foreignOrigin, NO_ORIGIN } from './cors.ts'
import { isPassing, retryMs } from './refusals.ts'

export interface ReceptionDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly commands: Pick<Commands, 'identify'>
  readonly subscriber: Pick<Subscriber, 'subscribeAll' | 'resume'>
  readonly deadlines: Deadlines
  readonly services: Services
  readonly counts: Counts
  /** Told who comes and goes. @default nobody */
  readonly signals?: SignalSink
  /** Shared with the other transports. */
  readonly addresses: Addresses
}

/**
 * Receives clients that come by an HTTP request and only listen: looks at origin and limits, asks who they are, lets
 * the `connect` hook have its say, and subscribes them to what the URL names. Until something was streamed a no is an
 * HTTP status.
 */
export class Reception {
  readonly #deps: ReceptionDependencies
  readonly #visits: Visits
  readonly #arrivals = new Set<Arrival>()
  #draining: string | null = null

  constructor(deps: ReceptionDependencies) {
    this.#deps = deps
    this.#visits = new Visits(deps)
  }

  /** Who is here, those that are being received included. */
  get size(): number {
    return this.#arrivals.size
  }

  /**
   * Whatever is wrong is answered by the carrier.
   * @param past makes of the URL's `since` and `last` what is asked of the past, at once. @default as they are
   */
  receive(
    request: Request,
    response: Response,
    carrier: Carrier,
    past: (asked: Range) => Range = same,
  ): void {
    const { rules } = this.#deps.live
    const headers = corsHeaders(request, rules)
    let handshake: Handshake
    try {
      if (headers === null) throw foreignOrigin()
      handshake = this.#look(request, past)
    } catch (error) {
      return carrier.refuse(response, this.#told(error), headers ?? NO_ORIGIN)
    }
    const address = rules.peers.clientAddress(request)
    if (!this.#deps.addresses.enter(address)) {
      const { connectionsPerAddress } = rules.config.limits
      const message = `at most ${connectionsPerAddress} connections an address`
      return carrier.refuse(response, new ClientError('rate_limited', message), headers)
    }
    const arrival = new Arrival({ response, address, headers }, carrier, this.#left)
    this.#arrivals.add(arrival)
    const link = carrier.createLink(arrival)
    const client = new Client(this.#deps.hub, link, { address, transport: carrier.transport })
    arrival.bring(client)
    this.#deps.hub.add(client)
    response.onAbort(() => arrival.leave(LOST))
    this.#open(arrival, link, handshake, carrier.onePlace === true).catch((error: unknown) =>
      this.#fail(arrival, link, error),
    )
  }

  /** New ones are told to come back. */
  drain(reason: StopReason): void {
    this.#draining = reason
  }

  /**
   * Tells everyone here when to come back, spread so that they don't all come at once, and closes. Resolves when they
   * are gone, and the hooks have been told.
   */
  async dismiss(reason: StopReason, options: DismissOptions = {}): Promise<void> {
    const { flushMs = FLUSH_MS } = options
    this.drain(reason)
    const clients = [...this.#arrivals].map(({ client }) => client)
    const code = sayFarewell(this.#deps.hub, clients, reason)
    await emptied(() => this.size, flushMs)
    // Those that do not read their last words.
    for (const { client } of [...this.#arrivals]) client.link.terminate()
    await emptied(() => this.size, flushMs)
    for (const arrival of [...this.#arrivals]) arrival.leave(code)
    await this.#visits.settle()
  }

  /** What can be seen at once. @throws {ClientError} */
  #look(request: Request, past: (asked: Range) => Range): Handshake {
    const { live, hub } = this.#deps
    const { limits } = live.rules.config
    if (this.#draining !== null) throw new ClientError('unavailable', `${this.#draining}: come back soon`)
    if (hub.size >= limits.connections) throw new ClientError('unavailable', 'too many connections')
    const read = readHandshake(request, live.rules) ?? NOTHING_ASKED
    // Before anything is looked up for each of them.
    if (read.channels.length > limits.subscriptions) {
      throw new ClientError('limit_exceeded', `at most ${limits.subscriptions} subscriptions a connection`)
    }
    const handshake = { ...read, range: past(read.range) }
    checkUrl(handshake)
    return handshake
  }

  async #open(arrival: Arrival, link: RequestLink, handshake: Handshake, onePlace: boolean): Promise<void> {
    const { live, commands, deadlines, subscriber, services } = this.#deps
    const { client } = arrival
    if (handshake.credentials !== null) {
      const user = await authenticate(handshake.credentials, live.rules, services)
      if (user !== null && client.open) commands.identify(client, user)
    }
    if (!client.open) return
    const { pingMs, limits } = live.rules.config
    client.send({ type: 'welcome', session: client.session, user: client.user, pingMs, version: VERSION })
    const unknown = (): boolean => live.rules.config.auth.required && client.identity === null
    if (unknown()) {
      if (handshake.channels.length > 0) throw new ClientError('unauthenticated', 'authenticate first')
      const at = Date.now() + limits.authenticationMs
      const deadline = { at, code: CLOSE.authenticationTimeout, reason: 'authentication took too long' }
      deadlines.set(client, deadline)
    }
    await this.#visits.come(arrival, client)
    if (!client.open) return
    if (onePlace) await this.#resumeServed(client, link, handshake.range)
    if (handshake.channels.length > 0 && client.open) {
      if (unknown()) throw new ClientError('unauthenticated', 'authenticate first')
      await subscriber.subscribeAll(client, handshake.channels, handshake.range)
    }
    if (client.open) link.open()
  }

  /** Where a module has put it already it is live: what it missed before comes after all. */
  async #resumeServed(client: Client, link: RequestLink, { since }: Range): Promise<void> {
    if (since === undefined) return
    const { hub, subscriber } = this.#deps
    const served = [...client.subscriptions.keys()].filter((channel) => hub.isJournaled(channel))
    if (served.length === 0) return
    // What was asked for is still to come, from the same place.
    link.holdPlace?.()
    await subscriber.resume(client, served, since)
  }

  #fail(arrival: Arrival, link: RequestLink, error: unknown): void {
    const { client } = arrival
    const told = this.#told(error)
    if (!client.open) return
    const code = closeCodeOf(told)
    if (!link.begun) return arrival.refuse(told, code)
    this.#deps.counts.error('http', told.code)
    if (isPassing(code)) client.send({ type: 'reconnect', afterMs: retryMs(), reason: told.code })
    this.#deps.hub.close(client, code, told.code)
  }

  /** One function for all: each arrival keeps it. */
  readonly #left = (arrival: Arrival, code: number): void => {
    const { hub, deadlines, addresses } = this.#deps
    this.#arrivals.delete(arrival)
    addresses.leave(arrival.address)
    const { client } = arrival
    hub.remove(client)
    deadlines.clear(client)
    this.#visits.left(arrival, client, code)
  }

  /** What is no ClientError is logged and told as `internal`. */
  #told(error: unknown): ClientError {
    if (isClientError(error)) return error
    this.#deps.services.log.error({ err: error }, 'request failed')
    return new ClientError('internal', 'the daemon failed here')
  }
}

export interface DismissOptions {
  /** How long last words may take to leave. @default 100 */
  readonly flushMs?: number
}

const NOTHING_ASKED: Handshake = { credentials: null, channels: [], range: {} }

function same(asked: Range): Range {
  return asked
}
