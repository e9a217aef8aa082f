import type { Response } from '../../listeners/listener.ts'
import type { ClientError } from '../../protocol/codes.ts'
import type { Arrival, Carrier } from '../requests/arrival.ts'
import type { CorsHeaders } from '../requests/cors.ts'
import type { PollRequest } from './request.ts'
import type { PollLink } from './link.ts'
import type { AnswerFormat } from './poller.ts'

/** Whose requests they are. */
export interface CarrierOwner {
  arrive(arrival: Arrival, wanted: PollRequest, format: AnswerFormat, replaces: boolean): PollLink
  refuse(response: Response, error: ClientError, headers: CorsHeaders): void
  /** The client has gone before its answer. */
  left(arrival: Arrival): void
}

/** One request, as a reception sees it: kept for as long as that waits, and therefore without closures. */
export class PollCarrier implements Carrier {
  readonly #owner: CarrierOwner
  readonly #wanted: PollRequest
  readonly #format: AnswerFormat
  readonly #replaces: boolean

  constructor(owner: CarrierOwner, wanted: PollRequest, format: AnswerFormat, replaces: boolean) {
    this.#owner = owner
    this.#wanted = wanted
    this.#format = format
    this.#replaces = replaces
  }

  get transport(): string {
    return 'poll'
  }

  createLink(arrival: Arrival): PollLink {
    return this.#owner.arrive(arrival, this.#wanted, this.#format, this.#replaces)
  }

  refuse(response: Response, error: ClientError, headers: CorsHeaders): void {
    this.#owner.refuse(response, error, { ...headers, ...this.#format.refusal })
  }

  left(arrival: Arrival): void {
    this.#owner.left(arrival)
  }
}
