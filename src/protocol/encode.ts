import type { ErrorCode } from './codes.ts'
import type { FrameId, ServerFrame, SubscribedFrame } from './frames.ts'
import { tryWriteJson } from './json.ts'

/*
 * Frames as JSON text. A publication's message object is written once and serves every transport: as it is
 * for history, SSE and polling, and behind `"type":"message"` for WebSockets. Channels, cursors and sessions
 * hold no character that JSON would escape, so they are set in as they are; data comes as JSON text already.
 */

/** The message object of a publication. `json` is its data as JSON text on one line. */
export function encodeMessage(channel: string, id: string | null, json: string, time: number): string {
  return id === null
    ? `{"channel":"${channel}","data":${json},"time":${time}}`
    : `{"channel":"${channel}","id":"${id}","data":${json},"time":${time}}`
}

/** The id of a message object, cut out of its text; null where it has none. */
export function idOf(message: string): string | null {
  // Names of channels need no escapes.
  const after = message.indexOf('"', CHANNEL_AT) + 1
  if (!message.startsWith(ID, after)) return null
  const from = after + ID.length
  return message.slice(from, message.indexOf('"', from))
}

/** The time of a message object, in ms since 1970, cut out of its text. */
export function timeOf(message: string): number {
  // It comes last, and is a number.
  return Number(message.slice(message.lastIndexOf(':') + 1, -1))
}

const CHANNEL_AT = '{"channel":"'.length
const ID = ',"id":"'

/** @throws {TypeError} where JSON can't carry an event's arguments */
export function encodeFrame(frame: ServerFrame): string {
  switch (frame.type) {
    case 'message':
      return `{"type":"message",${frame.message.slice(1)}`
    case 'reply':
      return `{"type":"reply"${idPart(frame.id)},"data":${frame.json}}`
    case 'subscribed':
      return subscribed(frame)
    case 'cursor':
      return `{"type":"cursor","cursor":"${frame.cursor}"}`
    case 'pong':
      return frame.id === undefined ? PONG : `{"type":"pong"${idPart(frame.id)}}`
    case 'event':
      return `{"type":"event","event":${JSON.stringify(frame.event)},"args":${frame.args.json}${idPart(frame.id)}}`
    case 'presence': {
      const count = frame.count === undefined ? '' : `,"count":${frame.count}`
      return `{"type":"presence","channel":"${frame.channel}","event":"${frame.event}","client":${frame.client}${count}}`
    }
    case 'error':
      return `{"type":"error"${idPart(frame.id)},${errorBody(frame.code, frame.message, frame.details).slice(1)}`
    case 'unsubscribed': {
      const { type, channel, code, message } = frame
      return JSON.stringify({ type, channel, code, message })
    }
    case 'forgotten': {
      const { type, channel, ids, key } = frame
      return JSON.stringify({ type, channel, ids, key })
    }
    case 'welcome': {
      const { type, session, user, pingMs, version } = frame
      return JSON.stringify({ type, session, user, ping: pingMs, version })
    }
    case 'reconnect':
      return JSON.stringify({ type: 'reconnect', after: frame.afterMs, reason: frame.reason })
    default:
      return unreachable(frame)
  }
}

/** `{"code","message","details"}`, as error frames and HTTP errors carry it. */
export function errorBody(code: ErrorCode, message: string, details?: unknown): string {
  const told = `{"code":"${code}","message":${JSON.stringify(message)}`
  // Details come from modules: what JSON can't carry is left out.
  const json = details === undefined ? undefined : tryWriteJson(details)
  return json === undefined ? `${told}}` : `${told},"details":${json}}`
}

const PONG = '{"type":"pong"}'

function subscribed({ id, channel, cursor, recovered, messages, since }: SubscribedFrame): string {
  const place = cursor === null ? 'null' : `"${cursor}"`
  const own = since === undefined ? '' : `,"since":"${since}"`
  return `{"type":"subscribed"${idPart(id)},"channel":"${channel}","cursor":${place}${own},"recovered":${recovered},"messages":[${messages.join(',')}]}`
}

function idPart(id: FrameId | undefined): string {
  if (id === undefined) return ''
  return typeof id === 'number' ? `,"id":${id}` : `,"id":${JSON.stringify(id)}`
}

function unreachable(frame: never): never {
  throw new Error(`no such frame: ${JSON.stringify(frame)}`)
}
