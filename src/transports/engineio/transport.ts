import { CLOSE } from '../../protocol/codes.ts'
import { Conversations, type ConversationsDependencies } from '../conversations.ts'
import { Carrier } from './carrier.ts'
import { Door } from './door.ts'
import { Drains } from './drains.ts'
import type { EngineSocket } from './engine.ts'
import type { Form } from './forms.ts'
import { EngineIoLink } from './link.ts'
import type { Rooms } from './rooms.ts'

/** Engine.IO clients: the library polls, upgrades and pings; what messages mean is the form's to say. */
export class EngineIoTransport {
  readonly door: Door
  readonly #deps: ConversationsDependencies
  readonly #form: Form
  readonly #rooms: Rooms
  readonly #conversations: Conversations
  readonly #drains = new Drains()

  constructor(deps: ConversationsDependencies, form: Form, rooms: Rooms) {
    this.#deps = deps
    this.#form = form
    this.#rooms = rooms
    this.#conversations = new Conversations(deps, 'engineio', (said) => form.read(said))
    this.door = new Door(deps)
  }

  onCarrier(conn: EngineSocket): void {
    const { hub } = this.#deps
    const carrier = new Carrier(conn, this.door.entryOf(conn.request))
    const link = new EngineIoLink({
      hub,
      carrier,
      form: this.#form,
      rooms: this.#rooms,
      drains: this.#drains,
    })
    this.door.inside++
    conn.on('packet', ({ type, data = '' }) => {
      if (type === 'message') this.#conversations.hear(link, data)
      else if (this.#conversations.allows(link) && type === 'close') this.#left(link, LEFT)
    })
    conn.on('upgrade', () => link.upgraded())
    conn.on('close', (reason) => {
      this.door.inside--
      const { closedWith } = link
      link.ended()
      this.#conversations.ended(link, closedWith === 0 ? codeOf(reason, conn) : closedWith)
    })
    const { name, socket } = conn.transport
    const begin = (): void => {
      // It may have gone before its WebSocket was there.
      if (carrier.open) this.#conversations.begin(link)
    }
    if (name === 'websocket' && socket === undefined) conn.transport.once('ready', begin)
    else begin()
  }

  /** Takes no new connections. */
  drain(): void {
    this.door.closed = true
  }

  /** Resolves when the hooks have been told of those who left. */
  settle(): Promise<void> {
    return this.#conversations.settle()
  }

  stop(): void {
    this.#drains.stop()
  }

  /** The client has said that it goes. */
  #left(link: EngineIoLink, code: number): void {
    if (link.closedWith === 0) link.closedWith = code
    link.carrier.conn.close()
  }
}

/** The client closed it. */
const LEFT = 1000

/** How it ended, as far as Engine.IO tells. */
function codeOf(reason: string, { transport }: EngineSocket): number {
  if (reason === 'parse error') return CLOSE.badFrame
  // A WebSocket's own code is not handed on; who polls and closes has said so.
  return reason === 'transport close' && transport.name === 'polling' ? LEFT : 1006
}
