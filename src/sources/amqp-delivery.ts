import { isUtf8 } from 'node:buffer'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import type { ConsumeMessage } from '../broker/connection.ts'
import { oneLine } from '../protocol/json-text.ts'
import type { Notification } from './source.ts'

/** Why a delivery can never be handled. */
export interface Refusal {
  readonly code: string
  readonly message: string
}

/**
 * What a delivery from a subsystem's queue says: the header `channel` names the channel, else the routing key
 * `<subsystem>.<rest>`; `<subsystem>` alone goes to the sender. The body is JSON.
 */
export function decodeDelivery(message: ConsumeMessage, subsystem: string): Notification | Refusal {
  const { routingKey, exchange } = message.fields
  const { headers, messageId, appId } = message.properties
  if (!isUtf8(message.content)) return { code: 'bad_payload', message: 'the body is not UTF-8' }
  const text = message.content.toString()
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return { code: 'bad_payload', message: `the body is not JSON: ${error.message}` }
  }
  const base = {
    source: 'amqp',
    name: routingKey,
    data,
    json: oneLine(text),
    headers: headers ?? {},
    patience: 'wait' as const,
    // The id is the publisher's: two applications may count from 1.
    ...(typeof messageId === 'string' && messageId !== ''
      ? { key: `amqp:${typeof appId === 'string' ? appId : ''}:${messageId}` }
      : {}),
  }
  const named: unknown = headers?.['channel']
  if (named === undefined) {
    // What was sent to the queue itself, past the exchange, has the queue's name for a routing key.
    if (routingKey === subsystem || exchange === '') return { ...base, subsystem }
    const prefix = `${subsystem}.`
    if (!routingKey.startsWith(prefix)) {
      return {
        code: 'foreign_channel',
        message: `routing key "${routingKey}": expected "${subsystem}" or "${subsystem}.<rest>"`,
      }
    }
    const channel = `${subsystem}:${routingKey.slice(prefix.length)}`
    if (isChannel(channel)) return { ...base, channel }
    return { code: 'bad_channel', message: `routing key "${routingKey}" gives no channel's name` }
  }
  if (typeof named !== 'string' || !isChannel(named)) {
    return {
      code: 'bad_channel',
      message: `header channel: expected "${subsystem}:<rest>", got ${shown(named)}`,
    }
  }
  if (subsystemOf(named) !== subsystem) {
    // Else whoever may write to one subsystem's routing keys could write to every channel.
    return {
      code: 'foreign_channel',
      message: `header channel: "${named}" is none of subsystem "${subsystem}", whose queue it came by`,
    }
  }
  return { ...base, channel: named }
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100)
}
