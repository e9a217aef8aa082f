import type { SignalName } from './signals-config.ts'
import type { Duration } from './units.ts'

/** Which signals a target is told. */
export interface SignalTargetInput {
  /**
   * `start`, `connect`, `disconnect`, `subscribe`, `unsubscribe`, `occupied`, `vacated`, `call`, `message`.
   * @default all but call and message
   */
  events?: SignalName[]
  /**
   * Of signals about a channel or a call, only those of these subsystems.
   * @default all
   */
  subsystems?: string[]
}

export interface WebhookInput extends SignalTargetInput {
  /** Where signals are posted: `https://app.example/live`. Redirects are not followed. */
  url: string
  /**
   * Signs each request, in the manner of Standard Webhooks: 16 characters at least, or `whsec_` and base64. A list
   * signs with each of them, while one is exchanged for another.
   */
  secret: string | string[]
  /**
   * As log and metrics show it, and as what waits for it is known in the database.
   * @default host and port of the URL
   */
  name?: string
  /**
   * How long an answer may take.
   * @default '10s'
   */
  timeout?: Duration
}

export interface SignalExchangeInput extends SignalTargetInput {
  /**
   * A durable topic exchange of `broker`. Routing keys: `connect`, `subscribe.chat`, …
   * @default 'livemessages.signals'
   */
  name?: string
}

export interface SignalsInput {
  /** @default [] */
  webhooks?: WebhookInput[]
  /**
   * True stands for `{}`.
   * @default false
   */
  exchange?: boolean | SignalExchangeInput
  /**
   * How long a signal waits for a target that does not take it, before it is given up.
   * @default '1h'
   */
  keep?: Duration
  /**
   * How many wait for one target, the newest; older ones are given up.
   * @default 100000
   */
  max?: number
  /**
   * How long nothing may be heard of a node, by way of the database, before its connections are told to have ended:
   * 5 seconds at least.
   * @default '15s'
   */
  lostAfter?: Duration
}
