import { encodeFrame } from '../../protocol/encode.ts'
import type { EventFrame, PresenceFrame, UnsubscribedFrame } from '../../protocol/frames.ts'

/** A frame as it stands in an answer, under what it is. */
export function extraOf(frame: EventFrame | PresenceFrame | UnsubscribedFrame): string {
  return `{${encodeFrame(frame).slice(`{"type":"${frame.type}",`.length)}`
}
