import { memberText, oneLine } from '../protocol/json-text.ts'
import { isChannel, subsystemOf, userChannel, userRest } from '../protocol/names.ts'
import type { Heard } from './handover.ts'
import type { NotifyNames, Refusal } from './notify.ts'

/** What the publishers of web_longpolling say, and on which names. */
export interface OldPublishers {
  /** NOTIFY names: `longpolling_channel`. */
  readonly names: readonly string[]
  /** Where their channels are that name no subsystem. */
  readonly subsystem: string
  /** Whether a subsystem has a sender; undefined where there is no such subsystem. */
  hasSender(subsystem: string): boolean | undefined
}

/**
 * Reads `{"channel","uid","date","values"}`. `uid` is who said it and not for whom: that is `to_id` of the values, as
 * in their own example, and the `uid` where there is none, so that nothing reaches a third one by mistake.
 */
export function decodeOld(
  name: string,
  body: unknown,
  payload: string,
  names: NotifyNames,
  old: OldPublishers,
): Heard[] | Refusal {
  if (!isObject(body))
    return bad('bad_payload', `expected {"channel","uid","date","values"}, got ${shown(body)}`)
  const { channel: said, values } = body
  if (typeof said !== 'string' || said === '')
    return bad('bad_channel', `channel: expected a text, got ${shown(said)}`)
  const bytes = Buffer.byteLength(payload)
  const hasSender = old.hasSender(said)
  if (hasSender === true) {
    const notification = { ...common(name, names), subsystem: said, data: body, json: oneLine(payload) }
    return [{ notification, subsystem: said, payload, bytes }]
  }
  const channel = hasSender === undefined ? channelOf(said, old) : userOf(said, body)
  if (channel === null)
    return bad('bad_channel', `channel: expected the name of a channel, got ${shown(said)}`)
  if (typeof channel !== 'string') return channel
  if (values === undefined)
    return bad('no_data', `${channel}: the payload has no "values"; null would be some`)
  const json = memberText(payload, 'values')
  const notification = {
    ...common(name, names),
    channel,
    data: values,
    ...(json === undefined ? {} : { json: oneLine(json) }),
  }
  return [{ notification, subsystem: subsystemOf(channel), payload, bytes }]
}

/** A channel by its whole name is that one; any other is one of the subsystem that stands for all of theirs. */
function channelOf(said: string, { subsystem }: OldPublishers): string | null {
  if (isChannel(said)) return said
  const channel = `${subsystem}:${userRest(said)}`
  return isChannel(channel) ? channel : null
}

/** The channel of one user in a subsystem that has no sender to say whose it is. */
function userOf(subsystem: string, { uid, values }: Fields): string | Refusal | null {
  const to = isObject(values) ? values['to_id'] : undefined
  const user = to ?? uid
  const where = to === undefined || to === null ? 'uid' : 'values.to_id'
  const isUser = typeof user === 'string' ? user !== '' : Number.isSafeInteger(user)
  if (!isUser) return bad('bad_payload', `${where}: expected a user's id, got ${shown(user)}`)
  const channel = userChannel(subsystem, String(user))
  return isChannel(channel) ? channel : null
}

type Fields = Readonly<Record<string, unknown>>

function common(name: string, { source, database }: NotifyNames) {
  return { source, name, patience: 'wait' as const, ...(database === undefined ? {} : { database }) }
}

function bad(code: string, message: string): Refusal {
  return { code, message }
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100)
}
