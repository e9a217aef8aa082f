import { BUFFER_HEAD, bufferOf } from '../../protocol/buffers.ts'
import { encodeFrame, errorBody } from '../../protocol/encode.ts'
import type { ErrorFrame, ServerFrame } from '../../protocol/frames.ts'

/*
 * Socket.IO packets as text. What is JSON text already is set in as it is, and nothing is parsed and written again:
 * a publication costs the same here as on a raw WebSocket.
 */

/** A packet with binary parts: its text, and what follows it. */
export interface Packet {
  readonly text: string
  readonly attachments: readonly Buffer[]
}

/** `2`, or `2/chat,`: how every event of a namespace begins. */
export function eventHead(namespace: string): string {
  return namespace === '/' ? '2' : `2${namespace},`
}

/** Names that clients take for a broken packet, and close the connection. */
const RESERVED: ReadonlySet<string> = new Set([
  'connect',
  'connect_error',
  'disconnect',
  'disconnecting',
  'newListener',
  'removeListener',
])

/** Frames that have no form here. Who it is, the library has told when it connected. */
export function isReserved(frame: ServerFrame): boolean {
  if (frame.type === 'event') return RESERVED.has(frame.event)
  return frame.type === 'welcome' || frame.type === 'pong'
}

/** An answer to the client's event of this id. @param args the text of a JSON array */
export function encodeAck(namespace: string, id: number, args: string): Packet {
  const place = namespace === '/' ? '' : `${namespace},`
  return withAttachments(args, (text, count) =>
    count === 0 ? `3${place}${id}${text}` : `6${count}-${place}${id}${text}`,
  )
}

/**
 * A frame as an event: publications and what the application emits by their own names, the rest by its type.
 * @throws {TypeError} where JSON can't carry an event's arguments
 */
export function encodeEvent(namespace: string, frame: ServerFrame): Packet {
  const head = eventHead(namespace)
  switch (frame.type) {
    case 'message':
      return { text: `${head}["message",${frame.message}]`, attachments: NONE }
    case 'event': {
      const { json } = frame.args
      const asked = frame.id ?? ''
      const args =
        json === '[]'
          ? `[${JSON.stringify(frame.event)}]`
          : `[${JSON.stringify(frame.event)},${json.slice(1)}`
      return withAttachments(args, (text, count) =>
        count === 0 ? `${head}${asked}${text}` : `5${count}-${head.slice(1)}${asked}${text}`,
      )
    }
    case 'error':
      return { text: `${head}["error",${errorOf(frame)}]`, attachments: NONE }
    default:
      return { text: `${head}["${frame.type}",${bodyOf(frame)}]`, attachments: NONE }
  }
}

/** A frame's fields without its type and its id. */
export function bodyOf(frame: ServerFrame): string {
  const text = encodeFrame('id' in frame ? { ...frame, id: undefined } : frame)
  const body = text.slice(`{"type":"${frame.type}"`.length)
  return body === '}' ? '{}' : `{${body.slice(1)}`
}

export function errorOf({ code, message, details }: ErrorFrame): string {
  return errorBody(code, message, details)
}

const NONE: readonly Buffer[] = []

function withAttachments(json: string, build: (text: string, count: number) => string): Packet {
  if (!json.includes(BUFFER_HEAD)) return { text: build(json, 0), attachments: NONE }
  const attachments: Buffer[] = []
  const text = JSON.stringify(
    JSON.parse(json, (_key, value: unknown) => {
      const buffer = bufferOf(value)
      if (buffer === null) return value
      attachments.push(buffer)
      return { _placeholder: true, num: attachments.length - 1 }
    }),
  )
  return { text: build(text, attachments.length), attachments }
}
