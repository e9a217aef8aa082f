import type { Client } from '../../hub/client.ts'
import type { Response } from '../../listeners/listener.ts'
import type { CorsHeaders } from '../requests/cors.ts'
import type { Arrival } from '../requests/arrival.ts'
import type { Range } from '../../hub/subscriber.ts'
import type { Answer } from './answers.ts'
import type { PollRequest } from './request.ts'
import type { PollLink } from './link.ts'

/** How answers look. */
export interface AnswerFormat {
  /** Among the headers of a no. */
  readonly refusal: Readonly<Record<string, string>>
  /** Whether who names no place waits too, for what comes from now on. */
  readonly holds?: boolean
  /** Which of the missed messages count; others are no reason to answer. @default all */
  wants?(message: string): boolean
  /** Makes of the URL's `since` and `last` what is asked of the past. @default as they are */
  readonly past?: (asked: Range) => Range
  /** @param bodyOf the JSON of `/poll`, written once for equal answers */
  reply(answer: Answer, wanted: PollRequest, bodyOf: (answer: Answer) => Uint8Array): Reply
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array
}

/** One client of polling: for one request, or with a session for several. */
export class Poller {
  readonly arrival: Arrival
  readonly link: PollLink
  /** How its answers look. */
  readonly format: AnswerFormat
  /** What the present request asks for, or the last one did. */
  wanted: PollRequest
  /** The request that waits; null between two of a session. */
  response: Response | null
  headers: CorsHeaders
  /** It is on all that it asked for. */
  opened = false
  /** Waits for its turn to be answered. */
  queued = false
  /** Ends the waiting, or the session. */
  timer: NodeJS.Timeout | null = null
  /** The client of a session was told its name and its secret. */
  introduced = false
  /** As the `disconnect` hook is told of its going. */
  leavesWith: number = LEFT
  /** In place of a session that is not known any more. */
  readonly replaces: boolean
  /** The cursor of a session's last answer. */
  cursor: string | null = null
  /** Journaled channels on which modules have put it. */
  served: ReadonlySet<string> = NONE
  /** Journaled messages were left out: what comes next has to be asked for. */
  behind = false

  constructor(
    arrival: Arrival,
    link: PollLink,
    wanted: PollRequest,
    format: AnswerFormat,
    replaces: boolean,
  ) {
    this.arrival = arrival
    this.link = link
    this.format = format
    this.wanted = wanted
    this.replaces = replaces
    this.response = arrival.response
    this.headers = arrival.headers
  }

  get client(): Client {
    return this.arrival.client
  }

  /** Nothing was asked of the past: the answer is where it is now, at once. */
  get isFirst(): boolean {
    return this.wanted.since === null && this.cursor === null
  }

  stopTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
  }
}

/** Of who has its answer and goes. */
const LEFT = 1000

const NONE: ReadonlySet<string> = new Set()
