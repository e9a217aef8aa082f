import type { ErrorCode } from './codes.ts'
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

/** A message object as a frame. */
export function messageFrame(message: string): string {
  return `{"type":"message",${message.slice(1)}`
}

export function welcomeFrame(session: string, user: string | null, pingMs: number, version: string): string {
  return JSON.stringify({ type: 'welcome', session, user, ping: pingMs, version })
}

export interface Subscribed {
  readonly id: FrameId | undefined
  readonly channel: string
  /** Null on a transient channel. */
  readonly cursor: string | null
  readonly recovered: boolean
  /** Message objects, encoded. */
  readonly messages: readonly string[]
  /** The user's own cursor, where a mailbox began there. */
  readonly since?: string | undefined
}

export function subscribedFrame({ id, channel, cursor, recovered, messages, since }: Subscribed): string {
  const place = cursor === null ? 'null' : `"${cursor}"`
  const own = since === undefined ? '' : `,"since":"${since}"`
  return `{"type":"subscribed"${idPart(id)},"channel":"${channel}","cursor":${place}${own},"recovered":${recovered},"messages":[${messages.join(',')}]}`
}

/** All subscriptions of who gets it are complete up to here. */
export function cursorFrame(cursor: string): string {
  return `{"type":"cursor","cursor":"${cursor}"}`
}

/** An answer; `json` is its data as JSON text. */
export function replyFrame(id: FrameId, json: string): string {
  return `{"type":"reply"${idPart(id)},"data":${json}}`
}

export function errorFrame(
  id: FrameId | undefined,
  code: ErrorCode,
  message: string,
  details?: unknown,
): string {
  return `{"type":"error"${idPart(id)},${errorBody(code, message, details).slice(1)}`
}

/** `{"code","message","details"}`, as error frames and HTTP errors carry it. */
export function errorBody(code: ErrorCode, message: string, details?: unknown): string {
  const told = `{"code":"${code}","message":${JSON.stringify(message)}`
  // Details come from modules: what JSON can't carry is left out.
  const json = details === undefined ? undefined : tryWriteJson(details)
  return json === undefined ? `${told}}` : `${told},"details":${json}}`
}

export function unsubscribedFrame(channel: string, code: ErrorCode, message: string): string {
  return JSON.stringify({ type: 'unsubscribed', channel, code, message })
}

/** @throws {TypeError} where JSON can't carry the arguments */
export function eventFrame(event: string, args: readonly unknown[]): string {
  return JSON.stringify({ type: 'event', event, args })
}

export function reconnectFrame(afterMs: number, reason: string): string {
  return JSON.stringify({ type: 'reconnect', after: afterMs, reason })
}

export function pongFrame(id: FrameId | undefined): string {
  return id === undefined ? PONG_FRAME : `{"type":"pong"${idPart(id)}}`
}

const PONG_FRAME = '{"type":"pong"}'

/** What a client marks a frame with, to recognise the answer. */
export type FrameId = number | string

function idPart(id: FrameId | undefined): string {
  if (id === undefined) return ''
  return typeof id === 'number' ? `,"id":${id}` : `,"id":${JSON.stringify(id)}`
}
