import type { Client } from '../../hub/client.ts'
import type { Hub } from '../../hub/hub.ts'
import { CLOSE } from '../../protocol/codes.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import type { Speaker } from '../conversations.ts'
import type { Handshake } from '../handshake.ts'
import type { Inbox } from '../inbox.ts'
import { CarriedLink, type CarriedOptions } from './carried.ts'
import type { Form } from './forms.ts'

export interface EngineIoLinkOptions extends Omit<CarriedOptions, 'place'> {
  readonly hub: Pick<Hub, 'sending'>
  readonly form: Form
}

/** All are told the same. No namespace of Socket.IO has such a name. */
const PLACE = 'engine.io'

/** A client that speaks Engine.IO, and nothing on top of it. */
export class EngineIoLink extends CarriedLink implements Speaker {
  readonly address: string
  readonly #hub: Pick<Hub, 'sending'>
  readonly #form: Form
  declare client: Client | null
  handshake: Handshake | null
  inbox: Inbox | null = null
  counted = false

  constructor({ hub, form, ...options }: EngineIoLinkOptions) {
    super({ ...options, place: PLACE })
    const { address, handshake } = options.carrier
    this.#hub = hub
    this.#form = form
    this.address = address
    this.handshake = handshake
  }

  send(frame: ServerFrame): boolean {
    const message = this.#form.write(frame)
    if (message === null) return this.open
    // May find that the client is too slow, and close it.
    this.#hub.sending(message.length)
    if (!this.sendable) return false
    this.write(message)
    return true
  }

  close(code: number, reason: string): void {
    if (!this.open) return
    this.closedWith = code
    const farewell = this.#form.farewell(code, reason)
    if (farewell !== null && this.carrier.open) this.write(farewell)
    this.ended()
    if (code === CLOSE.tooSlow) this.carrier.conn.close(true)
    else this.carrier.close()
  }
}
