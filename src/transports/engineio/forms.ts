import { bufferOf } from '../../protocol/buffers.ts'
import { type ClientFrame, decode } from '../../protocol/decode.ts'
import { encodeFrame } from '../../protocol/encode.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import type { Said } from '../inbox.ts'

/** What Engine.IO messages mean to both sides. */
export interface Form {
  /** @throws {ClientError} for what means nothing */
  read(said: Said): ClientFrame
  /** Null for what is not said. */
  write(frame: ServerFrame): string | Buffer | null
  /** The last words of the daemon; null for none. */
  farewell(code: number, reason: string): string | null
}

/** Each message is one frame of the protocol, as over a raw WebSocket. */
export const FRAMES: Form = {
  read: (said) => decode(typeof said === 'string' ? said : null),
  write: encodeFrame,
  farewell: (code, reason) => JSON.stringify({ type: 'close', code, reason }),
}

/**
 * Messages are the application's own: each one calls the subsystem's action `message`, and the event `message` with one
 * text or Buffer goes out as such.
 */
export function messagesOf(subsystem: string): Form {
  const action = `${subsystem}.message`
  return {
    read: (data) => ({ type: 'call', action, data }),
    write: (frame) => (frame.type === 'event' && frame.event === 'message' ? only(frame.args.values) : null),
    farewell: () => null,
  }
}

function only(values: readonly unknown[]): string | Buffer | null {
  const [value] = values
  if (values.length !== 1) return null
  return typeof value === 'string' ? value : bufferOf(value)
}
