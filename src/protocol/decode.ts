import { ClientError } from './codes.ts'
import type { FrameId } from './encode.ts'
import { isChannel } from './names.ts'

/** What a client may send; every field is checked. */
export type ClientFrame =
  | { readonly type: 'authenticate'; readonly id?: FrameId; readonly token: string }
  | {
      readonly type: 'subscribe'
      readonly id?: FrameId
      readonly channel: string
      readonly since?: string
      readonly last?: number
    }
  | { readonly type: 'unsubscribe'; readonly id?: FrameId; readonly channel: string }
  | { readonly type: 'call'; readonly id?: FrameId; readonly action: string; readonly data?: unknown }
  | { readonly type: 'publish'; readonly id?: FrameId; readonly channel: string; readonly data?: unknown }
  | {
      readonly type: 'history'
      readonly id?: FrameId
      readonly channel: string
      readonly since?: string
      readonly last?: number
      readonly limit?: number
    }
  | { readonly type: 'ping'; readonly id?: FrameId }

/** A frame that can't be handled. `fatal`: the client speaks something else, and is closed with 4400. */
export class FrameError extends ClientError {
  readonly id: FrameId | undefined
  readonly fatal: boolean

  constructor(
    error: { code: 'bad_frame' | 'unknown_type' | 'invalid_input' | 'unknown_channel'; message: string },
    id: FrameId | undefined,
    fatal = false,
  ) {
    super(error.code, error.message)
    this.id = id
    this.fatal = fatal
  }
}

/** How many characters of an `id` are echoed. */
const MAX_ID = 128

/**
 * Reads one frame; null stands for a binary message.
 * @throws {FrameError}
 */
export function decode(text: string | null): ClientFrame {
  if (text === null) throw broken('frames are text, not binary')
  let frame: unknown
  try {
    frame = JSON.parse(text)
  } catch {
    // What V8 says of the place may quote the client's data; the client knows what it sent.
    throw broken('a frame is one JSON object')
  }
  if (typeof frame !== 'object' || frame === null || Array.isArray(frame)) {
    throw broken('a frame is one JSON object')
  }
  const fields = frame as Record<string, unknown>
  const id = fields['id']
  if (id !== undefined && !isId(id)) {
    throw new FrameError(
      { code: 'bad_frame', message: `id: a number, or a text of up to ${MAX_ID} characters` },
      undefined,
    )
  }
  checkFields(fields, id)
  return frame as ClientFrame
}

function checkFields(fields: Record<string, unknown>, id: FrameId | undefined): void {
  switch (fields['type']) {
    case 'call':
      return checkText(fields, 'action', id)
    case 'publish':
    case 'unsubscribe':
      return checkChannel(fields, id)
    case 'subscribe':
      checkChannel(fields, id)
      return checkRange(fields, id)
    case 'history':
      checkChannel(fields, id)
      checkRange(fields, id)
      return checkCount(fields, 'limit', id)
    case 'authenticate':
      return checkText(fields, 'token', id)
    case 'ping':
      return
    default:
      throw new FrameError({ code: 'unknown_type', message: `type: ${quote(fields['type'])} is none` }, id)
  }
}

function checkChannel(fields: Record<string, unknown>, id: FrameId | undefined): void {
  if (typeof fields['channel'] !== 'string') throw invalid(`channel: expected a text`, id)
  if (!isChannel(fields['channel'])) {
    throw new FrameError(
      { code: 'unknown_channel', message: 'channel: expected <subsystem>:<rest> of A-Z a-z 0-9 _ . : @ = -' },
      id,
    )
  }
}

function checkRange(fields: Record<string, unknown>, id: FrameId | undefined): void {
  if (fields['since'] !== undefined && fields['last'] !== undefined) {
    throw invalid('since, last: one of them, not both', id)
  }
  if (fields['since'] !== undefined && typeof fields['since'] !== 'string') {
    throw invalid('since: expected a cursor', id)
  }
  checkCount(fields, 'last', id)
}

function checkCount(fields: Record<string, unknown>, key: string, id: FrameId | undefined): void {
  const count = fields[key]
  if (count !== undefined && !(Number.isSafeInteger(count) && (count as number) >= 0)) {
    throw invalid(`${key}: expected a whole number from 0`, id)
  }
}

function checkText(fields: Record<string, unknown>, key: string, id: FrameId | undefined): void {
  if (typeof fields[key] !== 'string') throw invalid(`${key}: expected a text`, id)
}

function isId(id: unknown): id is FrameId {
  return (typeof id === 'number' && Number.isFinite(id)) || (typeof id === 'string' && id.length <= MAX_ID)
}

function broken(message: string): FrameError {
  return new FrameError({ code: 'bad_frame', message }, undefined, true)
}

function invalid(message: string, id: FrameId | undefined): FrameError {
  return new FrameError({ code: 'invalid_input', message }, id)
}

function quote(value: unknown): string {
  return typeof value === 'string' ? `'${value.slice(0, 64)}'` : typeof value
}
