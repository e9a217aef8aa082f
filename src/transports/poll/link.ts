import { ClientError } from '../../protocol/codes.ts'
import { idOf } from '../../protocol/encode.ts'
import type {
  MessageFrame,
  PresenceFrame,
  ServerFrame,
  SubscribedFrame,
  UnsubscribedFrame,
} from '../../protocol/frames.ts'
import { type Arrival, LOST, type RequestLink } from '../requests/arrival.ts'
import type { Answer } from './answers.ts'
import { extraOf } from './extras.ts'
import type { Collector, PollFanout } from './fanout.ts'

/** How much may be collected; read when it is needed, for a reload may change it. */
export interface Bounds {
  /** What was missed, in one answer: the rest is had with the next request. */
  readonly messages: number
  readonly bytes: number
  /** Of what came by itself. */
  readonly hardBytes: number
  /** More than this, and a recovery pauses. */
  readonly highWater: number
}

/** Whose the link is. */
export interface LinkOwner {
  readonly fanout: PollFanout
  bounds(): Bounds
  /** The client was let in, and is on all that it asked for. */
  opened(link: PollLink): void
  /** There is something to be told. */
  due(link: PollLink): void
  closed(link: PollLink, code: number, reason: string): void
}

/** Presence and events that may be kept for one client; what comes beyond is counted. */
const MOST_EXTRAS = 1000

type Extra = { readonly kind: 'events' | 'presence' | 'ended'; readonly json: string }

/**
 * Collects what is for one client until it is asked for. What was missed it takes until it is full, and the recovery
 * waits. What comes by itself does not wait: beyond a bound not one message more is taken. Then, and where it is full,
 * the id of the last message is the place to go on from; what has no id is lost beyond the bound.
 */
export class PollLink implements Collector, RequestLink {
  /** The newest of conflated channels are left out: who waits for changes has them already. */
  quiet = false
  fleeting = false
  readonly #owner: LinkOwner
  readonly #arrival: Pick<Arrival, 'client'>
  /** The journaled channels that were asked for, until it is on all of them. */
  #asked: readonly string[]
  #begins: string | null = null
  #messages: string[] = []
  #bytes = 0
  #lost: string[] = []
  #extras: Extra[] | null = null
  #extraBytes = 0
  #dropped = 0
  #refusal: ClientError | null = null
  /** A recovery is to wait. */
  #full = false
  /** Messages were left out: none is taken any more. */
  #frozen = false
  /** A recovery is about to bring anew all that is journaled. */
  #restarting = false
  #ended = false

  /** @param asked the journaled channels that will be subscribed to */
  constructor(owner: LinkOwner, arrival: Pick<Arrival, 'client'>, asked: readonly string[]) {
    this.#owner = owner
    this.#arrival = arrival
    this.#asked = asked
  }

  get bufferedBytes(): number {
    return this.isCut ? this.#owner.bounds().highWater + 1 : 0
  }

  /** An answer goes out whole: until then a status can say no. */
  get begun(): boolean {
    return this.#ended
  }

  /** Why the request can't be answered with what is here. */
  get refusal(): ClientError | null {
    return this.#refusal
  }

  /** Whether an answer would say which subscription has ended: a session goes on without it. */
  get tellsEnd(): boolean {
    return this.#extras?.some(({ kind }) => kind === 'ended') === true
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0 && this.#lost.length === 0 && this.#extras === null
  }

  /** More is there, or was, than what is here: it goes on from `lastId`. */
  get isCut(): boolean {
    return this.#full || this.#frozen
  }

  /** Messages came that were not taken. */
  get isFrozen(): boolean {
    return this.#frozen
  }

  /** Where the first subscription began. */
  get begins(): string | null {
    return this.#begins
  }

  /** The id of the last journaled message; null where there is none. */
  get lastId(): string | null {
    const last = this.#messages.findLast((message) => idOf(message) !== null)
    return last === undefined ? null : idOf(last)
  }

  /** Whether everything up to the journal's head came here. */
  get isLive(): boolean {
    const { client } = this.#arrival
    return client.recovering.length === 0 && this.#asked.every((channel) => client.subscriptions.has(channel))
  }

  open(): void {
    this.#asked = []
    this.#owner.opened(this)
  }

  send(frame: ServerFrame): boolean {
    if (this.#ended) return false
    switch (frame.type) {
      case 'message':
      case 'presence':
        this.collect(frame, frame.type === 'presence' ? extraOf(frame) : '')
        break
      case 'subscribed':
        this.#subscribed(frame)
        break
      case 'unsubscribed':
        this.#unsubscribed(frame)
        break
      case 'event':
        this.#keep('events', extraOf(frame))
        break
      case 'error':
        this.#refusal ??= new ClientError(frame.code, frame.message, frame.details)
        break
      // What has no form here, or goes without saying.
      case 'welcome':
      case 'cursor':
      case 'reply':
      case 'pong':
      case 'reconnect':
      case 'forgotten':
        break
      default:
        return unreachable(frame)
    }
    return true
  }

  collect(frame: MessageFrame | PresenceFrame, extra: string): void {
    if (this.#ended) return
    if (frame.type === 'message') this.#take(frame.message, frame.complete)
    else if (!this.fleeting) this.#keep('presence', extra)
  }

  cork(write: () => void): void {
    write()
  }

  join(topic: string): void {
    if (!this.#ended) this.#owner.fanout.join(topic, this)
  }

  leave(topic: string): void {
    this.#owner.fanout.leave(topic, this)
  }

  close(code: number, reason: string): void {
    if (!this.#ended) this.#owner.closed(this, code, reason)
  }

  terminate(): void {
    if (!this.#ended) this.#owner.closed(this, LOST, 'terminated')
  }

  /** Nothing more is taken; off all topics. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    for (const channel of this.#arrival.client.subscriptions.keys()) this.#owner.fanout.leave(channel, this)
  }

  /** These have lost something that the client was promised. */
  lose(channels: Iterable<string>): void {
    for (const channel of channels) if (!this.#lost.includes(channel)) this.#lost.push(channel)
  }

  /** Hands out what was collected; it begins anew. `since`: there was a place to recover from. */
  take(cursor: string | null, since: boolean): Answer {
    const answer = {
      cursor,
      recovered: since && this.#lost.length === 0,
      lost: this.#lost,
      messages: this.#messages,
      more: this.#more(),
    }
    this.#messages = []
    this.#bytes = 0
    this.#lost = []
    this.#extras = null
    this.#extraBytes = 0
    this.#dropped = 0
    this.#refusal = null
    this.#full = false
    this.#frozen = false
    return answer
  }

  /** Leaves out what came so far and is not wanted. */
  keep(wants: (message: string) => boolean): void {
    this.#messages = this.#messages.filter(wants)
    this.#bytes = this.#messages.reduce((sum, message) => sum + message.length, 0)
  }

  /** What is journaled is about to be brought anew, from an earlier place on: it must not be here twice. */
  restart(): void {
    this.keep((message) => idOf(message) === null)
    this.#full = false
    this.#frozen = false
    this.#restarting = true
  }

  /** As `restart`, once the client was told why it could not be answered. */
  forgive(): void {
    this.restart()
    this.#refusal = null
  }

  #take(message: string, complete: boolean | undefined): void {
    const isKept = idOf(message) !== null
    if (this.#restarting && complete === undefined && isKept) return
    if (this.#frozen) {
      // Nothing brings it again.
      if (!isKept) this.lose([channelOf(message)])
      return
    }
    const { messages, bytes, hardBytes } = this.#owner.bounds()
    // Only then is its id a place for all: one of several mailboxes knows nothing of those that come after it.
    const isPlace = complete === true && this.#isWhole
    if (!isPlace && this.#messages.length > 0 && this.#bytes + message.length > hardBytes) {
      this.#freeze()
      if (!isKept) this.lose([channelOf(message)])
    } else {
      this.#messages.push(message)
      this.#bytes += message.length
      if (isPlace && (this.#messages.length >= messages || this.#bytes >= bytes)) this.#full = true
    }
    this.#owner.due(this)
  }

  /** Whether all that was asked for has begun. */
  get #isWhole(): boolean {
    const { client } = this.#arrival
    return this.#asked.every(
      (channel) => client.subscriptions.has(channel) || client.recoveryOf(channel) !== undefined,
    )
  }

  #freeze(): void {
    this.#frozen = true
    if (this.isLive) return
    // Several come, each from a place of its own: there is none from which all of them go on.
    this.#refusal ??= new ClientError(
      'limit_exceeded',
      'too much waits for one answer: wanted for fewer channels at once, each mailbox by itself',
    )
  }

  #subscribed({ channel, cursor, lost, messages, complete }: SubscribedFrame): void {
    if (cursor !== null) {
      this.#restarting = false
      this.#begins ??= cursor
    }
    if (lost === true) {
      this.lose([channel])
      this.#owner.due(this)
    }
    if (cursor === null && this.quiet) return
    for (const message of messages) this.#take(message, complete)
  }

  #unsubscribed(frame: UnsubscribedFrame): void {
    const { channel, code, message } = frame
    // How far it was given is not known any more.
    this.lose([channel])
    this.#refusal ??= new ClientError(code, message, { channel })
    this.#keep('ended', extraOf(frame))
  }

  #keep(kind: Extra['kind'], json: string): void {
    this.#extras ??= []
    const { hardBytes } = this.#owner.bounds()
    if (this.#extras.length < MOST_EXTRAS && this.#extraBytes + json.length <= hardBytes) {
      this.#extras.push({ kind, json })
      this.#extraBytes += json.length
    } else this.#dropped++
    this.#owner.due(this)
  }

  #more(): string {
    let more = ''
    for (const kind of ['events', 'presence', 'ended'] as const) {
      const some = this.#extras?.filter((extra) => extra.kind === kind) ?? []
      if (some.length > 0) more += `,"${kind}":[${some.map(({ json }) => json).join(',')}]`
    }
    return this.#dropped === 0 ? more : `${more},"dropped":${this.#dropped}`
  }
}

/** The channel of a message object; its name needs no escapes. */
function channelOf(message: string): string {
  const from = CHANNEL.length
  return message.slice(from, message.indexOf('"', from))
}

/** How the encoder begins. */
const CHANNEL = '{"channel":"'

function unreachable(frame: never): never {
  throw new Error(`no such frame: ${JSON.stringify(frame)}`)
}
