import { type ClientError, ERROR_STATUS, type ErrorCode, isErrorCode } from '../../protocol/codes.ts'
import { encodeFrame, errorBody } from '../../protocol/encode.ts'
import type { FrameId, ServerFrame } from '../../protocol/frames.ts'
import { isRecord } from '../../protocol/json.ts'

/** What became of a command, in a form that can cross between nodes. */
export type Outcome =
  | { readonly type: 'reply'; readonly json: string }
  /** `json` is `{"code","message","details"}`. */
  | {
      readonly type: 'error'
      readonly code: ErrorCode
      readonly json: string
      /** It was not the command that was refused, but whoever brought it. */
      readonly atDoor?: boolean
    }
  /** The whole frame, with its id. */
  | { readonly type: 'frame'; readonly json: string }

/** An answer of HTTP. */
export interface HttpAnswer {
  readonly status: number
  readonly body: string
}

export function outcomeOf(frame: ServerFrame): Outcome {
  if (frame.type === 'reply') return { type: 'reply', json: frame.json }
  if (frame.type !== 'error') return { type: 'frame', json: encodeFrame(frame) }
  return { type: 'error', code: frame.code, json: errorBody(frame.code, frame.message, frame.details) }
}

export function failure({ code, message, details }: ClientError): Outcome & { type: 'error' } {
  return { type: 'error', code, json: errorBody(code, message, details) }
}

/** Null for what another node may say and this one does not understand. */
export function decodeOutcome(value: unknown): Outcome | null {
  if (!isRecord(value) || typeof value['json'] !== 'string') return null
  const { type, json, code, atDoor } = value
  if (type === 'reply' || type === 'frame') return { type, json }
  return type === 'error' && isErrorCode(code) ? { type, code, json, atDoor: atDoor === true } : null
}

/** As the frame that a WebSocket would get. */
export function asFrame(outcome: Outcome, id: FrameId | undefined): HttpAnswer {
  const { json } = outcome
  const idPart = id === undefined ? '' : `,"id":${JSON.stringify(id)}`
  switch (outcome.type) {
    case 'reply':
      return { status: 200, body: `{"type":"reply"${idPart},"data":${json}}` }
    case 'error':
      return { status: ERROR_STATUS[outcome.code], body: `{"type":"error"${idPart},${json.slice(1)}` }
    case 'frame':
      return { status: 200, body: json }
    default:
      return outcome satisfies never
  }
}

/** As `wrap` makes it of a reply's JSON; errors as everywhere over HTTP. */
export function asBody(outcome: Outcome, wrap: (json: string) => string): HttpAnswer {
  if (outcome.type !== 'error') return { status: 200, body: wrap(outcome.json) }
  return { status: ERROR_STATUS[outcome.code], body: `{"error":${outcome.json}}` }
}
