import type { Client } from '../../hub/client.ts'
import type { Link } from '../../hub/link.ts'
import type { Response } from '../../listeners/listener.ts'
import type { ClientError } from '../../protocol/codes.ts'
import { closeCodeOf } from '../endings.ts'
import type { Visit } from '../visits.ts'
import type { CorsHeaders } from './cors.ts'
import { closeError } from './refusals.ts'

/** The link of a client that an HTTP request brought. */
export interface RequestLink extends Link {
  /** Whether anything of the answer has gone out: then no status can say no any more. */
  readonly begun: boolean
  /** From now on until `open` nothing that comes proves a place for all the client's channels. */
  holdPlace?(): void
  /** The client was let in, and is on all that it asked for. Called once, unless it has ended before. */
  open(): void
}

/** What a transport adds to a reception: how its answer looks. */
export interface Carrier {
  /** As `Connection.transport` tells it. */
  readonly transport: string
  /**
   * Whether a client's place is one for all its channels, also for those that a module puts it on when it comes: what
   * it missed there is brought too. @default false
   */
  readonly onePlace?: boolean
  /** Makes the link; its client is the arrival's, but only after this returned. */
  createLink(arrival: Arrival): RequestLink
  /**
   * Says no by a whole answer. `headers` are to be among its headers. What is to be tried again is told by
   * `isPassingError(error)`.
   */
  refuse(response: Response, error: ClientError, headers: CorsHeaders): void
  /** The exchange is over, however it ended. @default whoever holds the link knows */
  left?(arrival: Arrival): void
}

/**
 * One client's coming and going by an HTTP request. Who holds the link says `leave` when the exchange is over, however
 * it ended.
 */
export class Arrival implements Visit {
  readonly response: Response
  readonly address: string
  /** To be among the headers of whatever answers the request. */
  readonly headers: CorsHeaders
  letIn = false
  leftWith = 0
  readonly #carrier: Carrier
  readonly #left: (arrival: Arrival, code: number) => void
  #client: Client | null = null
  #here = true

  constructor(
    what: Pick<Arrival, 'response' | 'address' | 'headers'>,
    carrier: Carrier,
    left: (arrival: Arrival, code: number) => void,
  ) {
    this.response = what.response
    this.address = what.address
    this.headers = what.headers
    this.#carrier = carrier
    this.#left = left
  }

  get client(): Client {
    if (this.#client === null) throw new Error('the link is being made')
    return this.#client
  }

  /** Nobody else calls it. */
  bring(client: Client): void {
    this.#client = client
  }

  /** Answers with a no, where nothing else was answered, and leaves. */
  refuse(error: ClientError, code: number = closeCodeOf(error)): void {
    if (!this.#here) return
    if (!this.response.done) this.#carrier.refuse(this.response, error, this.headers)
    this.leave(code)
  }

  /** As `refuse`, for a link that is closed before its answer has begun. */
  refuseByClose(code: number, reason: string): void {
    this.refuse(closeError(code, reason), code)
  }

  /** The exchange is over: gives everything back and tells the `disconnect` hook. Idempotent. */
  leave(code: number): void {
    if (!this.#here) return
    this.#here = false
    this.#left(this, code)
    this.#carrier.left?.(this)
  }
}

/** Of a client that went without a word, as all do over HTTP. */
export const LOST = 1006
