import type { PeerRequest } from '../../auth/peers.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Counts } from '../../ops/counts.ts'
import type { Live } from '../../rules.ts'
import { type Handshake, readHandshake } from '../handshake.ts'
import type { EngineRequest } from './engine.ts'

/** What is kept of the request that opened a connection. */
export interface Entry {
  readonly address: string
  readonly handshake: Handshake | null
}

export interface DoorOptions {
  readonly live: Live
  readonly hub: Pick<Hub, 'size'>
  readonly counts: Counts
}

/** Who may open an Engine.IO connection: asked at its first request, by whichever transport. */
export class Door {
  readonly #options: DoorOptions
  readonly #entries = new WeakMap<EngineRequest, Entry>()
  /** Connections that are open, those in no namespace included. */
  inside = 0
  /** Nobody is let in any more. */
  closed = false

  constructor(options: DoorOptions) {
    this.#options = options
  }

  /** Null where it may, else why not. */
  ask(raw: EngineRequest): string | null {
    const { live, hub, counts } = this.#options
    const { config, peers } = live.rules
    if (this.closed || Math.max(hub.size, this.inside) >= config.limits.connections) {
      counts.error('upgrade', 'unavailable')
      return this.closed ? 'shutting down' : 'too many connections'
    }
    if (!this.allows(raw)) {
      counts.error('upgrade', 'forbidden')
      return 'this origin is not allowed; see `origins` in the config'
    }
    // A script of any page may load it: with the user's cookies, and without an Origin.
    if (typeof raw._query?.['j'] === 'string') {
      counts.error('upgrade', 'forbidden')
      return 'JSONP is not served'
    }
    const request = new HandshakeRequest(raw)
    this.#entries.set(raw, {
      address: peers.clientAddress(request),
      handshake: readHandshake(request, live.rules),
    })
    return null
  }

  /** Whether pages of the request's origin may. */
  allows({ headers }: Pick<EngineRequest, 'headers'>): boolean {
    return this.#options.live.rules.origins.allows(textOf(headers['origin']), textOf(headers['host']))
  }

  /** Whether they may with their user's cookies: not where only `*` lets them in. */
  trusts({ headers }: Pick<EngineRequest, 'headers'>): boolean {
    const { namedOrigins } = this.#options.live.rules
    return namedOrigins.allows(textOf(headers['origin']), textOf(headers['host']))
  }

  /** What is known of who was let in by this request. */
  entryOf(raw: EngineRequest | null): Entry {
    return (raw === null ? undefined : this.#entries.get(raw)) ?? { address: '', handshake: null }
  }
}

/** A handshake's request of either engine, as the rest of the daemon reads requests. */
class HandshakeRequest implements PeerRequest {
  readonly #raw: EngineRequest
  readonly query: string
  readonly address: string
  readonly proxiedAddress: string

  constructor(raw: EngineRequest) {
    this.#raw = raw
    this.query = queryOf(raw._query ?? {})
    this.address = raw.connection.remoteAddress ?? ''
    const { res } = raw
    const proxied =
      res !== null && res !== undefined && 'getProxiedRemoteAddressAsText' in res
        ? res.getProxiedRemoteAddressAsText?.()
        : undefined
    this.proxiedAddress = proxied === undefined ? '' : Buffer.from(proxied).toString()
  }

  header(name: string): string {
    return textOf(this.#raw.headers[name])
  }

  eachHeader(visit: (name: string, value: string) => void): void {
    const { rawHeaders, headers } = this.#raw
    if (rawHeaders === undefined) {
      for (const [name, value] of Object.entries(headers)) visit(name, textOf(value))
      return
    }
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      visit(rawHeaders[index]!.toLowerCase(), rawHeaders[index + 1]!)
    }
  }
}

/** What the engines give has each name once, and their client writes a list with commas: no channel has one. */
function queryOf(query: NonNullable<EngineRequest['_query']>): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    const values = name === 'channel' ? String(value).split(',') : [String(value)]
    for (const one of values) parameters.append(name, one)
  }
  return parameters.toString()
}

function textOf(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join(', ') : (value ?? '')
}
