import type { Addresses } from '../auth/addresses.ts'
import { authenticate } from '../auth/authenticator.ts'
import { Client } from '../hub/client.ts'
import type { Deadlines } from '../hub/deadlines.ts'
import type { Hub } from '../hub/hub.ts'
import type { Link } from '../hub/link.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { Counts } from '../ops/counts.ts'
import { CLOSE, ClientError, isClientError } from '../protocol/codes.ts'
import { answerId, type ClientFrame, decode, FrameError } from '../protocol/decode.ts'
import type { Services } from '../registry/context.ts'
import type { Live } from '../rules.ts'
import type { SignalSink } from '../signals/sink.ts'
import type { MaybePromise } from '../sources/source.ts'
import { VERSION } from '../version.ts'
import type { Commands } from './commands.ts'
import { closeCodeOf } from './endings.ts'
import { checkUrl, type Handshake } from './handshake.ts'
import { Inbox, type Said } from './inbox.ts'
import { type Visit, Visits } from './visits.ts'

export interface ConversationsDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly commands: Commands
  readonly subscriber: Subscriber
  readonly deadlines: Deadlines
  readonly services: Services
  readonly counts: Counts
  /** Told who comes and goes. @default nobody */
  readonly signals?: SignalSink
  /** Shared with the other transports. */
  readonly addresses: Addresses
}

/** The other end of a link by which frames come and go one after the other. */
export interface Speaker extends Link, Visit {
  readonly address: string
  /** Null from the beginning of the conversation on. */
  handshake: Handshake | null
  client: Client | null
  /** Made when it says something. */
  inbox: Inbox | null
  /** Whether the address was counted, and has to be given back. */
  counted: boolean
}

/** What is said between clients and the daemon, whatever brings it: from the first words to the last. */
export class Conversations {
  readonly #deps: ConversationsDependencies
  readonly #visits: Visits
  readonly #transport: string
  readonly #frameOf: (said: Said) => ClientFrame

  /**
   * @param transport as connections are listed
   * @param frameOf what stands behind what a client said; what it throws is told to the client
   */
  constructor(
    deps: ConversationsDependencies,
    transport: string,
    frameOf: (said: Said) => ClientFrame = read,
  ) {
    this.#deps = deps
    this.#transport = transport
    this.#frameOf = frameOf
    this.#visits = new Visits(deps)
  }

  /** The speaker is there: it is a client from now on. */
  begin(speaker: Speaker): void {
    const { hub, live } = this.#deps
    const client = new Client(hub, speaker, { address: speaker.address, transport: this.#transport })
    speaker.client = client
    hub.add(client)
    if (!this.#deps.addresses.enter(speaker.address)) {
      const { connectionsPerAddress } = live.rules.config.limits
      const error = new ClientError(
        'limit_exceeded',
        `at most ${connectionsPerAddress} connections an address`,
      )
      return this.#end(client, error, CLOSE.rateLimited)
    }
    speaker.counted = true
    const { handshake } = speaker
    speaker.handshake = null
    if (handshake === null && live.rules.registry.hooks.connect === null) {
      this.#welcome(client)
      return this.#visits.letIn(speaker, client)
    }
    const inbox = inboxOf(speaker)
    inbox.busy = true
    this.#open(speaker, client, handshake).then(
      () => this.#next(speaker, inbox),
      (error: unknown) => this.#end(client, error, closeCodeOf(error)),
    )
  }

  /** It said something. */
  hear(speaker: Speaker, said: Said): void {
    const { client } = speaker
    if (client === null || !client.open) return
    this.#deps.counts.frames++
    if (!this.allows(speaker)) return
    const inbox = inboxOf(speaker)
    if (!inbox.busy) return this.#run(speaker, inbox, said)
    if (inbox.push(said, this.#deps.live.rules.config.limits.bufferBytes)) return
    const error = new ClientError('rate_limited', 'too many frames wait for an earlier one')
    this.#end(client, error, CLOSE.rateLimited)
  }

  /** Takes one frame of what it may send; who sends too many is closed. */
  allows(speaker: Speaker): boolean {
    const { rules } = this.#deps.live
    if (inboxOf(speaker).frames.take(performance.now(), rules.frameRate)) return true
    const { framesPerSecond } = rules.config.limits
    const error = new ClientError('rate_limited', `at most ${framesPerSecond} frames a second`)
    if (speaker.client !== null) this.#end(speaker.client, error, CLOSE.rateLimited)
    return false
  }

  /** It has gone. Once. */
  ended(speaker: Speaker, code: number): void {
    const { client } = speaker
    if (speaker.counted) this.#deps.addresses.leave(speaker.address)
    speaker.counted = false
    speaker.inbox?.clear()
    if (client === null) return
    this.#deps.hub.remove(client)
    this.#deps.deadlines.clear(client)
    this.#visits.left(speaker, client, code)
  }

  /** Resolves when the hooks have been told of those who left. */
  settle(): Promise<void> {
    return this.#visits.settle()
  }

  /** Authenticates, welcomes, lets the hook have its say, and subscribes to what the URL names. */
  async #open(speaker: Speaker, client: Client, handshake: Handshake | null): Promise<void> {
    const { rules } = this.#deps.live
    if (handshake?.credentials != null) {
      const user = await authenticate(handshake.credentials, rules, this.#deps.services)
      if (user !== null) this.#deps.commands.identify(client, user)
    }
    if (!client.open) return
    this.#welcome(client)
    if (rules.config.auth.required && client.identity === null) {
      const at = Date.now() + rules.config.limits.authenticationMs
      const deadline = { at, code: CLOSE.authenticationTimeout, reason: 'authentication took too long' }
      this.#deps.deadlines.set(client, deadline)
    }
    await this.#visits.come(speaker, client)
    if (handshake === null || handshake.channels.length === 0 || !client.open) return
    checkUrl(handshake)
    if (rules.config.auth.required && client.identity === null) {
      throw new ClientError('unauthenticated', 'authenticate first')
    }
    await this.#deps.subscriber.subscribeAll(client, handshake.channels, handshake.range)
  }

  #welcome(client: Client): void {
    const { pingMs } = this.#deps.live.rules.config
    client.send({ type: 'welcome', session: client.session, user: client.user, pingMs, version: VERSION })
  }

  #run(speaker: Speaker, inbox: Inbox, said: Said): void {
    const result = this.#handle(speaker.client!, inbox, said)
    if (result === undefined) return
    inbox.busy = true
    void result.then(() => this.#next(speaker, inbox))
  }

  /** Handles what has come meanwhile, in its order. */
  #next(speaker: Speaker, inbox: Inbox): void {
    inbox.busy = false
    while (!inbox.busy && speaker.client!.open) {
      const said = inbox.shift()
      if (said === undefined) return
      this.#run(speaker, inbox, said)
    }
  }

  /** Undefined when the next frame may come; a promise, that never rejects, when it must wait. */
  #handle(client: Client, inbox: Inbox, said: Said): MaybePromise<void> {
    let id: string | number | undefined
    try {
      const frame = this.#frameOf(said)
      id = answerId(frame)
      const text = typeof said === 'string' ? said : ''
      const result = this.#deps.commands.execute(client, frame, text, inbox)
      if (!(result instanceof Promise)) return undefined
      return result.catch((error: unknown) => this.#deps.commands.refuse(client, id, error))
    } catch (error) {
      if (error instanceof FrameError) {
        this.#deps.commands.refuse(client, error.id, error)
        if (error.fatal) this.#deps.hub.close(client, CLOSE.badFrame, 'bad frame')
      } else this.#deps.commands.refuse(client, id, error)
      return undefined
    }
  }

  /** Says why, and closes. */
  #end(client: Client, error: unknown, code: number): void {
    if (!client.open) return
    this.#deps.commands.refuse(client, undefined, error)
    this.#deps.hub.close(client, code, isClientError(error) ? error.code : 'internal')
  }
}

/** A frame of the protocol, as text. */
function read(said: Said): ClientFrame {
  return decode(typeof said === 'string' ? said : null)
}

function inboxOf(speaker: Speaker): Inbox {
  return (speaker.inbox ??= new Inbox())
}
