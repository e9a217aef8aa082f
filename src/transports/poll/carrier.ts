import type { Response } from '../../listeners/listener.ts'
import type { ClientError } from '../../protocol/codes.ts'
import type { Arrival, Carrier } from '../feeds/arrival.ts'
import type { CorsHeaders } from '../feeds/cors.ts'
import type { Ask } from './ask.ts'
import type { PollLink } from './link.ts'
import type { Form } from './stay.ts'

/** Whose requests they are. */
export interface CarrierOwner {
  arrive(arrival: Arrival, ask: Ask, form: Form, replaces: boolean): PollLink
  refuse(response: Response, error: ClientError, headers: CorsHeaders): void
  /** The client has gone before its answer. */
  left(arrival: Arrival): void
}

/** One request, as a reception sees it: kept for as long as that waits, and therefore without closures. */
export class PollCarrier implements Carrier {
  readonly #owner: CarrierOwner
  readonly #ask: Ask
  readonly #form: Form
  readonly #replaces: boolean

  constructor(owner: CarrierOwner, ask: Ask, form: Form, replaces: boolean) {
    this.#owner = owner
    this.#ask = ask
    this.#form = form
    this.#replaces = replaces
  }

  get transport(): string {
    return 'poll'
  }

  createLink(arrival: Arrival): PollLink {
    return this.#owner.arrive(arrival, this.#ask, this.#form, this.#replaces)
  }

  refuse(response: Response, error: ClientError, headers: CorsHeaders): void {
    this.#owner.refuse(response, error, { ...headers, ...this.#form.refusal })
  }

  left(arrival: Arrival): void {
    this.#owner.left(arrival)
  }
}
