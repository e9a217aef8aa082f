import type { SignalName, SignalTargetConfig } from '../config/signals-config.ts'

export type { SignalName } from '../config/signals-config.ts'

/** Something that happened to a connection or a channel, as webhooks and exchanges are told it. */
export interface Signal {
  /** The same whenever it is told again. */
  readonly id: string
  readonly name: SignalName
  /** When it happened; milliseconds since 1970. */
  readonly time: number
  /** Where it happened, or who found out. */
  readonly node: string
  readonly session?: string
  /** Null: nobody. */
  readonly user?: string | null
  /** The database whose user it is; null: the home one. */
  readonly database?: string | null
  readonly address?: string
  readonly transport?: string
  /** When the connection came. */
  readonly since?: number
  readonly subsystem?: string
  readonly channel?: string
  /** Of `disconnect`. */
  readonly code?: number
  /** Of `disconnect` and `unsubscribe`. */
  readonly reason?: string
  /** Of `disconnect`: how long it was here. */
  readonly durationMs?: number
  /** Of `call`. */
  readonly action?: string
  /** Of `call`: what was given to the action; left out where it is too large. */
  readonly data?: unknown
  /** Of `message`: the client's frame, without tokens; left out where it is too large. */
  readonly frame?: unknown
  /** Something was too large to be told. */
  readonly truncated?: true
  /** Of `start`: the daemon's. */
  readonly version?: string
}

/** What is known of a connection. */
export interface SessionDetail {
  readonly session: string
  readonly user: string | null
  readonly database: string | null
  readonly address: string
  readonly transport: string
  readonly since: number
}

/** What a connection is to the modules of this daemon beside that. */
export interface RosterDetail extends SessionDetail {
  readonly info: unknown
}

/** What is told of data at the most, in characters of JSON. */
export const MAX_DATA = 16 * 1024

/** As JSON that any encoding of a database holds. */
export function writeSignal(signal: object): string {
  return asciiOf(JSON.stringify(signal))
}

/** JSON whose characters beyond ASCII are escaped. */
export function asciiOf(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Whether this target is to be told. */
export function wants(
  { events, subsystems }: SignalTargetConfig,
  name: SignalName,
  subsystem?: string,
): boolean {
  if (!events.includes(name)) return false
  return subsystem === undefined || subsystems === null || subsystems.includes(subsystem)
}
