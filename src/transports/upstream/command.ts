import { ClientError } from '../../protocol/codes.ts'
import { answerId, type ClientFrame, decode } from '../../protocol/decode.ts'
import type { FrameId } from '../../protocol/frames.ts'
import { type Json, isRecord } from '../../protocol/json.ts'
import { isForm, markForm } from './body.ts'

/** A client's frame, whatever the request looked like that brought it. */
export interface Command {
  readonly frame: ClientFrame
  /** The frame as JSON text: data as it was written. */
  readonly text: string
  readonly id: FrameId | undefined
}

/** @throws {ClientError} bad_frame, unknown_type, invalid_input, unknown_channel */
export function commandOf(text: string): Command {
  const frame = decode(text)
  // Of a form that another node took: the mark is no part of the data.
  if (frame.type === 'call' && isRecord(frame.data) && Reflect.get(frame, 'form') === true)
    markForm(frame.data)
  return { frame, text, id: answerId(frame) }
}

/** The action at `<subsystem>/<action>`; for other paths a name that no action has. */
export function actionAt(path: string): string {
  return path.includes('.') ? path.replaceAll('.', '/') : path.replace('/', '.')
}

/** @param data null where the body was empty */
export function callOf(action: string, data: Json | null): Command {
  // Not by decoding the text: the body would be parsed twice.
  const frame: ClientFrame = { type: 'call', action, ...(data === null ? {} : { data: data.value }) }
  const dataPart = data === null ? '' : `${isForm(data.value) ? ',"form":true' : ''},"data":${data.text}`
  return { frame, text: `{"type":"call","action":${JSON.stringify(action)}${dataPart}}`, id: undefined }
}

export interface PublicationHead {
  /** With `channel=`. */
  readonly query: string
  /** The header `Idempotency-Key`, empty when absent. */
  readonly key: string
  /** The header `Exclude`: a session that is not to get it, empty when absent. */
  readonly exclude: string
  /** Whose request it is. */
  readonly session: string | null
}

/** @throws {ClientError} invalid_input, unknown_channel */
export function publicationOf({ query, key, exclude, session }: PublicationHead, data: Json | null): Command {
  const [channel, ...more] = new URLSearchParams(query).getAll('channel')
  if (channel === undefined || more.length > 0) {
    throw new ClientError('invalid_input', 'channel: expected one; use /publish?channel=<subsystem>:<rest>')
  }
  if (data === null) throw new ClientError('invalid_input', 'the body must be the data, as JSON')
  if (exclude !== '' && exclude !== session) {
    throw new ClientError('forbidden', 'Exclude: a client can except its own session only')
  }
  const keyPart = key === '' ? '' : `,"key":${JSON.stringify(key)}`
  const excludePart = exclude === '' ? '' : ',"exclude":true'
  return commandOf(
    `{"type":"publish","channel":${JSON.stringify(channel)}${keyPart}${excludePart},"data":${data.text}}`,
  )
}
