import { ClientError } from './codes.ts'
import type { FrameId } from './frames.ts'
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
  | {
      readonly type: 'publish'
      readonly id?: FrameId
      readonly channel: string
      readonly data?: unknown
      /** Of several with the same key one is delivered. */
      readonly key?: string
      /** The publisher itself is not to get it. */
      readonly exclude?: boolean
    }
  | {
      readonly type: 'history'
      readonly id?: FrameId
      readonly channel: string
      readonly since?: string
      readonly last?: number
      readonly limit?: number
    }
  | { readonly type: 'confirm'; readonly id?: FrameId; readonly channel: string; readonly cursor: string }
  | { readonly type: 'presence'; readonly id?: FrameId; readonly channel: string }
  /** Its `id` is the event's, not the frame's own: see `answerId`. */
  | { readonly type: 'ack'; readonly id: FrameId; readonly args?: readonly unknown[] }
  | { readonly type: 'ping'; readonly id?: FrameId }

type FrameErrorCode = 'bad_frame' | 'unknown_type' | 'invalid_input' | 'unknown_channel'

/** A frame that can't be handled. `fatal`: the client speaks something else, and is closed with 4400. */
export class FrameError extends ClientError {
  readonly id: FrameId | undefined
  readonly fatal: boolean

  constructor(error: { code: FrameErrorCode; message: string }, id: FrameId | undefined, fatal = false) {
    super(error.code, error.message)
    this.id = id
    this.fatal = fatal
  }
}

/** How many characters of an `id` are echoed. */
const MAX_ID = 128

/** The longest idempotency key. */
const MAX_KEY = 256

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
      { code: 'bad_frame', message: `id: a number up to 2^53, or a text of up to ${MAX_ID} characters` },
      undefined,
    )
  }
  checkFields(fields, id)
  return frame as ClientFrame
}

/** What an answer to the frame carries as its `id`: that of an `ack` is the event's, which might be another frame's. */
export function answerId(frame: ClientFrame): FrameId | undefined {
  return frame.type === 'ack' ? undefined : frame.id
}

function checkFields(fields: Record<string, unknown>, id: FrameId | undefined): void {
  switch (fields['type']) {
    case 'call':
      return checkText(fields, 'action', id)
    case 'unsubscribe':
      return checkChannel(fields, id)
    case 'publish':
      checkChannel(fields, id)
      if (fields['data'] === undefined) throw invalid('data: is missing', id)
      return checkPublishing(fields, id)
    case 'subscribe':
      checkChannel(fields, id)
      return checkRange(fields, id)
    case 'history':
      checkChannel(fields, id)
      checkRange(fields, id)
      return checkCount(fields, 'limit', id, 1)
    case 'authenticate':
      return checkText(fields, 'token', id)
    case 'ping':
      return
    case 'confirm':
      checkChannel(fields, id)
      return checkText(fields, 'cursor', id)
    case 'presence':
      return checkChannel(fields, id)
    case 'ack':
      if (id === undefined) throw invalid("id: expected the event's id", undefined)
      if (fields['args'] !== undefined && !Array.isArray(fields['args'])) {
        throw invalid('args: expected a list', undefined)
      }
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

function checkCount(
  fields: Record<string, unknown>,
  key: string,
  id: FrameId | undefined,
  least: 0 | 1 = 0,
): void {
  const count = fields[key]
  if (count !== undefined && !(Number.isSafeInteger(count) && (count as number) >= least)) {
    throw invalid(`${key}: expected a whole number from ${least}`, id)
  }
}

function checkPublishing({ key, exclude }: Record<string, unknown>, id: FrameId | undefined): void {
  if (key !== undefined && !(typeof key === 'string' && key !== '' && key.length <= MAX_KEY)) {
    throw invalid(`key: expected a text of 1 to ${MAX_KEY} characters`, id)
  }
  if (exclude !== undefined && typeof exclude !== 'boolean') {
    throw invalid('exclude: expected true or false', id)
  }
}

function checkText(fields: Record<string, unknown>, key: string, id: FrameId | undefined): void {
  if (typeof fields[key] !== 'string') throw invalid(`${key}: expected a text`, id)
}

function isId(id: unknown): id is FrameId {
  // Beyond 2^53 JSON.parse has rounded: the client would not know its own id again.
  if (typeof id === 'number') return Math.abs(id) <= Number.MAX_SAFE_INTEGER
  return typeof id === 'string' && id.length <= MAX_ID
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
