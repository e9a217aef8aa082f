import { createHash } from 'node:crypto'
import { memberText, oneLine } from '../protocol/json-text.ts'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import type { Heard } from './handover.ts'
import { decodeOld } from './longpolling.ts'
import type { OldPublishers } from './longpolling.ts'
import type { Notification } from './source.ts'

/** What the source is called, and what it listens to. */
export interface NotifyNames {
  readonly source: string
  /** Told to senders. */
  readonly database: string | undefined
  /** The NOTIFY name that carries publications: `{"channel","data","key"?}`. */
  readonly channel: string
  /** NOTIFY names of senders: the subsystems that hear each. */
  readonly notify: ReadonlyMap<string, readonly string[]>
  /** Publishers of web_longpolling, on names of their own. @default none */
  readonly old?: OldPublishers | undefined
}

/** All NOTIFY names that these stand for. */
export function namesOf({ channel, notify, old }: NotifyNames): Set<string> {
  return new Set([channel, ...notify.keys(), ...(old?.names ?? [])])
}

/** Why a payload is no notification. */
export interface Refusal {
  readonly code: string
  readonly message: string
}

/** Reads one NOTIFY: a notification for each subsystem that it is meant for, or why it is none. */
export function decodeNotify(name: string, payload: string, names: NotifyNames): Heard[] | Refusal {
  const subsystems = names.notify.get(name)
  const body = payload === '' ? null : parse(payload)
  if (body === undefined) return { code: 'bad_payload', message: 'the payload is not JSON' }
  if (name === names.channel && isObject(body) && 'channel' in body) {
    return decodePublication(name, body, payload, names)
  }
  if (subsystems && subsystems.length > 0) {
    // A sender's own name: whatever it says is the sender's business.
    const json = payload === '' ? 'null' : oneLine(payload)
    const bytes = Buffer.byteLength(payload)
    return subsystems.map((subsystem) => ({
      notification: { ...common(name, names), subsystem, data: body, json },
      subsystem,
      payload,
      bytes,
    }))
  }
  if (names.old?.names.includes(name) === true) return decodeOld(name, body, payload, names, names.old)
  if (name !== names.channel) return [] // nobody's any more
  const hint = `expected {"channel":"<subsystem>:<rest>","data":…}; a sender has a NOTIFY name of its own`
  return { code: 'no_channel', message: `the payload names no channel: ${hint}` }
}

function decodePublication(
  name: string,
  body: Readonly<Record<string, unknown>>,
  payload: string,
  names: NotifyNames,
): Heard[] | Refusal {
  const { channel, data, key } = body
  if (typeof channel !== 'string' || !isChannel(channel)) {
    return { code: 'bad_channel', message: `channel: expected "<subsystem>:<rest>", got ${shown(channel)}` }
  }
  const subsystem = subsystemOf(channel)
  if (data === undefined) {
    const message = `${channel}: the payload has no "data"; null is data, too`
    return { code: 'no_data', message }
  }
  if (key !== undefined && typeof key !== 'string') {
    return { code: 'bad_payload', message: `key: expected a string, got ${shown(key)}` }
  }
  const json = memberText(payload, 'data')
  const notification: Notification = {
    ...common(name, names),
    channel,
    data,
    ...(json === undefined ? {} : { json: oneLine(json) }),
    ...(key === undefined ? {} : { key: `${names.source}:${key}` }),
  }
  return [{ notification, subsystem, payload, bytes: Buffer.byteLength(payload) }]
}

/**
 * Names a NOTIFY, the same on every node: by the backend that said it, its name and what it said. Two of one name
 * differ in nothing, and are told apart by their order. 96 bits, for strangers must not meet by chance; no secret:
 * who can forge one can NOTIFY.
 */
export function markOf(heard: Heard, pid: number): string {
  const { source, name } = heard.notification
  return createHash('sha1')
    .update(`${source} ${heard.subsystem} ${pid} ${name} ${heard.payload}`)
    .digest('base64url')
    .slice(0, 16)
}

// An outage of the journal is waited for in the journal's own queue: a NOTIFY can't be refused, and keeps its place.
function common(name: string, { source, database }: NotifyNames): Omit<Notification, 'data'> {
  return { source, name, patience: 'wait', ...(database === undefined ? {} : { database }) }
}

/** Undefined where it is not JSON; JSON has no undefined of its own. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100)
}
