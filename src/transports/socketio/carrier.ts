import { Carrier } from '../engineio/carrier.ts'
import { Inbox } from '../inbox.ts'
import type { SocketIoLink } from './link.ts'

/** One connection of a Socket.IO client: it carries one client for each namespace that it has joined. */
export class SocketIoCarrier extends Carrier {
  readonly inbox = new Inbox()
  /** Namespaces that it is in or on its way into. */
  readonly entered = new Set<string>()
  readonly links = new Set<SocketIoLink>()
  /** Whether the address was counted, and has to be given back. */
  counted = false
  /** Its address has too many connections: it may only be told so. */
  turnedAway = false
}
