/** What is told. */
export const SIGNAL_NAMES = [
  'start',
  'connect',
  'disconnect',
  'subscribe',
  'unsubscribe',
  'occupied',
  'vacated',
  'call',
  'message',
] as const

export type SignalName = (typeof SIGNAL_NAMES)[number]

/** Told where nothing is said: not what every frame would make one of. */
export const DEFAULT_SIGNALS: readonly SignalName[] = SIGNAL_NAMES.filter(
  (name) => name !== 'call' && name !== 'message',
)

/** What somebody who is told wants to hear. */
export interface SignalTargetConfig {
  /** As the log and the metrics show it; what waits in the database is found again by it. */
  readonly name: string
  readonly events: readonly SignalName[]
  /** Of what has a subsystem only these; null: of all. */
  readonly subsystems: readonly string[] | null
}

export interface WebhookConfig extends SignalTargetConfig {
  readonly url: string
  /** Each signs, the first one first. */
  readonly secrets: readonly string[]
  readonly timeoutMs: number
}

export interface SignalExchangeConfig extends SignalTargetConfig {
  readonly exchange: string
}

/** Who is told what happens to connections and channels. */
export interface SignalsConfig {
  readonly webhooks: readonly WebhookConfig[]
  readonly exchange: SignalExchangeConfig | null
  /** How long, and how many for each target, wait for a target that does not take them. */
  readonly keepMs: number
  readonly max: number
  /** How long nothing may be heard of a node before its connections are told to have ended. */
  readonly lostAfterMs: number
}
